//! What is different since the last commit.

use std::sync::Arc;

use crate::{EndpointSlice, Node, ObjectName, Service};

/// One object that came, went or changed. Owns both versions, so that whoever compiles it need not
/// hold the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change<T> {
    /// Which object.
    pub name: ObjectName,
    /// As it was at the last commit.
    pub old: Option<Arc<T>>,
    /// As it is now.
    pub new: Option<Arc<T>>,
}

/// Everything that is different since the last commit, coalesced per object: an object that came
/// and went in between is not in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Services.
    pub services: Vec<Change<Service>>,
    /// Slices.
    pub slices: Vec<Change<EndpointSlice>>,
    /// Nodes.
    pub nodes: Vec<Change<Node>>,
    /// The node's own addresses changed.
    pub local: bool,
    /// The last of all kinds was listed since the last commit.
    pub synced: bool,
}

impl Changes {
    /// Nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
