//! What became of each Service's last change: pending, done or failed, and how long it took.

use std::collections::BTreeMap;

use towpath_model::ObjectName;

/// State of one Service's last change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// In the kernel.
    Done,
    /// Not in the kernel, and why; the state before it is still in force.
    Failed(String),
}

/// One line of the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What became of it.
    pub outcome: Outcome,
    /// When the change was received (daemon's milliseconds).
    pub received_ms: u64,
    /// From received to in force, microseconds.
    pub took_us: u64,
}

/// One entry per Service that exists, so its size is that of the plan.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: BTreeMap<ObjectName, Entry>,
}

impl Ledger {
    /// Notes what became of a Service's change.
    pub fn record(&mut self, service: ObjectName, entry: Entry) {
        self.entries.insert(service, entry);
    }

    /// The Service is gone.
    pub fn forget(&mut self, service: &ObjectName) {
        self.entries.remove(service);
    }

    /// Its line, if it ever changed.
    #[must_use]
    pub fn entry(&self, service: &ObjectName) -> Option<&Entry> {
        self.entries.get(service)
    }

    /// Services whose last change is not in the kernel.
    pub fn failed(&self) -> impl Iterator<Item = (&ObjectName, &str)> {
        self.entries.iter().filter_map(|(name, entry)| match &entry.outcome {
            Outcome::Failed(why) => Some((name, why.as_str())),
            Outcome::Done => None,
        })
    }
}
