//! Signs of life that health endpoints read without asking the loop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Times are the daemon's milliseconds; 0: never.
#[derive(Debug, Default)]
pub struct Vitals {
    ticked_ms: AtomicU64,
    settled_ms: AtomicU64,
    /// Since when the kernel refuses writes; 0: it does not.
    refuses_since_ms: AtomicU64,
    node_leaves: AtomicBool,
    dead: AtomicBool,
}

/// The loop ticks every second; this much silence means that it hangs.
const HANGS_MS: u64 = 10_000;
/// kube-proxy's bound: twice its sync period.
const REFUSES_MS: u64 = 60_000;

impl Vitals {
    pub(crate) fn ticked(&self, now: u64) {
        self.ticked_ms.store(now, Ordering::Relaxed);
    }

    /// The loop has ended by a panic: it counts as dead at once.
    pub(crate) fn died(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// The kernel was written, or refused to be.
    pub(crate) fn settled(&self, now: u64, refused: bool) {
        self.settled_ms.store(now, Ordering::Relaxed);
        let since = if refused {
            let known = self.refuses_since_ms.load(Ordering::Relaxed);
            if known == 0 { now } else { known }
        } else {
            0
        };
        self.refuses_since_ms.store(since, Ordering::Relaxed);
    }

    pub(crate) fn node(&self, eligible: bool) {
        self.node_leaves.store(!eligible, Ordering::Relaxed);
    }

    /// When the kernel last was brought up to date.
    #[must_use]
    pub fn settled_ms(&self) -> u64 {
        self.settled_ms.load(Ordering::Relaxed)
    }

    /// The loop turns.
    #[must_use]
    pub fn alive(&self, now: u64) -> bool {
        !self.dead.load(Ordering::Relaxed)
            && now.saturating_sub(self.ticked_ms.load(Ordering::Relaxed)) < HANGS_MS
    }

    /// The loop turns, and the kernel has not refused writes for too long. Healthy before the first sync,
    /// as kube-proxy is (services.md 2.1).
    #[must_use]
    pub fn healthy(&self, now: u64) -> bool {
        let since = self.refuses_since_ms.load(Ordering::Relaxed);
        self.alive(now) && (since == 0 || now.saturating_sub(since) < REFUSES_MS)
    }

    /// Load balancers may send new connections here.
    #[must_use]
    pub fn node_eligible(&self) -> bool {
        !self.node_leaves.load(Ordering::Relaxed)
    }
}
