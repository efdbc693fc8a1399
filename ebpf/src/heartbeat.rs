//! HEARTBEAT: by it programs see whether this node's own DNS server serves.

use std::{
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
    beat: Beat,
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
        Some(Pulse { of: self.clone(), slot, beat: Beat::default() })
    }

    /// `since` first: a beat is never new for a program that sees when it began as it was.
    fn store(&self, slot: usize, beat: Beat) {
        let at = offset_of!(HeartbeatRecord, beats) + slot * size_of::<Beat>();
        self.map.store_word(0, at + offset_of!(Beat, since), beat.since);
        self.map.store_word(0, at + offset_of!(Beat, last), beat.last);
    }
}

impl Pulse {
    /// The thread serves now. Costs no system call (the clock is read in memory, a tick behind).
    pub fn beat(&mut self) {
        let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE) else { return };
        let whole = u64::try_from(now.tv_sec()).unwrap_or_default().saturating_mul(1_000_000_000);
        let now = whole.saturating_add(u64::try_from(now.tv_nsec()).unwrap_or_default());
        if self.beat.last == 0 || now.saturating_sub(self.beat.last) >= STALE_AFTER {
            self.beat.since = now;
        }
        self.beat.last = now.max(1);
        // Both: another daemon that takes over clears all places.
        self.of.store(self.slot, self.beat);
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
