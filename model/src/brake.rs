//! How much may go at once and be believed (DESIGN section 2: an API server that comes back half
//! empty must not empty the nodes).

use std::collections::BTreeSet;

/// Removals of this many things, and of this share of what there was, wait for a second list.
const OBJECTS: usize = 50;
const PERCENT: usize = 30;

/// What a list no longer has: what would go if it were believed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Removals<K> {
    /// What would go.
    pub gone: BTreeSet<K>,
    /// How much there was.
    pub of: usize,
}

impl<K: Ord> Removals<K> {
    /// Everything there was would go.
    #[must_use]
    pub fn of_all(things: impl Iterator<Item = K>) -> Self {
        let gone: BTreeSet<K> = things.collect();
        Self { of: gone.len(), gone }
    }

    /// Is this too much to be believed at once? A list agrees with an earlier one when it adds little
    /// to what that one lacked: what both lack is believed.
    #[must_use]
    pub fn suspicious(&self, earlier: Option<&Self>) -> bool {
        let agreed = earlier.map_or(0, |earlier| self.gone.intersection(&earlier.gone).count());
        is_suspicious(self.gone.len().saturating_sub(agreed), self.of)
    }
}

/// Is it suspicious that so many of so many are missing?
#[must_use]
const fn is_suspicious(missing: usize, of: usize) -> bool {
    missing >= OBJECTS && missing.saturating_mul(100) > of.saturating_mul(PERCENT)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    fn removals(gone: Range<usize>, of: usize) -> Removals<usize> {
        Removals { gone: gone.collect(), of }
    }

    #[test]
    fn many_objects_and_a_large_share_of_all() {
        for (missing, of, suspicious) in [
            (0, 0, false),
            (49, 49, false),
            (50, 50, true),
            (50, 166, true),
            (50, 167, false),
            (300, 1_000, false),
            (301, 1_000, true),
        ] {
            let judged = removals(0..missing, of).suspicious(None);
            assert_eq!(judged, suspicious, "{missing} of {of}");
        }
    }

    #[test]
    fn a_second_list_agrees_when_it_adds_little_to_the_first() {
        let first = removals(0..60, 100);
        for (gone, suspicious) in [
            (0..60, false),
            (0..0, false),
            (30..109, false),
            (30..110, true),
            (60..109, false),
            (60..110, true),
        ] {
            let second = removals(gone.clone(), 150);
            assert_eq!(second.suspicious(Some(&first)), suspicious, "{gone:?}");
        }
    }
}
