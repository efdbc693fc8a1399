//! NetworkPolicy at a pod's device: the verdict on one packet, and the flows that replies belong to.
//!
//! The forward direction is judged per packet, so a revoked policy takes effect with the next one. A
//! reply passes because its flow was opened by the other end *and* the opener would still be let
//! through: what is revoked is cut in both directions.

use crate::{
    addr::Addr,
    keys::protocol,
    policy::{
        BlockWord, CLASS_OF_BLOCKS, CLASS_WORLD, Direction, DirectionWord, PORT_CLASS_OTHER,
        PeerWord, PodRecord, PolicyFlowKey, PolicyFlowValue, RowKey, RowWord, Side,
    },
};

/// A flow of datagrams without a packet for so long is over.
pub const DATAGRAM_FLOW_SECONDS: u32 = 180;

/// Look-ups, by value.
pub trait PolicyTables {
    /// POLICY_PODS.
    fn pod(&self, slot: u32) -> Option<PodRecord>;
    /// POLICY_PEERS.
    fn peer(&self, addr: &Addr) -> Option<PeerWord>;
    /// POLICY_BLOCKS: the longest prefix.
    fn block(&self, addr: &Addr) -> Option<BlockWord>;
    /// POLICY_ROW_INDEX.
    fn row(&self, key: &RowKey) -> Option<RowWord>;
    /// POLICY_ROWS: is this port class allowed in this row? False when out of range.
    fn row_allows(&self, row: u32, port_class: u16) -> bool;
    /// POLICY_PORTS; `port` in host order.
    fn port_class(&self, protocol: u8, port: u16) -> u16;
}

/// State that the kernel owns.
pub trait PolicyFlows: PolicyTables {
    /// POLICY_FLOWS.
    fn flow(&self, key: &PolicyFlowKey) -> Option<PolicyFlowValue>;
    /// POLICY_FLOWS, insert or replace.
    fn keep_flow(&self, key: &PolicyFlowKey, value: &PolicyFlowValue);
}

/// What a packet can begin.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Segment {
    /// A SYN without ACK, an INIT: begins a flow and never answers one.
    Opening,
    /// Any other segment of TCP or SCTP: begins nothing.
    Later,
    /// A datagram: begins a flow when it belongs to none.
    Datagram,
    /// Nothing is known of its ports: neither begins a flow nor belongs to one.
    Portless,
}

/// A packet as policy sees it: after the translation of destinations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PolicyTuple {
    /// The other end.
    pub peer: Addr,
    /// The pod's port, network order. Of an echo: its identifier, on the side that asks.
    pub own_port: u16,
    /// The other port, likewise.
    pub peer_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// What it can begin.
    pub segment: Segment,
}

/// Where a packet to a pod comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// The node itself sent it (`ingress_ifindex` 0): kubelet's probes above all.
    Node,
    /// It came in by a device.
    Elsewhere,
}

/// Every answer there is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PolicyVerdict {
    /// No policy isolates the pod in this direction.
    NotIsolated,
    /// The ruleset allows it.
    Allowed,
    /// It answers what an end that may do so began.
    Reply,
    /// The node itself sent it.
    FromNode,
    /// No rule allows it.
    Denied,
    /// There is no such pod: a damaged table.
    NoPod,
}

impl PolicyVerdict {
    /// Does the packet pass?
    #[inline(always)]
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::NotIsolated | Self::Allowed | Self::Reply | Self::FromNode)
    }
}

/// Would the ruleset of a direction let this through, if it began a flow? `port` is the destination's,
/// in network order.
#[inline(always)]
pub fn forward<T: PolicyTables>(
    tables: &T,
    word: DirectionWord,
    peer: &Addr,
    protocol: u8,
    port: Option<u16>,
) -> PolicyVerdict {
    if !word.is_isolated() {
        return PolicyVerdict::NotIsolated;
    }
    let class = class_of(tables, peer, word.side());
    let row = row_of(tables, word, class);
    let port_class = match port {
        Some(port) => tables.port_class(protocol, u16::from_be(port)),
        None => PORT_CLASS_OTHER,
    };
    match tables.row_allows(row, port_class) {
        true => PolicyVerdict::Allowed,
        false => PolicyVerdict::Denied,
    }
}

/// The class of an address. An element that was recycled while it was read is read once more.
#[inline(always)]
fn class_of<T: PolicyTables>(tables: &T, peer: &Addr, side: Side) -> u16 {
    let read = || tables.peer(peer).filter(|word| word.fits(peer));
    let class = match read().or_else(read) {
        Some(word) => word.classes().of(side),
        None => CLASS_OF_BLOCKS,
    };
    if class != CLASS_OF_BLOCKS {
        return class;
    }
    match tables.block(peer) {
        Some(word) => word.classes().of(side),
        None => CLASS_WORLD,
    }
}

#[inline(always)]
fn row_of<T: PolicyTables>(tables: &T, word: DirectionWord, class: u16) -> u32 {
    if class == CLASS_WORLD {
        return word.default_row();
    }
    let key = RowKey { ruleset: word.ruleset(), class: class as u32 };
    let read = || tables.row(&key).filter(|word| word.fits(key));
    match read().or_else(read) {
        Some(row) => row.row(),
        None => word.default_row(),
    }
}

