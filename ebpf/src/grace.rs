//! Waiting until every program that runs now has ended: an RCU grace period.
//!
//! Two ways, because the first is not everywhere. `membarrier(GLOBAL)` (8 ms, ebpf-spike.md 12) is
//! not offered on kernels that run with `nohz_full`, may be filtered by a container runtime, and
//! returns at once on a machine with one CPU, where a preempted program may still be under way. The
//! second way is a change of a map of maps: the kernel returns from it only when no program can use
//! the map that was replaced (`maybe_wait_bpf_programs`, since 5.0), which is the very promise that
//! is needed. It takes 10..20 ms, and nothing but what Towpath needs anyway.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Mutex, PoisonError},
};

use crate::sys;

/// A map of maps, and what is stored in it.
struct Swap {
    outer: OwnedFd,
    inner: OwnedFd,
}

static SWAP: Mutex<Option<Swap>> = Mutex::new(None);

/// Waits for one grace period. Call it off the publishing thread.
///
/// # Errors
/// When the kernel offers neither way; then nothing was waited for.
pub fn grace() -> io::Result<()> {
    let barrier = if several_cpus() {
        sys::membarrier_global()
    } else {
        Err(io::Error::other("it does not wait on a machine with one CPU"))
    };
    let Err(barrier) = barrier else { return Ok(()) };
    replace_map().map_err(|swap| {
        io::Error::other(format!("membarrier: {barrier}; replacing a map in a map: {swap}"))
    })
}

fn several_cpus() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) > 1 }
}

fn replace_map() -> io::Result<()> {
    let mut kept = SWAP.lock().unwrap_or_else(PoisonError::into_inner);
    let swap = match kept.take() {
        Some(swap) => swap,
        None => {
            let inner = sys::small_array(None)?;
            Swap { outer: sys::small_array(Some(inner.as_fd()))?, inner }
        }
    };
    let swap = kept.insert(swap);
    sys::store_map(swap.outer.as_fd(), swap.inner.as_fd())
}
