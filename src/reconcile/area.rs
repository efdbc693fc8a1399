//! What the loop drives: an area turns a view of the cluster into something that serves traffic.
//!
//! The loop knows areas by this trait only. What each one needs besides (waiting changes, retry,
//! ledger, whether it was planned at all) is its [`super::Runner`]'s.

use std::{collections::BTreeSet, time::Duration};

use towpath_image::Attachments;
use towpath_model::{Changes, Key, Problem, Synced, View};

use super::Stream;
use crate::clock::{Clock, Millis, Now};

/// One job of the daemon: Services, NetworkPolicy, packets, DNS, Ingress.
///
/// Time spent in any of these is time in which no other area gets a turn: 5 ms at most, but for the
/// first plan and a repair. What takes longer is done in portions or on a thread that `plan` feeds.
pub trait Area: Send + 'static {
    /// Label in metrics, key in `status`.
    const NAME: &'static str;

    /// Before these are listed nothing is planned.
    fn needs(&self) -> &[Stream];

    /// The programs that are to be in force from the start, before anything is planned: what the maps
    /// hold is served at once.
    fn attachments(&self) -> Attachments {
        Attachments::new()
    }

    /// Changes that are to be planned in this turn or, while writes fail, in a later one.
    fn heard(&mut self, _changes: &Changes, _received: Now) {}

    /// Decides what is wanted now. `changes`: all since the last call, coalesced; at the first call
    /// none, and everything in the view is new. Does no I/O.
    fn plan(
        &mut self,
        view: &View<'_>,
        changes: &Changes,
        synced: &Synced,
        clock: &dyn Clock,
    ) -> Planned;

    /// Brings what is wanted into force. Also called without a plan before it: to try again, and when
    /// something has rested long enough.
    fn publish(&mut self, synced: &Synced, clock: &dyn Clock) -> Published;

    /// An audit found a difference: forgets what was thought to be in force, reads what is, and plans
    /// from scratch. The next publish writes the difference.
    ///
    /// # Errors
    /// When what is in force cannot be read; the repair is tried again.
    fn repair(&mut self, view: &View<'_>, clock: &dyn Clock) -> Result<(), Failure>;

    /// What became of the last change of an object that a plan touched.
    fn outcome(&self, of: &Key) -> Outcome;

    /// The changes that waited were judged: the longest time that one took which is in force now.
    fn settled(&mut self, _longest: Option<Duration>, _now: Now) {}

    /// What is wrong, apart from objects that cannot be read and changes that failed.
    fn problems(&self, out: &mut Vec<Problem>);

    /// Is there something to publish although nothing changed?
    fn is_due(&self, _now: Now) -> bool {
        false
    }

    /// An RCU grace period that began then is over.
    fn graced(&mut self, _began: Millis) {}

    /// Does anything wait for a grace period?
    fn wants_grace(&self) -> bool {
        false
    }
}

/// What a plan decided.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Planned {
    /// Objects whose outcome is worth knowing and that exist.
    pub touched: BTreeSet<Key>,
    /// Objects of earlier plans that are gone.
    pub gone: BTreeSet<Key>,
    /// Streams to list again, from a quorum: what they said is doubted.
    pub relist: BTreeSet<Stream>,
    /// Streams that are wanted besides [`Area::needs`] from now on; `None`: as before. They hold up
    /// nothing but what asks whether they are listed.
    pub streams: Option<BTreeSet<Stream>>,
    /// Programs that are to be in force from now on; `None`: as before.
    pub attachments: Option<Attachments>,
}

/// How a publish went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Published {
    /// Why it stopped early.
    pub failure: Option<Failure>,
    /// Something is wanted and not in force, and it waits for room or another try.
    pub pending: bool,
}

/// Why something could not be brought into force.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// What became of an object's last change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// In force.
    Done,
    /// Not in force yet, and why. It is tried again.
    Failed(String),
}
