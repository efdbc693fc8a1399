//! Much that is gone at once: it goes when a second look, a while later, finds the same.
//!
//! The brake (`model/src/brake.rs`) believes a second list that agrees with the first. One that is
//! made at once, of what is in memory, always agrees: so it is made later, of what is on disk then.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::{self, Instant};
use towpath_model::{Event, Kind, ObjectName, Removals};

/// A second list is made no sooner than this after it was asked for: a deploy tool or a mount that
/// is half done has time to finish, and an intended removal does not have to wait long.
pub const SECOND_LOOK: Duration = Duration::from_secs(10);

/// Lists that are owed.
#[derive(Debug)]
pub(super) struct SecondLooks {
    after: Duration,
    due: BTreeMap<Kind, Instant>,
}

impl SecondLooks {
    /// None is owed. `after`: how long each one waits.
    pub(super) const fn new(after: Duration) -> Self {
        Self { after, due: BTreeMap::new() }
    }

    /// A list of this kind is asked for.
    pub(super) fn ask(&mut self, kind: Kind) {
        self.due.insert(kind, Instant::now() + self.after);
    }

    /// Until a list is due; for ever, when none is owed.
    pub(super) async fn wait(&self) {
        match self.due.values().min() {
            Some(due) => time::sleep_until(*due).await,
            None => std::future::pending().await,
        }
    }

    /// The kinds to list now: those that have been due for `late`.
    pub(super) fn take_due(&mut self, late: Duration) -> Vec<Kind> {
        let now = Instant::now();
        let due = |at: &Instant| *at + late <= now;
        let kinds: Vec<Kind> =
            self.due.iter().filter(|(_, at)| due(at)).map(|(kind, _)| *kind).collect();
        self.due.retain(|_, at| !due(at));
        kinds
    }

    /// Takes the removals out of `events` when they are too many, or while a list is owed that will
    /// say them again: a Service that stays must not lose its slices. `before`: how many objects
    /// of a kind there were. Answers the kinds whose list is to be said, and doubted, now.
    pub(super) fn temper(
        &mut self,
        events: &mut Vec<Event>,
        before: impl Fn(Kind) -> usize,
    ) -> Vec<Kind> {
        let mut gone: BTreeMap<Kind, Removals<&ObjectName>> = BTreeMap::new();
        for event in &*events {
            if let Event::Delete(kind, name) = event {
                let none = || Removals { gone: BTreeSet::new(), of: before(*kind) };
                gone.entry(*kind).or_insert_with(none).gone.insert(name);
            }
        }
        // An earlier list that is doubted is one that is owed.
        let many = gone.iter().filter(|(_, removals)| removals.suspicious(None));
        let new = many.filter(|(kind, _)| !self.due.contains_key(kind));
        let doubted: Vec<Kind> = new.map(|(kind, _)| *kind).collect();
        let kinds: Vec<Kind> = gone.into_keys().collect();
        if doubted.is_empty() && self.due.is_empty() {
            return doubted;
        }
        events.retain(|event| !matches!(event, Event::Delete(..)));
        for kind in kinds {
            self.due.entry(kind).or_insert_with(|| Instant::now() + self.after);
        }
        doubted
    }
}
