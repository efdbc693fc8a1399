//! After a start: no pod is opened on one doubtful list.
//!
//! The first lists of a daemon have nothing to be compared with but the maps. When they would end the
//! isolation of much that is isolated there, or of all of it, they are asked for again, and until a
//! second one agrees nothing is written: verdicts stay as they were found, and new pods are closed.

use std::collections::BTreeSet;

use towpath_model::{Code, Problem, Stream};
use towpath_netpol::Opens;

use super::NEEDS;

/// What the first lists would open, and which lists are awaited again.
#[derive(Debug, Default)]
pub(super) struct Startup {
    /// What the lists that are doubted would open; `None`: none is doubted.
    doubted: Option<Opens>,
    awaited: BTreeSet<Stream>,
}

impl Startup {
    /// Are there lists that no second one agreed with yet?
    pub(super) const fn doubts(&self) -> bool {
        self.doubted.is_some()
    }

    /// Was everything listed again that was doubted? Time to judge.
    pub(super) fn is_due(&self) -> bool {
        self.doubts() && self.awaited.is_empty()
    }

    /// A list is complete.
    pub(super) fn listed(&mut self, stream: &Stream) {
        self.awaited.remove(stream);
    }

    /// `opens`: what would be opened now. Answers the streams to list again.
    pub(super) fn judge(&mut self, opens: Opens) -> BTreeSet<Stream> {
        let doubted = opens.suspicious(self.doubted.as_ref());
        self.awaited = if doubted { NEEDS.iter().cloned().collect() } else { BTreeSet::new() };
        self.doubted = doubted.then_some(opens);
        self.awaited.clone()
    }

    /// Why nothing is written.
    pub(super) fn problem(&self) -> Option<Problem> {
        let Opens { isolation, pods } = self.doubted.as_ref()?;
        let why = format!(
            "the first lists after the start would end {} of {} isolations of pods that were found in \
             the kernel, and take away {} of {} pods",
            isolation.gone.len(),
            isolation.of,
            pods.gone.len(),
            pods.of
        );
        let action = "what was in force stays until second lists agree, and new pods are closed";
        Some(Problem::new(Code::IsolationHeld, None, "list of NetworkPolicy", &why, action))
    }
}
