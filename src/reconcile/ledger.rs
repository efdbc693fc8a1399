//! What became of each Service's last change: done or failed, and how long it took.
//!
//! A change waits from the moment it was heard until the kernel holds it: through writes that fail
//! and tables without room. Whoever waits is judged again after every write.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use towpath_model::ObjectName;

/// State of one Service's last change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// In the kernel.
    Done,
    /// Not in the kernel yet, and why. It is tried again.
    Failed(String),
}

/// One line of the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What became of it.
    pub outcome: Outcome,
    /// When the change was received (daemon's milliseconds).
    pub received_ms: u64,
    /// From received to in force (or to the last attempt), microseconds.
    pub took_us: u64,
}

/// A change that is not in the kernel.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    since_ms: u64,
}

/// One entry per Service that exists, so its size is that of the plan.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<ObjectName, Entry>,
    waiting: BTreeMap<ObjectName, Waiting>,
}

impl Ledger {
    /// A change of this Service is about to be written.
    pub(super) fn received(&mut self, service: ObjectName, since: Instant, since_ms: u64) {
        self.waiting.insert(service, Waiting { since, since_ms });
    }

    /// The Service is gone.
    pub(super) fn forget(&mut self, service: &ObjectName) {
        self.entries.remove(service);
        self.waiting.remove(service);
    }

    /// Notes what became of everything that waits. Answers the longest time that a change which is
    /// done now has taken.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        mut judge: impl FnMut(&ObjectName) -> Outcome,
    ) -> Option<Duration> {
        let mut longest = None;
        let entries = &mut self.entries;
        self.waiting.retain(|service, waiting| {
            let outcome = judge(service);
            let took = now.saturating_duration_since(waiting.since);
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let done = outcome == Outcome::Done;
            if done {
                longest = longest.max(Some(took));
            }
            let entry = Entry { outcome, received_ms: waiting.since_ms, took_us };
            entries.insert(service.clone(), entry);
            !done
        });
        longest
    }

    /// Its line, if it ever changed.
    #[must_use]
    pub fn entry(&self, service: &ObjectName) -> Option<&Entry> {
        self.entries.get(service)
    }

    /// Services whose last change is not in the kernel.
    pub fn failed(&self) -> impl ExactSizeIterator<Item = &ObjectName> {
        self.waiting.keys()
    }
}
