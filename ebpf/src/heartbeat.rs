//! HEARTBEAT: by it programs see whether this node's own DNS server serves.

use std::{
    io,
    mem::{offset_of, size_of},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use nix::time::{ClockId, clock_gettime};
use towpath_image::datapath::{Beat, HeartbeatRecord, decide::STALE_AFTER};

use crate::mapped::Mapped;

/// All beats of this daemon.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    map: Arc<Mapped<HeartbeatRecord>>,
    /// Bits of the places that are taken.
    taken: Arc<AtomicU32>,
}

/// The beat of one thread. Dropped in order, its place is free; after a panic it is left as it is: its
/// clients are served by no other thread.
#[derive(Debug)]
pub struct Pulse {
    of: Heartbeat,
    slot: usize,
    last: u64,
}

impl Heartbeat {
    pub(crate) fn new(map: Arc<Mapped<HeartbeatRecord>>) -> Self {
        let heartbeat = Self { map, taken: Arc::default() };
        (0..HeartbeatRecord::BEATS).for_each(|slot| heartbeat.store(slot, Beat::default()));
        heartbeat
    }

    /// A place for a thread, if there is one left. It counts from its first beat.
    #[must_use]
    pub fn pulse(&self) -> Option<Pulse> {
        let free = |slot: &usize| self.taken.fetch_or(1 << slot, Ordering::AcqRel) & 1 << slot == 0;
        let slot = (0..HeartbeatRecord::BEATS).find(free)?;
        Some(Pulse { of: self.clone(), slot, last: 0 })
    }

    /// `since` first: a beat is never new for a program that sees when it began as it was.
    fn store(&self, slot: usize, beat: Beat) {
        let at = offset_of!(HeartbeatRecord, beats) + slot * size_of::<Beat>();
        self.map.store_word(0, at + offset_of!(Beat, since), beat.since);
        self.map.store_word(0, at + offset_of!(Beat, last), beat.last);
    }
}

/// `struct sched_attr` of `linux/sched/types.h`, in its first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks the scheduler to run this thread soon after it wakes: what others wait for and what does little each
/// time is not to queue behind what computes. A short slice (0.1 ms, Linux 6.12 and newer) needs no
/// privilege; nice -10 besides needs CAP_SYS_NICE, and is done without where there is none.
///
/// # Errors
/// When the kernel refuses both: the thread runs as before then.
pub fn prompt() -> io::Result<()> {
    schedule(-10).or_else(|_not_allowed| schedule(0))
}

fn schedule(nice: i32) -> io::Result<()> {
    const { assert!(size_of::<Attributes>() == 48) };
    let policy = 0; // SCHED_OTHER, as before
    let (flags, priority, deadline, period) = (0, 0, 0, 0);
    let (size, runtime) = (48, 100_000);
    let attributes = Attributes { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the structure lives until the call returns, and has the size that it says.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Pulse {
    /// The thread serves now. Costs no system call (the clock is read in memory, a tick behind).
    pub fn beat(&mut self) {
        let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE) else { return };
        let whole = u64::try_from(now.tv_sec()).unwrap_or_default().saturating_mul(1_000_000_000);
        let now = whole.saturating_add(u64::try_from(now.tv_nsec()).unwrap_or_default());
        let at = self.slot * size_of::<Beat>();
        if self.last == 0 || now.saturating_sub(self.last) >= STALE_AFTER {
            self.of.map.store_word(0, at + offset_of!(Beat, since), now);
        }
        self.of.map.store_word(0, at + offset_of!(Beat, last), now.max(1));
        self.last = now.max(1);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.of.store(self.slot, Beat::default());
            self.of.taken.fetch_and(!(1 << self.slot), Ordering::AcqRel);
        }
    }
}
