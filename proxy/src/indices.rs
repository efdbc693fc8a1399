//! Free indices of SERVICES: lowest first, so that the table stays dense.

use std::collections::BTreeSet;

/// The free indices below a limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FreeIndices {
    /// Given back.
    returned: BTreeSet<u32>,
    /// Everything from here to the limit was never used.
    next: u32,
    limit: u32,
}

impl FreeIndices {
    /// Everything below `limit`, except what is `used`.
    pub(crate) fn new(limit: u32, used: &BTreeSet<u32>) -> Self {
        let next = used.last().map_or(0, |last| last + 1);
        let returned = (0..next).filter(|index| !used.contains(index)).collect();
        Self { returned, next, limit }
    }

    pub(crate) fn take(&mut self) -> Option<u32> {
        if let Some(index) = self.returned.pop_first() {
            return Some(index);
        }
        let index = self.next;
        (index < self.limit).then(|| {
            self.next += 1;
            index
        })
    }

    pub(crate) fn give(&mut self, index: u32) {
        self.returned.insert(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_first_and_the_limit_holds() {
        let mut free = FreeIndices::new(4, &BTreeSet::from([0, 2]));
        assert_eq!([free.take(), free.take(), free.take()], [Some(1), Some(3), None]);
        free.give(2);
        assert_eq!(free.take(), Some(2));
    }
}
