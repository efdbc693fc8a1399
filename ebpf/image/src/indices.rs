//! Free indices of an array: lowest first, so that it stays dense.

use std::collections::BTreeSet;

/// The free indices below a limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FreeIndices {
    /// Given back.
    returned: BTreeSet<u32>,
    /// Everything from here to the limit was never used.
    next: u32,
    limit: u32,
}

impl FreeIndices {
    /// Everything below `limit`, except what is `used`, which may lie beyond: what a damaged table
    /// names.
    #[must_use]
    pub fn new(limit: u32, used: &BTreeSet<u32>) -> Self {
        let next = used.last().map_or(0, |last| last.saturating_add(1)).min(limit);
        let returned = (0..next).filter(|index| !used.contains(index)).collect();
        Self { returned, next, limit }
    }

    /// The lowest that is free.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(index) = self.returned.pop_first() {
            return Some(index);
        }
        let index = self.next;
        (index < self.limit).then(|| {
            self.next += 1;
            index
        })
    }

    /// Gives an index back. It must not be free already; one beyond the limit stays away.
    pub fn give(&mut self, index: u32) {
        if index < self.limit {
            let taken = index < self.next && self.returned.insert(index);
            debug_assert!(taken, "index {index} was free already");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn indices_are_never_given_out_twice_and_never_lost(
            used in prop::collection::btree_set(0u32..60, 0..20),
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..200),
        ) {
            let mut free = FreeIndices::new(40, &used);
            let mut taken: Vec<u32> = used.into_iter().collect();
            for (take, which) in steps {
                if take {
                    let lowest = (0..40).find(|index| !taken.contains(index));
                    prop_assert_eq!(free.take(), lowest);
                    taken.extend(lowest);
                } else if !taken.is_empty() {
                    free.give(taken.swap_remove(which.index(taken.len())));
                }
            }
        }
    }

    #[test]
    fn holes_are_filled_first_and_the_limit_holds() {
        let mut free = FreeIndices::new(4, &BTreeSet::from([0, 2]));
        assert_eq!([free.take(), free.take(), free.take()], [Some(1), Some(3), None]);
        free.give(2);
        assert_eq!(free.take(), Some(2));
    }
}
