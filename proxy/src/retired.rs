//! What no longer is in force, but may still be read by a program that began before.

use crate::{extents::Extent, layout::Millis};

/// Rest of a retired slot after its retirement, on top of the grace period: a program that was
/// interrupted by a virtual machine's pause has long ended by then.
const REST_MS: Millis = 1_000;

/// What rests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retiree {
    /// Slots that no set in force holds any more.
    Extent(Extent),
    /// An index that no frontend leads to any more. Its record stays whole while it rests: a program
    /// that read the frontend before has yet to read the record. `owns`: the slots it names are its
    /// own.
    Index {
        /// Which.
        index: u32,
        /// Are the slots of its sets nobody else's?
        owns: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Resting {
    what: Retiree,
    since: Millis,
    graced: bool,
}

impl Resting {
    const fn is_over(&self, now: Millis) -> bool {
        self.graced && self.since.saturating_add(REST_MS) <= now
    }
}

/// Retirees in the order of retirement.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Retired {
    resting: Vec<Resting>,
}

impl Retired {
    pub(crate) fn add(&mut self, what: Retiree, since: Millis) {
        self.resting.push(Resting { what, since, graced: false });
    }

    /// A grace period that began at `began` is over.
    pub(crate) fn graced(&mut self, began: Millis) {
        for resting in &mut self.resting {
            resting.graced |= resting.since < began;
        }
    }

    /// Takes out what may be used again.
    pub(crate) fn rested(&mut self, now: Millis) -> Vec<Retiree> {
        let rested = self.resting.iter().filter(|r| r.is_over(now)).map(|r| r.what).collect();
        self.resting.retain(|r| !r.is_over(now));
        rested
    }

    /// Does anything wait for a grace period?
    pub(crate) fn wants_grace(&self) -> bool {
        self.resting.iter().any(|resting| !resting.graced)
    }

    /// Counts everything as retired at `now`.
    pub(crate) fn restamp(&mut self, now: Millis) {
        for resting in &mut self.resting {
            (resting.since, resting.graced) = (now, false);
        }
    }

    /// Slots that [`Self::rested`] could take out now.
    pub(crate) fn slots_rested(&self, now: Millis) -> u64 {
        let over = self.resting.iter().filter(|resting| resting.is_over(now));
        over.map(|resting| match resting.what {
            Retiree::Extent(extent) => u64::from(extent.len),
            Retiree::Index { .. } => 0,
        })
        .sum()
    }

    /// Could [`Self::rested`] take out an index now?
    pub(crate) fn has_rested_index(&self, now: Millis) -> bool {
        let index = |r: &&Resting| matches!(r.what, Retiree::Index { .. });
        self.resting.iter().filter(index).any(|resting| resting.is_over(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_used_again_before_grace_and_rest() {
        let mut retired = Retired::default();
        let index = Retiree::Index { index: 7, owns: true };
        retired.add(index, 100);
        assert!(retired.rested(10_000).is_empty(), "no grace period");
        retired.graced(100);
        assert!(retired.wants_grace(), "it began in the same millisecond: proves nothing");
        retired.graced(101);
        assert!(!retired.wants_grace() && retired.rested(1_099).is_empty(), "no rest");
        assert!(!retired.has_rested_index(1_099) && retired.has_rested_index(1_100));
        assert_eq!(retired.rested(1_100), [index]);
        assert!(retired.rested(1_100).is_empty());
    }
}
