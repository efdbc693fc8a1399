//! Values of the maps. Sizes are asserted; every byte is named, so that nothing undefined reaches
//! the kernel.

use crate::{
    addr::Addr,
    words::{SetChoice, SetWord},
};

/// One element of SERVICES (array, mmapable): one service port of one family. 64 bytes.
///
/// An all-zero record is an unused index.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServiceRecord {
    /// Hash of namespace, name, port name, protocol and family; 0 only when unused. It is how a
    /// restarted daemon knows what is pinned, and what affinity is keyed by.
    pub identity: u64,
    /// The cluster set and the local set.
    pub sets: [SetWord; 2],
    /// `ServiceRecord::AFFINITY` or 0.
    pub flags: u32,
    /// Seconds that an idle client keeps its backend; meaningful with AFFINITY.
    pub affinity_seconds: u32,
    /// Always zero: ranges are found by the index of the record.
    pub source_ranges: u32,
    /// Always zero.
    pub reserved: [u32; 7],
}

impl ServiceRecord {
    /// Flag: sessionAffinity ClientIP.
    pub const AFFINITY: u32 = 1;

    /// The set that a frontend asks for.
    #[inline(always)]
    #[must_use]
    pub const fn set(&self, choice: SetChoice) -> SetWord {
        match choice {
            SetChoice::Cluster => self.sets[0],
            SetChoice::Local => self.sets[1],
        }
    }
}

/// One element of BACKENDS (array, mmapable), 24 bytes. Within an extent sorted by (addr, port) as
/// [`BackendRecord::order`] compares them.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BackendRecord {
    /// Endpoint address.
    pub addr: Addr,
    /// Endpoint port, network order.
    pub port: u16,
    /// Always zero for now.
    pub flags: u16,
    /// Always zero.
    pub reserved: u32,
}

impl BackendRecord {
    /// `port` in host order.
    #[must_use]
    pub const fn new(addr: Addr, port: u16) -> Self {
        Self { addr, port: port.to_be(), flags: 0, reserved: 0 }
    }
    /// What extents are sorted by.
    #[inline(always)]
    #[must_use]
    pub const fn order(&self) -> (Addr, u16) {
        (self.addr, self.port)
    }
}

/// Value of NODE_ADDRESSES (hash by [`Addr`]): whose address it is. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeAddressValue {
    /// Hash of the node's name.
    pub node: u64,
    /// `OWN`, `LOOPBACK`.
    pub flags: u32,
    /// Always zero.
    pub reserved: u32,
}

impl NodeAddressValue {
    /// Flag: an address of this node.
    pub const OWN: u32 = 1;
    /// Flag: 127.0.0.1 or ::1, served to sockets of the host's namespace only.
    pub const LOOPBACK: u32 = 1 << 1;
}

/// The single element of CONFIG (array, mmapable). 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConfigRecord {
    /// Cookie of the host's network namespace.
    pub host_netns: u64,
    /// Hash of the cluster's identity (UID of kube-system), 0 while unknown. Pins of another
    /// cluster are refused.
    pub cluster: u64,
    /// `HOST_ONLY`.
    pub flags: u32,
    /// Always zero.
    pub reserved: [u32; 3],
}

impl ConfigRecord {
    /// Flag: only sockets of the host's namespace are translated (`socketLB: hostOnly`).
    pub const HOST_ONLY: u32 = 1;
}

/// Value of AFFINITY. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AffinityValue {
    /// The backend this client keeps.
    pub addr: Addr,
    /// Its port, network order.
    pub port: u16,
    /// Always zero.
    pub reserved: u16,
    /// Coarse monotonic clock, seconds: when a new flow last used it.
    pub used: u32,
}

/// Value of CHOICES. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChoiceValue {
    /// The set word the choice was made from: while it is in force the choice is valid unseen.
    pub word: SetWord,
    /// The other side of the translation.
    pub addr: Addr,
    /// Its port, network order.
    pub port: u16,
    /// Always zero.
    pub reserved: [u16; 3],
}

/// Per-socket storage: what a socket asked for and what it got. 48 bytes.
///
/// Written whole (deleted and created again), never in place, so that no reader sees half of it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SocketRecord {
    /// The set word the choice was made from (unconnected sockets: equal word, valid choice).
    pub word: SetWord,
    /// The frontend's address.
    pub frontend: Addr,
    /// The backend's address.
    pub backend: Addr,
    /// The frontend's port, network order.
    pub frontend_port: u16,
    /// The backend's port, network order.
    pub backend_port: u16,
    /// `CONNECTED`, or 0: the first frontend that an unconnected UDP socket talks to.
    pub flags: u32,
}

