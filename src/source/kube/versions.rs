//! How far each stream is, for the others of its kind: two that may bring the same objects must not
//! begin from different times.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use towpath_model::Stream;

/// The newest version that each stream has heard of.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<BTreeMap<Stream, u64>>);

impl Versions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Stream, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream has heard everything up to this version.
    pub(super) fn reached(&self, stream: &Stream, version: &str) {
        if let Ok(version) = version.parse() {
            self.lock().insert(stream.clone(), version);
        }
    }

    /// The stream has ended.
    pub(super) fn forget(&self, stream: &Stream) {
        self.lock().remove(stream);
    }

    /// The newest of the other streams of the kind; 0 when there is none.
    pub(super) fn of_others(&self, stream: &Stream) -> u64 {
        let versions = self.lock();
        let others = versions.iter().filter(|(other, _)| other.kind == stream.kind);
        others.filter(|(other, _)| *other != stream).map(|(_, version)| *version).max().unwrap_or(0)
    }
}
