//! Waits after failures: doubling, jittered, reset by health.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// Waits of one loop.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
    seed: u64,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        // Randomly keyed per process: enough to keep nodes apart.
        Self { next: min, min, max, seed: RandomState::new().hash_one(0) | 1 }
    }

    /// The next wait: between half and all of it.
    pub(super) fn wait(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.max);
        base.mul_f64(0.5 + 0.5 * self.share())
    }

    /// Things work again.
    pub(super) const fn reset(&mut self) {
        self.next = self.min;
    }

    /// Evenly from 0 up to 1 (xorshift64).
    pub(super) fn share(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        f64::from(u32::try_from(self.seed >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_are_never_in_step() {
        let (min, max) = (Duration::from_millis(800), Duration::from_secs(30));
        let mut one = Backoff::new(min, max);
        let mut other = Backoff::new(min, max);
        let mut equal = 0;
        for round in 0..12 {
            let full = (min * (1 << round.min(10))).min(max);
            let (a, b) = (one.wait(), other.wait());
            assert!(a >= full / 2 && a <= full && b >= full / 2 && b <= full, "{a:?} {full:?}");
            equal += usize::from(a == b);
        }
        assert!(equal < 3);
        one.reset();
        assert!(one.wait() <= min);
    }
}
