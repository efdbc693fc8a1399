//! What no longer is in force, but may still be read by a program that began before.

/// Milliseconds of the daemon's monotonic clock.
pub type Millis = u64;

/// Rest after the retirement, on top of the grace period: a program that was interrupted by a virtual
/// machine's pause has long ended by then.
pub const REST_MS: Millis = 1_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Resting<T> {
    what: T,
    since: Millis,
    graced: bool,
}

impl<T> Resting<T> {
    const fn is_over(&self, now: Millis) -> bool {
        self.graced && self.since.saturating_add(REST_MS) <= now
    }
}

/// What rests, in the order of retirement: slots, indices, whatever a layout gives out again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retired<T> {
    resting: Vec<Resting<T>>,
}

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self { resting: Vec::new() }
    }
}

impl<T> Retired<T> {
    /// Retires something that went out of force before `since`.
    pub fn add(&mut self, what: T, since: Millis) {
        self.resting.push(Resting { what, since, graced: false });
    }

    /// A grace period that began at `began` is over: every program that ran then has ended.
    pub fn graced(&mut self, began: Millis) {
        for resting in &mut self.resting {
            resting.graced |= resting.since < began;
        }
    }

    /// Takes out what may be used again.
    pub fn rested(&mut self, now: Millis) -> Vec<T> {
        self.resting.extract_if(.., |resting| resting.is_over(now)).map(|r| r.what).collect()
    }

    /// What [`Self::rested`] would take out now.
    pub fn over(&self, now: Millis) -> impl Iterator<Item = &T> {
        self.resting.iter().filter(move |resting| resting.is_over(now)).map(|r| &r.what)
    }

    /// Does anything wait for a grace period?
    #[must_use]
    pub fn wants_grace(&self) -> bool {
        self.resting.iter().any(|resting| !resting.graced)
    }

    /// Counts everything as retired at `now`.
    pub fn restamp(&mut self, now: Millis) {
        for resting in &mut self.resting {
            (resting.since, resting.graced) = (now, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_used_again_before_grace_and_rest() {
        let mut retired = Retired::default();
        retired.add(7, 100);
        assert!(retired.rested(10_000).is_empty(), "no grace period");
        retired.graced(100);
        assert!(retired.wants_grace(), "it began in the same millisecond: proves nothing");
        retired.graced(101);
        assert!(!retired.wants_grace() && retired.rested(1_099).is_empty(), "no rest");
        assert!(retired.over(1_099).eq([&7; 0]) && retired.over(1_100).eq([&7]));
        assert_eq!(retired.rested(1_100), [7]);
        assert!(retired.rested(1_100).is_empty());
    }

    proptest! {
        #[test]
        fn everything_comes_out_once_and_not_before_a_grace_period_that_began_later(
            steps in prop::collection::vec((0u8..4, 1u64..700), 1..100),
        ) {
            let (mut retired, mut now) = (Retired::default(), 0);
            let mut waits: Vec<(usize, Millis, bool)> = Vec::new();
            for (number, (step, pause)) in steps.into_iter().enumerate() {
                now += pause;
                match step {
                    0 => {
                        retired.add(number, now);
                        waits.push((number, now, false));
                    }
                    1 => {
                        let began = now - pause / 2;
                        retired.graced(began);
                        waits.iter_mut().for_each(|(_, since, graced)| *graced |= *since < began);
                    }
                    2 if number % 5 == 0 => {
                        retired.restamp(now);
                        waits.iter_mut().for_each(|wait| (wait.1, wait.2) = (now, false));
                    }
                    _ => {
                        let (over, left): (Vec<_>, Vec<_>) = waits
                            .into_iter()
                            .partition(|(_, since, graced)| *graced && since + REST_MS <= now);
                        let over: Vec<_> = over.into_iter().map(|(number, ..)| number).collect();
                        prop_assert_eq!(retired.over(now).copied().collect::<Vec<_>>(), over.clone());
                        prop_assert_eq!(retired.rested(now), over);
                        waits = left;
                    }
                }
                prop_assert_eq!(retired.wants_grace(), waits.iter().any(|(.., graced)| !graced));
            }
        }
    }
}
