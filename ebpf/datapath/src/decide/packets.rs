//! Packets at devices: what becomes of one that came in, and of one that leaves.

use super::{
    SocketAddress, Tables, Verdict,
    flow::{self, Flows, Followed, Signs, Start, Started, follow, forget, live},
    guard::{Answer, answer},
    nat::{self, Ports},
    node::{Arrival, Masquerade, Origin, Pods, dispatch, is_kept_out, set_in_force},
};
use crate::{
    Addr,
    flow::{FlowEntry, Place},
    keys::{AffinityKey, protocol},
    packet::{Fragment, Headers},
    records::AffinityValue,
};

const ICMP_V6: u8 = 58;

/// What the programs need besides: where packets go from here, and what they count.
pub trait PacketTables: Tables + Flows + Pods {
    /// Address, of its family, of the device by which packets to it leave; unspecified: none.
    fn source_for(&self, to: &Addr) -> Addr;
    /// AFFINITY.
    fn keep_client(&self, key: &AffinityKey, value: &AffinityValue);
    /// Adds one.
    fn tally(&self, what: Tally);
}

/// What is counted: a field of [`crate::PacketCounters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tally {
    /// Flows that began.
    Begun,
    /// Dropped, and answered if it may be: no usable endpoint, or no such port of a clusterIP.
    Refused,
    /// Of these, answered.
    Answered,
    /// Dropped: only endpoints elsewhere, which the policy does not allow.
    NoLocalEndpoint,
    /// Dropped: no source port is left, or no room in the flow table.
    NoPort,
    /// Dropped: no route to the endpoint, or its device has no address of the family.
    NoWay,
    /// Dropped: another flow has taken the way back, or the tables contradict each other.
    Lost,
    /// Dropped: the source is in none of the frontend's source ranges.
    SourceRanges,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The stack decides.
    Pass,
    /// It goes without a word.
    Drop,
    /// ICMP port unreachable, then it goes.
    Unreachable,
    /// It is translated.
    Becomes {
        /// To this.
        to: crate::flow::Tuple,
        /// And sent on by the program, because its source is the node's: the stack would take it
        /// for a forgery.
        redirect: bool,
    },
}

/// What a program can translate: whole datagrams of TCP and UDP.
#[inline(always)]
const fn translatable(headers: &Headers) -> bool {
    matches!(headers.protocol, protocol::TCP | protocol::UDP)
        && matches!(headers.fragment, Fragment::Whole)
}

#[inline(always)]
const fn signs(headers: &Headers) -> Signs {
    Signs { tcp_flags: headers.tcp_flags, payload: headers.payload }
}

/// A packet that came in by a device: [`known`], or [`choose`], [`nat::claim`] and [`begin`]. The kernel
/// runs each as a function of its own.
#[inline(always)]
pub fn arriving<T: PacketTables>(
    tables: &T,
    headers: &Headers,
    origin: Origin,
    random: u32,
    now: u32,
) -> Fate {
    if let Some(fate) = known(tables, headers, origin, now) {
        return fate;
    }
    match choose(tables, headers, origin, random, now) {
        Ok(start) => begin(tables, &start, nat::claim(tables, &start, random, now), now),
        Err(fate) => fate,
    }
}

#[inline(always)]
const fn arrival(headers: &Headers, origin: Origin) -> Arrival {
    Arrival {
        origin,
        from: headers.source,
        to: SocketAddress::new(headers.destination, headers.destination_port),
        protocol: headers.protocol,
    }
}

/// What becomes of a packet of a flow that is known, or that is not for us; `None`: it is new.
#[inline(always)]
pub fn known<T: PacketTables>(
    tables: &T,
    headers: &Headers,
    origin: Origin,
    now: u32,
) -> Option<Fate> {
    // Neighbour and multicast listener discovery is between neighbours, also when it probes a VIP.
    let neighbours = headers.protocol == ICMP_V6 && matches!(headers.icmp_type, 130..=137 | 143);
    let fragment = !matches!(headers.fragment, Fragment::Whole);
    if neighbours || fragment || headers.protocol == protocol::SCTP {
        return Some(Fate::Pass);
    }
    if translatable(headers) {
        let packet = headers.tuple();
        if let Some(entry) = live(tables, &packet, now) {
            if past_policies(origin, &entry) {
                return Some(Fate::Pass);
            }
            if is_stale(tables, &arrival(headers, origin), &entry, now) {
                forget(tables, &packet, &entry);
                return None;
            }
            match follow(tables, &packet, &entry, signs(headers), Place::In, now) {
                Followed::Translated(to) => {
                    let redirect = entry.flags & FlowEntry::SOURCE != 0;
                    return Some(Fate::Becomes { to, redirect });
                }
                Followed::Elsewhere => return Some(Fate::Pass),
                Followed::Lost => {
                    tables.tally(Tally::Lost);
                    return Some(Fate::Drop);
                }
                Followed::Unknown => return None,
            }
        }
    }
    if signs(headers).begins(headers.protocol) { None } else { Some(Fate::Pass) }
}

