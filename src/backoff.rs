//! Waits between attempts: doubling up to a limit.
//!
//! [`Doubling`] is the plain form, whose waits follow from nothing but the number of attempts: the
//! control loop's, which a simulation must be able to repeat. [`Backoff`] adds jitter, so that nodes
//! which failed together do not come back together, and forgets failures after a success.
//!
//! A turn (a list, a watch) that ended is followed at once only when it was worth its wait: when it
//! lived longer than the wait that it would cost. So the ordinary end of a watch costs nothing, and
//! a server that ends everything at once is asked at a bounded rate. A list is worth more than a
//! watch: it costs the server a thousand times as much.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// What the next turn begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Watch,
    List,
}

/// Waits that double, from `min` to `max`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Doubling {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Doubling {
    pub(crate) const fn new(min: Duration, max: Duration) -> Self {
        Self { next: min, min, max }
    }

    /// The wait after one more failure.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.max);
        wait
    }

    /// What is waited for went well: waits begin anew.
    pub(crate) const fn reset(&mut self) {
        self.next = self.min;
    }
}

/// Waits of one loop, with jitter.
#[derive(Debug)]
pub(crate) struct Backoff {
    doubling: Doubling,
    seed: u64,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        // Randomly keyed per process: enough to keep nodes apart.
        Self { doubling: Doubling::new(min, max), seed: RandomState::new().hash_one(0) | 1 }
    }

    /// What was tried succeeded.
    pub(crate) const fn reset(&mut self) {
        self.doubling.reset();
    }

    /// The wait after an ordinary end of something that lived so long.
    pub(crate) fn after_end(&mut self, lived: Duration, next: Next) -> Duration {
        let wait = self.wait();
        if lived < self.worth(wait, next) {
            return wait.saturating_sub(lived);
        }
        self.reset();
        // Not all nodes in the same instant, when a server ends what it has.
        self.doubling.min.mul_f64(self.share() / 8.0)
    }

    /// The wait after the failure of something that lived so long.
    pub(crate) fn after_failure(&mut self, lived: Duration, next: Next) -> Duration {
        let wait = self.wait();
        if lived < self.worth(wait, next) {
            return wait;
        }
        self.reset();
        self.wait()
    }

    /// What has to have lived so that waits begin anew.
    const fn worth(&self, wait: Duration, next: Next) -> Duration {
        match next {
            Next::Watch => wait,
            Next::List => self.doubling.max,
        }
    }

    /// The next wait: between half and all of it.
    pub(crate) fn wait(&mut self) -> Duration {
        self.doubling.wait().mul_f64(0.5 + 0.5 * self.share())
    }

    /// Evenly from 0 up to 1 (xorshift64).
    pub(crate) fn share(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        f64::from(u32::try_from(self.seed >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(800);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn waits_double_up_to_the_limit_and_are_never_in_step() {
        let mut one = Backoff::new(MIN, MAX);
        let mut other = Backoff::new(MIN, MAX);
        let mut equal = 0;
        for round in 0..12 {
            let full = (MIN * (1 << round.min(10))).min(MAX);
            let failed = one.after_failure(Duration::ZERO, Next::Watch);
            let waits = (failed, other.after_end(Duration::ZERO, Next::List));
            for wait in [waits.0, waits.1] {
                assert!(wait >= full / 2 && wait <= full, "{wait:?} {full:?}");
            }
            equal += usize::from(waits.0 == waits.1);
        }
        assert!(equal < 3);
        let healed = one.after_failure(Duration::from_secs(31), Next::List);
        assert!(healed >= MIN / 2 && healed <= MIN, "{healed:?}");
    }

    #[test]
    fn what_was_worth_its_wait_is_followed_at_once() {
        let mut backoff = Backoff::new(MIN, MAX);
        for _ in 0..20 {
            assert!(backoff.after_end(Duration::from_secs(1), Next::Watch) <= MIN / 8);
        }
    }

    #[test]
    fn what_lives_less_than_its_wait_is_asked_for_no_more_often_than_the_waits_allow() {
        let mut backoff = Backoff::new(MIN, MAX);
        let lived = Duration::from_millis(100);
        let spent: Duration = (0..10).map(|_| backoff.after_end(lived, Next::Watch) + lived).sum();
        // Half of 0.8 + 1.6 + ... + 25.6 + 4 x 30 s.
        assert!(spent >= Duration::from_secs(85), "{spent:?}");
    }

    #[test]
    fn lists_that_are_lost_after_seconds_are_not_repeated_after_seconds() {
        for after in [Backoff::after_end, Backoff::after_failure] {
            let mut backoff = Backoff::new(MIN, MAX);
            let lived = Duration::from_secs(4);
            let spent: Duration =
                (0..10).map(|_| after(&mut backoff, lived, Next::List) + lived).sum();
            assert!(spent >= Duration::from_secs(85), "{spent:?}");
        }
    }
}
