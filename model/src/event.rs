//! What a source says. The only way into the [`crate::Store`].

use std::net::IpAddr;

use crate::{Key, Kind, Object, ObjectName, Problem};

/// One thing a source says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A full list of this kind begins: what is not applied before `InitDone` no longer exists.
    Init(Kind),
    /// The object exists and is like this.
    Apply(Object),
    /// The object exists but can not be understood; its last good version stays in force.
    Bad(Key, Problem),
    /// The object no longer exists.
    Delete(Kind, ObjectName),
    /// The list of this kind is complete.
    InitDone(Kind),
    /// Something this node knows about itself.
    Local(NodeFact),
}

/// What the node knows without the API server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeFact {
    /// Every address on every device of the node's network namespace, loopback and link-local
    /// ones left out. Replaces what was said before.
    Addresses(Vec<IpAddr>),
}

/// The one way back to a source: list this kind again, this time from a quorum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relist(pub Kind);
