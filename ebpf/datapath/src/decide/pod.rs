//! What happens to a packet at a pod's device, from its bytes: whose device it is, what kind of packet,
//! whether its source is the pod's own, and then what policy says.

use super::policy::{
    Origin, PolicyFlows, PolicyTuple, PolicyVerdict, Segment, fragment_key, policy, related,
};
use crate::{
    Addr,
    keys::protocol,
    packet::{Fragment, Headers, Link, Packet, Unparsed, parse, tcp},
    policy::{DeviceWord, Direction, PodRecord, PolicyConfig, PolicyFlowValue},
};

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
const ARP: u16 = 0x0806;
/// A datagram whose beginning passed is complete within this time, or never (RFC 8200, 4.5).
const FRAGMENT_SECONDS: u32 = 60;

/// The maps that a pod's device needs besides.
pub trait PodTables: PolicyFlows {
    /// POLICY_DEVICES.
    fn device(&self, index: u32) -> Option<DeviceWord>;
    /// POLICY_CONFIG.
    fn config(&self) -> PolicyConfig;
}

/// Every answer there is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PodVerdict {
    /// What policy says.
    Policy(PolicyVerdict),
    /// Not the business of policy: ARP, neighbour discovery, group membership, DHCP.
    Housekeeping,
    /// No pod is known for the device, and there is no policy either.
    NoPolicy,
    /// No pod is known for the device yet: closed while there is any policy.
    Unbound,
    /// The source is not the pod's.
    Spoofed,
    /// It cannot be understood, and the pod is isolated.
    Unreadable,
    /// It is for another address (a bridge floods), and the pod is isolated.
    NotForIt,
}

impl PodVerdict {
    /// Does the packet pass?
    #[inline(always)]
    #[must_use]
    pub const fn passes(self) -> bool {
        match self {
            Self::Policy(verdict) => verdict.passes(),
            Self::Housekeeping | Self::NoPolicy => true,
            Self::Unbound | Self::Spoofed | Self::Unreadable | Self::NotForIt => false,
        }
    }
}

/// The verdict on a packet at the device with this index. `now`: seconds, monotonic.
#[inline(always)]
pub fn pod_packet<P: Packet, T: PodTables>(
    packet: &P,
    tables: &T,
    device: u32,
    direction: Direction,
    origin: Origin,
    now: u32,
) -> PodVerdict {
    let slot = match tables.device(device) {
        Some(word) => word.slot(),
        None => None,
    };
    let Some(slot) = slot else { return unbound(packet, tables, direction, origin) };
    let Some(pod) = tables.pod(slot) else { return unbound(packet, tables, direction, origin) };
    let isolated = pod.ingress.is_isolated() || pod.egress.is_isolated();
    let headers = match parse(packet, Link::Ethernet) {
        Ok(headers) => headers,
        Err(why) => return unread(packet, why, isolated, direction, origin),
    };
    let own = match direction {
        Direction::Egress => headers.source,
        Direction::Ingress => headers.destination,
    };
    if !pod.has(&own) {
        if is_housekeeping(&headers) {
            return PodVerdict::Housekeeping;
        }
        match direction {
            Direction::Egress => return PodVerdict::Spoofed,
            Direction::Ingress if matches!(origin, Origin::Node) => {}
            Direction::Ingress if pod.ingress.is_isolated() && !is_group(&own) => {
                return PodVerdict::NotForIt;
            }
            Direction::Ingress => {}
        }
    } else if is_neighbour(&headers) {
        return PodVerdict::Housekeeping;
    }
    PodVerdict::Policy(judge(packet, tables, (slot, &pod), &headers, direction, origin, now))
}

/// A device whose pod is not known: the node itself reaches it, and it can look for its neighbours.
#[inline(always)]
fn unbound<P: Packet, T: PodTables>(
    packet: &P,
    tables: &T,
    direction: Direction,
    origin: Origin,
) -> PodVerdict {
    if tables.config().flags & PolicyConfig::CLOSED == 0 {
        return PodVerdict::NoPolicy;
    }
    if matches!(direction, Direction::Ingress) && matches!(origin, Origin::Node) {
        return PodVerdict::Policy(PolicyVerdict::FromNode);
    }
    match parse(packet, Link::Ethernet) {
        Ok(headers) if is_housekeeping(&headers) => PodVerdict::Housekeeping,
        Err(Unparsed::NotIp) if is_arp(packet) => PodVerdict::Housekeeping,
        _ => PodVerdict::Unbound,
    }
}

