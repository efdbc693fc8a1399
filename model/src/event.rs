//! What a source says. The only way into the [`crate::Store`].

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use crate::{Key, Kind, Object, ObjectName, Problem, Stream};

/// One thing a source says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A full list of this stream begins: what of its scope is not applied before `InitDone` no longer
    /// exists.
    Init(Stream),
    /// The object exists and is like this.
    Apply(Object),
    /// The object exists but can not be understood; its last good version stays in force.
    Bad(Key, Problem),
    /// The object no longer exists.
    Delete(Kind, ObjectName),
    /// The list of this stream is complete.
    InitDone(Stream),
    /// The server does not know this kind, which need not be there: it counts as listed and empty.
    Absent(Kind),
    /// The stream is no more, and with it what no other one brings.
    End(Stream),
    /// Something this node knows about itself.
    Local(NodeFact),
}

/// What the node knows without the API server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeFact {
    /// Every address on every device of the node's network namespace, loopback and link-local
    /// ones left out. Replaces what was said before.
    Addresses(Vec<IpAddr>),
    /// This node itself answers DNS at the ClusterIPs of this Service; `None`: of none.
    AnswersDns(Option<ObjectName>),
    /// The devices of the node's network namespace that lead to pods, by index. Replaces what was said
    /// before.
    PodDevices(Arc<[PodDevice]>),
    /// The devices by which packets are routed. Replaces what was said before.
    NodeDevices(Arc<NodeDevices>),
}

/// The devices of the node's network namespace by which packets are routed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeDevices {
    /// By index.
    pub devices: Vec<NodeDevice>,
    /// Does the node forward packets? IPv4, IPv6.
    pub forwards: [bool; 2],
}

/// One of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeDevice {
    /// Its interface index.
    pub index: u32,
    /// Its name, for people.
    pub name: Box<str>,
    /// Pods of this node are behind it: it is a pod's own device, or the bridge of several.
    pub pods: bool,
    /// Its first IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its first IPv6 address that others can reach.
    pub v6: Option<Ipv6Addr>,
}

/// The host's end of a pair of devices of which the other end is in a pod.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PodDevice {
    /// Its interface index.
    pub index: u32,
    /// The addresses of the other end, sorted; none as long as the pod is being made.
    pub addresses: Box<[IpAddr]>,
}

/// The one way back to a source: list this stream again, this time from a quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relist(pub Stream);