/// The verdict on one packet. `now`: seconds of the kernel's monotonic clock.
#[inline(always)]
pub fn policy<T: PolicyFlows>(
    tables: &T,
    slot: u32,
    direction: Direction,
    tuple: &PolicyTuple,
    origin: Origin,
    now: u32,
) -> PolicyVerdict {
    let Some(pod) = tables.pod(slot) else { return PolicyVerdict::NoPod };
    let from_node = matches!(origin, Origin::Node) && matches!(direction, Direction::Ingress);
    let verdict = match from_node {
        true => PolicyVerdict::FromNode,
        false => own_verdict(tables, &pod, direction, tuple),
    };
    let key = flow_key(&pod, slot, tuple);
    match tuple.segment {
        Segment::Opening => {
            if verdict.passes() {
                let value = PolicyFlowValue { seen: now, opener: opener(direction, from_node) };
                tables.keep_flow(&key, &value);
            }
            verdict
        }
        Segment::Later => match verdict.passes() {
            true => verdict,
            false => reply(tables, &pod, direction, tuple, tables.flow(&key)),
        },
        Segment::Datagram => {
            if !pod.ingress.is_isolated() && !pod.egress.is_isolated() {
                return verdict;
            }
            datagram(tables, &pod, direction, tuple, (&key, verdict, from_node), now)
        }
        Segment::Portless => verdict,
    }
}

/// A datagram opens a flow unless it belongs to one that lives: so an answer never makes its sender
/// the opener.
#[inline(always)]
fn datagram<T: PolicyFlows>(
    tables: &T,
    pod: &PodRecord,
    direction: Direction,
    tuple: &PolicyTuple,
    (key, verdict, from_node): (&PolicyFlowKey, PolicyVerdict, bool),
    now: u32,
) -> PolicyVerdict {
    let alive = |flow: &PolicyFlowValue| now.saturating_sub(flow.seen) <= DATAGRAM_FLOW_SECONDS;
    let flow = tables.flow(key).filter(alive);
    let verdict = match verdict.passes() {
        true => verdict,
        false => reply(tables, pod, direction, tuple, flow),
    };
    if verdict.passes() {
        let opener = match flow {
            Some(flow) => flow.opener,
            None => opener(direction, from_node),
        };
        // Once a second is enough.
        if flow.is_none_or(|flow| flow.seen != now) {
            tables.keep_flow(key, &PolicyFlowValue { seen: now, opener });
        }
    }
    verdict
}

/// Does a packet that may not begin a flow answer one? Its opener must still be let through.
#[inline(always)]
fn reply<T: PolicyTables>(
    tables: &T,
    pod: &PodRecord,
    direction: Direction,
    tuple: &PolicyTuple,
    flow: Option<PolicyFlowValue>,
) -> PolicyVerdict {
    let Some(flow) = flow else { return PolicyVerdict::Denied };
    let opened = match flow.opener {
        PolicyFlowValue::FROM_POD => Direction::Egress,
        _ => Direction::Ingress,
    };
    if matches!(opened, Direction::Ingress) == matches!(direction, Direction::Ingress) {
        return PolicyVerdict::Denied;
    }
    let still = flow.opener == PolicyFlowValue::FROM_NODE
        || own_verdict(tables, pod, direction.reverse(), tuple).passes();
    match still {
        true => PolicyVerdict::Reply,
        false => PolicyVerdict::Denied,
    }
}

#[inline(always)]
fn own_verdict<T: PolicyTables>(
    tables: &T,
    pod: &PodRecord,
    direction: Direction,
    tuple: &PolicyTuple,
) -> PolicyVerdict {
    let port = match direction {
        Direction::Ingress => tuple.own_port,
        Direction::Egress => tuple.peer_port,
    };
    let port = match tuple.segment {
        Segment::Portless => None,
        _ => Some(port),
    };
    forward(tables, pod.word(direction), &tuple.peer, tuple.protocol, port)
}

#[inline(always)]
const fn opener(direction: Direction, from_node: bool) -> u32 {
    match direction {
        Direction::Egress => PolicyFlowValue::FROM_POD,
        Direction::Ingress if from_node => PolicyFlowValue::FROM_NODE,
        Direction::Ingress => PolicyFlowValue::TO_POD,
    }
}

/// An error about a packet that went the other way passes when that packet would.
#[inline(always)]
pub fn related<T: PolicyFlows>(
    tables: &T,
    slot: u32,
    direction: Direction,
    embedded: &PolicyTuple,
) -> PolicyVerdict {
    let Some(pod) = tables.pod(slot) else { return PolicyVerdict::NoPod };
    let back = direction.reverse();
    let own = own_verdict(tables, &pod, back, embedded);
    if own.passes() {
        return own;
    }
    let flow = tables.flow(&flow_key(&pod, slot, embedded));
    reply(tables, &pod, back, embedded, flow)
}

#[inline(always)]
const fn flow_key(pod: &PodRecord, slot: u32, tuple: &PolicyTuple) -> PolicyFlowKey {
    PolicyFlowKey {
        peer: tuple.peer,
        pod: (slot & 0x00ff_ffff) | pod.generation << 24,
        own_port: tuple.own_port,
        peer_port: tuple.peer_port,
        protocol: tuple.protocol,
        zero: [0; 3],
    }
}

/// Where it is kept that the beginning of a fragmented datagram passed: no flow has such a key.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
pub(super) const fn fragment_key(
    pod: &PodRecord,
    slot: u32,
    tuple: &PolicyTuple,
    id: u32,
    direction: Direction,
) -> PolicyFlowKey {
    let sort = match direction {
        Direction::Ingress => 1,
        Direction::Egress => 2,
    };
    let own = flow_key(pod, slot, tuple);
    PolicyFlowKey { own_port: id as u16, peer_port: (id >> 16) as u16, zero: [sort, 0, 0], ..own }
}

/// Is this protocol one that opens flows with a segment of its own?
#[inline(always)]
#[must_use]
pub const fn has_openings(number: u8) -> bool {
    number == protocol::TCP || number == protocol::SCTP
}

#[cfg(test)]
mod tests;
