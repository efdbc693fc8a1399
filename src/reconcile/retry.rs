//! When the loop tries again what did not get into the kernel.
//!
//! A failed system call is tried again at the next tick (a second at most), then after 1, 2, 4 ..
//! 30 s: each attempt compares everything, and a kernel that has no memory gets none by being asked
//! more often. A new change is a new reason to try, though at most once a second while writes fail;
//! meanwhile changes wait in the store, where they coalesce. What merely found no room is cheap to
//! try, and room comes by itself when retired slots have rested: it is tried every second.

use std::time::Duration;

use crate::backoff::Doubling;

/// Time between a failure and the first retry, at least: no two attempts in one burst of events.
const FIRST_MS: u64 = 100;
/// Second wait; it doubles. Also how long a new change waits at most.
const SECOND: Duration = Duration::from_secs(1);
const SECOND_MS: u64 = 1_000;
/// Longest wait.
const MAX: Duration = Duration::from_secs(30);

/// The state of one back-off. Times are the daemon's milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Retry {
    /// When something was written last.
    tried_ms: u64,
    /// How long to wait from then; 0: not at all.
    wait_ms: u64,
    /// The waits after the next failures; `None`: the last write did not fail.
    failing: Option<Doubling>,
}

impl Retry {
    /// The kernel took everything, and everything had room or not (`pending`).
    pub(super) fn wrote(&mut self, now: u64, pending: bool) {
        let wait_ms = if pending { SECOND_MS } else { 0 };
        *self = Self { tried_ms: now, wait_ms, failing: None };
    }

    /// A write failed.
    pub(super) fn failed(&mut self, now: u64) {
        self.tried_ms = now;
        match &mut self.failing {
            None => {
                self.wait_ms = FIRST_MS;
                self.failing = Some(Doubling::new(SECOND, MAX));
            }
            Some(waits) => {
                self.wait_ms = u64::try_from(waits.wait().as_millis()).unwrap_or(u64::MAX);
            }
        }
    }

    /// Did the last write fail?
    pub(super) const fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// May it be tried now? `changed`: there is also something new.
    pub(super) fn is_due(&self, now: u64, changed: bool) -> bool {
        let wait_ms = match (changed, self.failing.is_some()) {
            (true, false) => 0,
            (true, true) => self.wait_ms.min(SECOND_MS),
            (false, _) => self.wait_ms,
        };
        now >= self.tried_ms.saturating_add(wait_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a retry is made, with a tick a second and a kernel that refuses everything.
    fn attempts(seconds: u64, changed: bool) -> Vec<u64> {
        let mut retry = Retry::default();
        retry.failed(1_700);
        let ticks = (2..seconds).map(|second| second * 1_000);
        ticks
            .filter(|now| {
                let due = retry.is_due(*now, changed);
                if due {
                    retry.failed(*now);
                }
                due
            })
            .map(|now| now / 1_000)
            .collect()
    }

    #[test]
    fn the_first_retry_comes_within_a_second_and_the_later_ones_ever_later() {
        assert_eq!(attempts(140, false), [2, 3, 5, 9, 17, 33, 63, 93, 123]);
    }

    #[test]
    fn a_new_change_waits_a_second_at_most() {
        assert_eq!(attempts(10, true), [2, 3, 4, 5, 6, 7, 8, 9]);
        let mut retry = Retry::default();
        retry.failed(1_000);
        assert!(!retry.is_due(1_050, true), "not within one burst");
        assert!(retry.is_due(1_100, true));
    }

    #[test]
    fn a_success_forgets_and_want_of_room_waits_a_second() {
        let mut retry = Retry::default();
        (0..10).for_each(|second| retry.failed(second * 1_000));
        retry.wrote(10_000, false);
        assert!(retry.is_due(10_000, false));
        retry.wrote(20_000, true);
        assert!(!retry.is_due(20_999, false) && retry.is_due(21_000, false));
        assert!(retry.is_due(20_000, true), "a change makes room, or needs some");
        retry.failed(22_000);
        assert!(retry.is_due(22_100, false), "it begins anew");
    }
}
