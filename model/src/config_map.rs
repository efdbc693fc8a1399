//! ConfigMap, trimmed.

use crate::{Meta, store::kept_by_meta};

/// A ConfigMap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigMap {
    /// Metadata.
    pub meta: Meta,
    /// `data`, sorted by the keys; entries beyond a limit are left out with a problem.
    pub data: Box<[(Box<str>, Box<str>)]>,
}

impl ConfigMap {
    /// The text under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.data.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.data.get(at).map(|(_, text)| &**text)
    }
}

kept_by_meta!(ConfigMap);