/// A packet that leaves by a device: an answer wears the name that was asked. What source ranges keep out of
/// a frontend does not go on to it by another way: the node's own sockets were left alone for this.
#[inline(always)]
pub fn leaving<T: PacketTables>(tables: &T, headers: &Headers, now: u32) -> Fate {
    if !translatable(headers) {
        return Fate::Pass;
    }
    let packet = headers.tuple();
    let Some(entry) = live(tables, &packet, now) else {
        let begins = signs(headers).begins(headers.protocol);
        if begins && is_kept_out(tables, &arrival(headers, Origin::Node)) {
            tables.tally(Tally::SourceRanges);
            return Fate::Drop;
        }
        return Fate::Pass;
    };
    match follow(tables, &packet, &entry, signs(headers), Place::Out, now) {
        Followed::Translated(to) => Fate::Becomes { to, redirect: false },
        Followed::Elsewhere | Followed::Unknown => Fate::Pass,
        Followed::Lost => {
            tables.tally(Tally::Lost);
            Fate::Drop
        }
    }
}

/// Would the packet be sent on past what judges it and its source? A flow with a source of the node's is none of a
/// pod that policies judge: what comes from one and fits such a flow has a forged source, and is left to them.
#[inline(always)]
pub(super) const fn past_policies(origin: Origin, entry: &FlowEntry) -> bool {
    matches!(origin, Origin::JudgedPod) && entry.flags & FlowEntry::SOURCE != 0
}

/// Does a datagram go to an endpoint that its frontend does not use any more? Looked at once a second
/// at most, and not while the endpoint answers: what it answers keeps `used` at the present.
#[inline(always)]
fn is_stale<T: PacketTables>(tables: &T, arrival: &Arrival, entry: &FlowEntry, now: u32) -> bool {
    if entry.to.protocol != protocol::UDP || entry.flags & FlowEntry::REPLY != 0 {
        return false;
    }
    if entry.used == now {
        return false;
    }
    let Some(set) = set_in_force(tables, arrival) else { return true };
    let backend = SocketAddress::new(entry.to.destination, entry.to.destination_port);
    set.count() == 0 || !tables.in_set(set, &backend)
}

/// Where a new flow goes.
///
/// # Errors
/// What becomes of the packet when it goes nowhere.
#[inline(always)]
pub fn choose<T: PacketTables>(
    tables: &T,
    headers: &Headers,
    origin: Origin,
    random: u32,
    now: u32,
) -> Result<Start, Fate> {
    let arrival = arrival(headers, origin);
    let found = dispatch(tables, &arrival, Masquerade::default(), random, now);
    let Verdict::Translate(choice) = found.verdict else {
        return Err(refuse(tables, &found.verdict, headers));
    };
    if !translatable(headers) {
        return Err(Fate::Pass);
    }
    let backend = choice.backend;
    let mut replaced = None;
    // A pod's answers come to its node by themselves. With a source of the node's its packets would have to go
    // on past the stack, and past what its NetworkPolicies say of the endpoint.
    let hairpin = arrival.from.is(&backend.addr);
    if found.masquerade && (hairpin || !origin.is_pod()) {
        // The source may be forged, and would look like the node's from here on.
        if matches!(origin, Origin::JudgedPod) {
            tables.tally(Tally::NoWay);
            return Err(Fate::Drop);
        }
        let source = tables.source_for(&backend.addr);
        let none = source.is(&source.any_of_family());
        if none || source.is_v4() != backend.addr.is_v4() {
            tables.tally(Tally::NoWay);
            return Err(Fate::Drop);
        }
        replaced = Some(source);
    }
    if choice.affinity != 0 {
        let key = AffinityKey { client: arrival.from, service: choice.affinity };
        let (addr, port) = (backend.addr, backend.port);
        tables.keep_client(&key, &AffinityValue { addr, port, reserved: 0, used: now });
    }
    Ok(Start {
        packet: headers.tuple(),
        backend,
        masquerade: replaced,
        service: choice.service,
        ports: Ports::default(),
    })
}

/// Begins it, with the port that was claimed for its source (host order), if one was.
#[inline(always)]
pub fn begin<T: PacketTables>(tables: &T, new: &Start, port: Option<u16>, now: u32) -> Fate {
    let started = match port {
        Some(port) => flow::begin(tables, new, port, now),
        None => Started::NoPort,
    };
    let Started::Translated(to) = started else {
        tables.tally(Tally::NoPort);
        return Fate::Drop;
    };
    tables.tally(Tally::Begun);
    // Another CPU may have begun the same flow otherwise.
    Fate::Becomes { to, redirect: !to.source.is(&new.packet.source) }
}

#[inline(always)]
fn refuse<T: PacketTables>(tables: &T, verdict: &Verdict, headers: &Headers) -> Fate {
    let fate = match answer(verdict, headers) {
        None | Some(Answer::Pass) => return Fate::Pass,
        Some(Answer::Drop) => Fate::Drop,
        Some(Answer::Unreachable) => Fate::Unreachable,
    };
    tables.tally(match verdict {
        Verdict::NoLocalEndpoint { .. } => Tally::NoLocalEndpoint,
        Verdict::SourceRanges { .. } => Tally::SourceRanges,
        Verdict::Damaged { .. } => Tally::Lost,
        _ => Tally::Refused,
    });
    fate
}