#[inline(always)]
fn unread<P: Packet>(
    packet: &P,
    why: Unparsed,
    isolated: bool,
    direction: Direction,
    origin: Origin,
) -> PodVerdict {
    if matches!(why, Unparsed::NotIp) && is_arp(packet) {
        return PodVerdict::Housekeeping;
    }
    if matches!(direction, Direction::Ingress) && matches!(origin, Origin::Node) {
        return PodVerdict::Policy(PolicyVerdict::FromNode);
    }
    match isolated {
        true => PodVerdict::Unreadable,
        false => PodVerdict::Policy(PolicyVerdict::NotIsolated),
    }
}

#[inline(always)]
fn is_arp<P: Packet>(packet: &P) -> bool {
    packet.half(12).is_some_and(|kind| u16::from_be(kind) == ARP)
}

/// Multicast, or IPv4's broadcast.
#[inline(always)]
fn is_group(addr: &Addr) -> bool {
    if addr.is_v4() {
        let word = u32::from_be(addr.v4_word());
        return word >> 28 == 14 || word == u32::MAX;
    }
    let [first, ..] = addr.0;
    u32::from_be(first) >> 24 == 0xff
}

#[inline(always)]
fn is_link_local(addr: &Addr) -> bool {
    let [first, ..] = addr.0;
    !addr.is_v4() && u32::from_be(first) >> 22 == 0xfe80 >> 6
}

/// Neighbour and router discovery, which is never forwarded (a hop limit of 255 proves that it was
/// not: RFC 4861, 7.1).
#[inline(always)]
const fn is_neighbour(headers: &Headers) -> bool {
    headers.protocol == ICMP_V6
        && headers.icmp_type >= 133
        && headers.icmp_type <= 137
        && headers.ttl == 255
}

/// What a link needs to work at all, by whatever address.
#[inline(always)]
fn is_housekeeping(headers: &Headers) -> bool {
    if is_neighbour(headers) {
        return true;
    }
    let near = is_group(&headers.destination) || is_link_local(&headers.destination);
    if !near {
        return false;
    }
    let membership = headers.protocol == ICMP_V6
        && (matches!(headers.icmp_type, 130..=132) || headers.icmp_type == 143);
    let ports = (u16::from_be(headers.source_port), u16::from_be(headers.destination_port));
    let dhcp = headers.protocol == protocol::UDP
        && (ports == (68, 67) || ports == (67, 68) || ports == (546, 547) || ports == (547, 546));
    membership || dhcp
}

/// A packet of a known pod.
#[inline(always)]
fn judge<P: Packet, T: PodTables>(
    packet: &P,
    tables: &T,
    (slot, pod): (u32, &PodRecord),
    headers: &Headers,
    direction: Direction,
    origin: Origin,
    now: u32,
) -> PolicyVerdict {
    let (peer, ports) = match direction {
        Direction::Ingress => (headers.source, (headers.destination_port, headers.source_port)),
        Direction::Egress => (headers.destination, (headers.source_port, headers.destination_port)),
    };
    let mut tuple = PolicyTuple {
        peer,
        own_port: ports.0,
        peer_port: ports.1,
        protocol: headers.protocol,
        segment: Segment::Portless,
    };
    let fragment = fragment_key(pod, slot, &tuple, headers.fragment_id, direction);
    if matches!(headers.fragment, Fragment::Later) {
        // It goes where its beginning went; without one that passed, only where anything may.
        let began = match tables.flow(&fragment) {
            Some(flow) => now.wrapping_sub(flow.seen) <= FRAGMENT_SECONDS,
            None => false,
        };
        if began {
            return PolicyVerdict::Reply;
        }
        return policy(tables, slot, direction, &tuple, origin, now);
    }
    if matches!(headers.protocol, ICMP | ICMP_V6) {
        if is_error(headers) && !matches!(origin, Origin::Node) {
            let about = embedded(packet, headers, direction);
            return match about {
                Ok(about) => related(tables, slot, direction, &about),
                Err(_) => policy(tables, slot, direction, &tuple, origin, now),
            };
        }
        echo(packet, headers, direction, &mut tuple);
    } else {
        tuple.segment = segment(packet, headers);
    }
    let verdict = policy(tables, slot, direction, &tuple, origin, now);
    if matches!(headers.fragment, Fragment::First) && verdict.passes() {
        tables.keep_flow(&fragment, &PolicyFlowValue { seen: now, opener: 0 });
    }
    verdict
}

