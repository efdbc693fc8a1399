//! Free slots of an array that is given out in runs: best fit, neighbours joined.

use std::collections::{BTreeMap, BTreeSet};

/// A run of slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Extent {
    /// The first.
    pub base: u32,
    /// How many.
    pub len: u32,
}

impl Extent {
    /// The slot after the last.
    #[must_use]
    pub const fn end(self) -> u32 {
        self.base.saturating_add(self.len)
    }
}

/// The free slots, by place and by length. Nothing is free at first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FreeExtents {
    by_base: BTreeMap<u32, u32>,
    by_len: BTreeSet<(u32, u32)>,
}

impl FreeExtents {
    /// Takes `len` > 0 slots from the smallest run that has them.
    pub fn take(&mut self, len: u32) -> Option<Extent> {
        let (found, base) = self.by_len.range((len, 0)..).next().copied()?;
        self.remove(base, found);
        if found > len {
            self.insert(base + len, found - len);
        }
        Some(Extent { base, len })
    }

    /// Gives slots back. They must not be free already.
    pub fn give(&mut self, extent: Extent) {
        if extent.len == 0 {
            return;
        }
        let Extent { mut base, mut len } = extent;
        debug_assert!(!self.overlaps(extent), "slots {extent:?} were free already");
        if let Some((before, length)) =
            self.by_base.range(..base).next_back().map(|(b, l)| (*b, *l))
            && before + length == base
        {
            self.remove(before, length);
            base = before;
            len += length;
        }
        if let Some(after) = self.by_base.get(&extent.end()).copied() {
            self.remove(extent.end(), after);
            len += after;
        }
        self.insert(base, len);
    }

    /// Free slots in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_base.values().map(|len| u64::from(*len)).sum()
    }

    fn overlaps(&self, extent: Extent) -> bool {
        let before = self.by_base.range(..extent.end()).next_back();
        before.is_some_and(|(base, len)| base + len > extent.base)
    }

    fn insert(&mut self, base: u32, len: u32) {
        self.by_base.insert(base, len);
        self.by_len.insert((len, base));
    }

    fn remove(&mut self, base: u32, len: u32) {
        self.by_base.remove(&base);
        self.by_len.remove(&(len, base));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_are_never_given_out_twice_and_never_lost(
            steps in prop::collection::vec((any::<bool>(), 1u32..20, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut free = FreeExtents::default();
            free.give(Extent { base: 0, len: 200 });
            let mut used: Vec<Extent> = Vec::new();
            for (take, len, which) in steps {
                if take {
                    if let Some(extent) = free.take(len) {
                        prop_assert_eq!(extent.len, len);
                        prop_assert!(extent.end() <= 200);
                        prop_assert!(used.iter().all(|u| u.end() <= extent.base || extent.end() <= u.base));
                        used.push(extent);
                    }
                } else if !used.is_empty() {
                    free.give(used.swap_remove(which.index(used.len())));
                }
                let taken: u64 = used.iter().map(|u| u64::from(u.len)).sum();
                prop_assert_eq!(free.total() + taken, 200);
            }
            for extent in used { free.give(extent); }
            prop_assert_eq!(free.take(200), Some(Extent { base: 0, len: 200 }), "all joined again");
        }
    }
}
