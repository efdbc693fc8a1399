//! Namespace, trimmed.

use crate::{Meta, store::kept_by_meta};

/// A Namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// Metadata (no namespace).
    pub meta: Meta,
    /// Labels, sorted by their names; `kubernetes.io/metadata.name` is always among them, as an API
    /// server sees to it.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Being deleted: what is in it goes, and nothing new comes.
    pub terminating: bool,
}

impl Namespace {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        self.labels.get(at).map(|(_, value)| &**value)
    }
}

kept_by_meta!(Namespace);