#[inline(always)]
fn segment<P: Packet>(packet: &P, headers: &Headers) -> Segment {
    match headers.protocol {
        protocol::TCP => match headers.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN {
            true => Segment::Opening,
            false => Segment::Later,
        },
        protocol::SCTP => match packet.byte(headers.l4.wrapping_add(12)) {
            // INIT (RFC 9260, 3.2).
            Some(1) => Segment::Opening,
            _ => Segment::Later,
        },
        protocol::UDP => Segment::Datagram,
        _ => Segment::Portless,
    }
}

/// Destination unreachable, packet too big, time exceeded, parameter problem.
#[inline(always)]
const fn is_error(headers: &Headers) -> bool {
    match headers.protocol {
        ICMP => matches!(headers.icmp_type, 3 | 11 | 12),
        _ => matches!(headers.icmp_type, 1..=4),
    }
}

/// An echo has an identifier in place of a port, on the side that asks.
#[inline(always)]
fn echo<P: Packet>(packet: &P, headers: &Headers, direction: Direction, tuple: &mut PolicyTuple) {
    let (asks, answers) = match headers.protocol {
        ICMP => (headers.icmp_type == 8, headers.icmp_type == 0),
        _ => (headers.icmp_type == 128, headers.icmp_type == 129),
    };
    let Some(id) = packet.half(headers.l4.wrapping_add(4)) else { return };
    if !asks && !answers {
        return;
    }
    tuple.segment = Segment::Datagram;
    if asks == matches!(direction, Direction::Egress) {
        (tuple.own_port, tuple.peer_port) = (id, 0);
    } else {
        (tuple.own_port, tuple.peer_port) = (0, id);
    }
}

/// The packet that an error is about: it went the other way.
#[inline(always)]
fn embedded<P: Packet>(
    packet: &P,
    error: &Headers,
    direction: Direction,
) -> Result<PolicyTuple, Unparsed> {
    let l3 = error.l4.wrapping_add(8);
    let at = |offset: u32| l3.wrapping_add(offset);
    let word = |offset: u32| packet.word(at(offset)).ok_or(Unparsed::Truncated);
    let byte = |offset: u32| packet.byte(at(offset)).ok_or(Unparsed::Truncated);
    let (source, destination, number, l4) = if error.protocol == ICMP {
        let header = u32::from(byte(0)? & 15).wrapping_mul(4);
        let source = Addr::from_v4_word(word(12)?);
        (source, Addr::from_v4_word(word(16)?), byte(9)?, at(header))
    } else {
        let source = Addr([word(8)?, word(12)?, word(16)?, word(20)?]);
        let destination = Addr([word(24)?, word(28)?, word(32)?, word(36)?]);
        (source, destination, byte(6)?, at(40))
    };
    let half = |at: u32| packet.half(at).ok_or(Unparsed::Truncated);
    let (segment, ports) = match number {
        protocol::TCP | protocol::SCTP => (Segment::Later, (half(l4)?, half(l4.wrapping_add(2))?)),
        protocol::UDP => (Segment::Datagram, (half(l4)?, half(l4.wrapping_add(2))?)),
        _ => (Segment::Portless, (0, 0)),
    };
    // To the pod comes an error about what the pod sent.
    let (peer, own_port, peer_port) = match direction {
        Direction::Ingress => (destination, ports.0, ports.1),
        Direction::Egress => (source, ports.1, ports.0),
    };
    Ok(PolicyTuple { peer, own_port, peer_port, protocol: number, segment })
}

#[cfg(test)]
mod tests;