impl SocketRecord {
    /// Flag: made by connect(), so the backend is (or was) the socket's peer.
    pub const CONNECTED: u32 = 1;

    /// No record at all? (A zero record stands for absence: the unset payload of an `Option` is
    /// something that the verifier refuses to see copied.)
    #[inline(always)]
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.backend_port == 0
    }

    /// Is this the record of a connect()?
    #[inline(always)]
    #[must_use]
    pub const fn connected(&self) -> bool {
        self.flags & Self::CONNECTED != 0
    }
}

/// Value of PEERS (LRU hash by socket cookie): the backend that a connected UDP socket was sent to,
/// so that the daemon can end the socket when that backend is gone. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeerValue {
    /// The backend's address.
    pub addr: Addr,
    /// Its port, network order.
    pub port: u16,
    /// Always zero.
    pub reserved: [u16; 3],
}

/// One element of COUNTERS (array, mmapable, same index as SERVICES): flows, not packets. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ServiceCounters {
    /// Backend choices made (a connect, or the first datagram of an unconnected socket).
    pub translated: u64,
    /// Refused because no endpoint is usable.
    pub refused: u64,
    /// Left alone because the policy allows local endpoints only and there is none.
    pub no_local: u64,
    /// Left alone because the frontend has source ranges, which do not hold the socket's address or which
    /// are judged by packets.
    pub untranslated: u64,
}

/// The single element of TOTALS (array, mmapable): counters that belong to no service. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TotalCounters {
    /// Calls refused because a clusterIP has no such port.
    pub unknown_port: u64,
    /// Entries of CHOICES that were missed while their other direction was still there.
    pub choices_evicted: u64,
    /// Sockets whose record found no memory: translated, but they see the backend's address.
    pub untracked: u64,
    /// Always zero.
    pub reserved: u64,
}

/// Value of DEVICES (hash by index of a network device): where packets may go by it. 40 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceRecord {
    /// Source of what is masqueraded and leaves by it; unspecified: it has no IPv4 address.
    pub v4: Addr,
    /// The same for IPv6.
    pub v6: Addr,
    /// `POD`, `JUDGED`.
    pub flags: u32,
    /// Always zero.
    pub reserved: u32,
}

impl DeviceRecord {
    /// Flag: pods of this node are behind it.
    pub const POD: u32 = 1;
    /// Flag, beside `POD`: NetworkPolicies judge what comes out of it, after it was translated. Nothing is sent on
    /// past them.
    pub const JUDGED: u32 = 1 << 1;
}

/// The single element of PACKETS (array, mmapable): what became of packets at devices. 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PacketCounters {
    /// Flows that began.
    pub begun: u64,
    /// Dropped: no usable endpoint, or no such port of a clusterIP.
    pub refused: u64,
    /// Of these, answered with an ICMP port unreachable.
    pub answered: u64,
    /// Dropped: only endpoints elsewhere, which the policy does not allow.
    pub no_local: u64,
    /// Dropped: no source port was left, or no room for a flow.
    pub no_port: u64,
    /// Dropped: no way to the endpoint.
    pub no_way: u64,
    /// Dropped: another flow has taken the way back, or the tables contradict each other.
    pub lost: u64,
    /// Dropped: the source is in none of the frontend's source ranges.
    pub source_ranges: u64,
}

/// One life sign of the DNS server of this node. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Beat {
    /// When it could serve last, CLOCK_MONOTONIC in nanoseconds; 0: nothing beats here.
    pub last: u64,
    /// Since when it has done so without a pause.
    pub since: u64,
}

/// The single element of HEARTBEAT (array, mmapable): a beat for each thread that serves. 128 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeartbeatRecord {
    /// The beats.
    pub beats: [Beat; Self::BEATS],
}

impl HeartbeatRecord {
    /// How many threads can beat.
    pub const BEATS: usize = 8;
}

const _: () = assert!(size_of::<HeartbeatRecord>() == 128);
const _: () = assert!(size_of::<DeviceRecord>() == 40);
const _: () = assert!(size_of::<PacketCounters>() == 64);
const _: () = assert!(size_of::<ServiceRecord>() == 64);
const _: () = assert!(size_of::<BackendRecord>() == 24);
const _: () = assert!(size_of::<NodeAddressValue>() == 16);
const _: () = assert!(size_of::<ConfigRecord>() == 32);
const _: () = assert!(size_of::<AffinityValue>() == 24);
const _: () = assert!(size_of::<ChoiceValue>() == 32);
const _: () = assert!(size_of::<SocketRecord>() == 48);
const _: () = assert!(size_of::<PeerValue>() == 24);
const _: () = assert!(size_of::<ServiceCounters>() == 32);
const _: () = assert!(size_of::<TotalCounters>() == 32);
