//! What became of each object's last change: done or failed, and how long it took.
//!
//! A change waits from the moment it was received until it is in force: through writes that fail and
//! tables without room. What waits is judged again after every write.

use std::{collections::BTreeMap, time::Duration};

use towpath_model::Key;

use super::Outcome;
use crate::clock::{Millis, Now};

/// One line of the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What became of the change.
    pub outcome: Outcome,
    /// When it was received (milliseconds since the daemon started).
    pub received_ms: Millis,
    /// From received to in force (or to the last attempt), microseconds.
    pub took_us: u64,
}

/// One entry per object that was planned and exists, so its size is that of the plan.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<Key, Entry>,
    /// Changes that are not in force, and when they were received.
    waiting: BTreeMap<Key, Now>,
}

impl Ledger {
    /// A change of this object is about to be written.
    pub(super) fn received(&mut self, object: Key, at: Now) {
        self.waiting.insert(object, at);
    }

    /// The object is gone.
    pub(super) fn forget(&mut self, object: &Key) {
        self.entries.remove(object);
        self.waiting.remove(object);
    }

    /// Notes what became of everything that waits. Answers the longest time that a change which is
    /// done now has taken.
    pub(super) fn settle(
        &mut self,
        now: Now,
        mut judge: impl FnMut(&Key) -> Outcome,
    ) -> Option<Duration> {
        let mut longest = None;
        let entries = &mut self.entries;
        self.waiting.retain(|object, received| {
            let outcome = judge(object);
            let took = now.since(received);
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let done = outcome == Outcome::Done;
            if done {
                longest = longest.max(Some(took));
            }
            let entry = Entry { outcome, received_ms: received.ms(), took_us };
            entries.insert(object.clone(), entry);
            !done
        });
        longest
    }

    /// Its line, if it ever changed.
    #[must_use]
    pub fn entry(&self, object: &Key) -> Option<&Entry> {
        self.entries.get(object)
    }

    /// Objects whose last change is not in force.
    pub fn failed(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.waiting.keys()
    }

    /// The same, with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&Key, &str)> {
        let entries = self.waiting.keys().filter_map(|key| Some((key, self.entries.get(key)?)));
        entries.filter_map(|(key, entry)| match &entry.outcome {
            Outcome::Failed(why) => Some((key, why.as_str())),
            Outcome::Done => None,
        })
    }
}
