//! A name seen as its labels, from the right as well.

use crate::name::{MAX_NAME, split};

/// More labels than any name of a cluster has below its domain, and than a reverse name has in all.
const MOST: usize = 34;

/// Where the labels of a name begin. A name of more labels than a name of ours can have is cut off on
/// the left: it is then still known to be too deep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels<'a> {
    wire: &'a [u8],
    starts: [u8; MOST],
    count: usize,
    deeper: bool,
}

impl<'a> Labels<'a> {
    /// Of a name in wire form. `wire` ends with the empty label.
    pub(crate) fn of(wire: &'a [u8]) -> Self {
        let mut labels = Self { wire, starts: [0; MOST], count: 0, deeper: false };
        let mut rest = wire;
        while let Some((_, more)) = split(rest) {
            if labels.count == MOST {
                labels.starts.copy_within(1.., 0);
                labels.count -= 1;
                labels.deeper = true;
            }
            let at = wire.len() - rest.len();
            debug_assert!(at <= MAX_NAME, "a name was longer than names are");
            if let (Some(start), Ok(at)) = (labels.starts.get_mut(labels.count), u8::try_from(at)) {
                *start = at;
                labels.count += 1;
            }
            rest = more;
        }
        labels
    }

    /// Those to the left of a suffix that the name has; `None` when it does not end so.
    pub(crate) fn above(&self, suffix: &[u8]) -> Option<Self> {
        let at = self.wire.len().checked_sub(suffix.len())?;
        if self.wire.get(at..) != Some(suffix) {
            return None;
        }
        let is_start = |start: &u8| usize::from(*start) == at;
        match self.starts.get(..self.count)?.iter().position(is_start) {
            Some(count) => Some(Self { count, ..*self }),
            // The whole of the root: every label is above it.
            None if suffix == [0] => Some(*self),
            None => None,
        }
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Are there more labels than are counted?
    pub(crate) const fn deeper(&self) -> bool {
        self.deeper
    }

    /// Where a label begins; the one after the last is where the suffix begins.
    fn start(&self, at: usize) -> Option<usize> {
        self.starts.get(at).map(|start| usize::from(*start)).filter(|_| at < self.count)
    }

    /// The bytes of a label, counted from the right: 0 is the last.
    pub(crate) fn last(&self, at: usize) -> Option<&'a [u8]> {
        let at = self.count.checked_sub(at + 1)?;
        split(self.wire.get(self.start(at)?..)?).map(|(label, _)| label)
    }

    /// Wire form of `many` labels, of which the last is the one at `at` from the right.
    pub(crate) fn run(&self, at: usize, many: usize) -> Option<&'a [u8]> {
        let last = self.count.checked_sub(at + 1)?;
        let first = (last + 1).checked_sub(many)?;
        let end = self.start(last)?;
        let (label, _) = split(self.wire.get(end..)?)?;
        self.wire.get(self.start(first)?..end + 1 + label.len())
    }
}
