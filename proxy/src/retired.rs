//! What no longer is in force, but may still be read by a program that began before.

use crate::{extents::Extent, layout::Millis};

/// Rest of a retired slot after its retirement, on top of the grace period: a program that was
/// interrupted by a virtual machine's pause has long ended by then.
const REST_MS: Millis = 1_000;

/// A slot or an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retiree {
    Extent(Extent),
    Index(u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Resting {
    what: Retiree,
    since: Millis,
    graced: bool,
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
        let done = |r: &Resting| r.graced && r.since.saturating_add(REST_MS) <= now;
        let rested = self.resting.iter().filter(|r| done(r)).map(|r| r.what).collect();
        self.resting.retain(|r| !done(r));
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

    pub(crate) fn iter(&self) -> impl Iterator<Item = Retiree> + '_ {
        self.resting.iter().map(|resting| resting.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_used_again_before_grace_and_rest() {
        let mut retired = Retired::default();
        retired.add(Retiree::Index(7), 100);
        assert!(retired.rested(10_000).is_empty(), "no grace period");
        retired.graced(100);
        assert!(retired.wants_grace(), "it began in the same millisecond: proves nothing");
        retired.graced(101);
        assert!(!retired.wants_grace() && retired.rested(1_099).is_empty(), "no rest");
        assert_eq!(retired.rested(1_100), [Retiree::Index(7)]);
        assert!(retired.rested(1_100).is_empty());
    }
}
