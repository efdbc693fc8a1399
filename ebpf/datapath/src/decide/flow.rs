//! Packets of flows that are known, and the beginning of those that are not.

use super::{SocketAddress, nat};
use crate::{
    Addr,
    flow::{FlowEntry, Place, Tuple},
    keys::protocol,
    packet::tcp,
};

/// The flow table.
pub trait Flows {
    /// A copy of an entry; whether it fits the key and is still there is for the caller to check.
    fn flow(&self, key: &Tuple) -> Option<FlowEntry>;
    /// Inserts, unless there is an entry with this key: then (or without room) false. This is the
    /// claim of a port: of two that try it at the same time one succeeds.
    fn insert_flow(&self, key: &Tuple, entry: &FlowEntry) -> bool;
    /// Replaces an entry, or inserts it; false without room.
    fn replace_flow(&self, key: &Tuple, entry: &FlowEntry) -> bool;
    /// Puts an entry in the place of `found`, if that is still there as it was found; of two that try
    /// it at the same time one succeeds. False also when `found` was used in this very second: what is
    /// compared could not tell the two apart.
    fn take_over(&self, key: &Tuple, found: &FlowEntry, entry: &FlowEntry) -> bool;
    /// Removes an entry, if it is there.
    fn remove_flow(&self, key: &Tuple);
    /// The same as [`nat::try_port`], which is all that an implementation may do: the kernel has it as
    /// a function of its own, for its stack.
    #[inline(always)]
    fn try_port(&self, start: &Start, port: u16, now: u32) -> nat::Tried
    where
        Self: Sized,
    {
        nat::try_port(self, start, port, now)
    }
    /// The same as [`nat::take_port`].
    #[inline(always)]
    fn take_port(&self, start: &Start, port: u16, now: u32) -> bool
    where
        Self: Sized,
    {
        nat::take_port(self, start, port, now)
    }
}

/// What a packet says about its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signs {
    /// Flags of TCP, 0 of others.
    pub tcp_flags: u8,
    /// Does TCP carry data?
    pub payload: bool,
}

impl Signs {
    /// Does it begin a flow? Of TCP only a SYN does; what comes without an entry in the middle of a
    /// connection may be the kernel's own to translate.
    #[inline(always)]
    #[must_use]
    pub const fn begins(&self, protocol: u8) -> bool {
        let syn = self.tcp_flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN;
        protocol != protocol::TCP || syn
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Followed {
    /// No flow of ours.
    Unknown,
    /// Another flow has taken the way back of this one: it can go on no more, and is forgotten.
    Lost,
    /// It is translated elsewhere.
    Elsewhere,
    /// It becomes this.
    Translated(Tuple),
}

/// A packet of a flow that may be known: what it becomes, and what it means for the flow.
///
/// Both entries are written when something changes, once a second at most otherwise: so neither
/// expires while the other one is in use, and one that was lost is made again.
#[inline(always)]
pub fn follow<T: Flows>(
    flows: &T,
    packet: &Tuple,
    entry: &FlowEntry,
    signs: Signs,
    place: Place,
    now: u32,
) -> Followed {
    if !matches!((entry.place(), place), (Place::In, Place::In) | (Place::Out, Place::Out)) {
        return Followed::Elsewhere;
    }
    let begins = packet.protocol == protocol::TCP && signs.begins(protocol::TCP);
    if begins && entry.closing() && entry.flags & FlowEntry::REPLY == 0 {
        // The client uses its port again: a new connection, with a new choice.
        forget(flows, packet, entry);
        return Followed::Unknown;
    }
    let flags = flags_after(entry, packet.protocol, signs);
    if flags == entry.flags && entry.used == now {
        return Followed::Translated(entry.to);
    }
    let entry = FlowEntry { flags, used: now, ..*entry };
    let (other_key, other) = entry.other(packet);
    if let Some(found) = live(flows, &other_key, now)
        && !found.to.is(&other.to)
    {
        flows.remove_flow(packet);
        return Followed::Lost;
    }
    // Without room the packet is translated all the same; the next one tries again.
    flows.replace_flow(&other_key, &other);
    flows.replace_flow(packet, &entry);
    Followed::Translated(entry.to)
}

#[inline(always)]
const fn flags_after(entry: &FlowEntry, protocol: u8, signs: Signs) -> u32 {
    let mut flags = entry.flags;
    if flags & FlowEntry::REPLY != 0 {
        flags |= FlowEntry::ANSWERED;
    }
    if protocol != protocol::TCP {
        return flags;
    }
    if signs.tcp_flags & tcp::RST != 0 {
        return flags | FlowEntry::RESET;
    }
    if entry.closing() && signs.payload && signs.tcp_flags & tcp::FIN == 0 {
        // It goes on: a forged RST, say, that no end has taken.
        flags &= !(FlowEntry::RESET | FlowEntry::FIN | FlowEntry::OTHER_FIN);
    }
    if signs.tcp_flags & tcp::FIN != 0 {
        flags |= FlowEntry::FIN;
    }
    flags
}

/// Forgets both directions, but nothing of a flow that has taken the way back since.
#[inline(always)]
pub fn forget<T: Flows>(flows: &T, key: &Tuple, entry: &FlowEntry) {
    let (other_key, other) = entry.other(key);
    if flows.flow(&other_key).is_some_and(|found| found.to.is(&other.to)) {
        flows.remove_flow(&other_key);
    }
    flows.remove_flow(key);
}

/// The entry of a packet, if it is there at this time. (An element may be recycled for another key while it is
/// read: then it is looked up once more.)
#[inline(always)]
pub fn live<T: Flows>(flows: &T, key: &Tuple, now: u32) -> Option<FlowEntry> {
    let mut found = flows.flow(key)?;
    if found.check != key.check() {
        found = flows.flow(key)?;
    }
    (found.check == key.check() && found.live(now)).then_some(found)
}

/// A flow that is to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// Its first packet.
    pub packet: Tuple,
    /// Where it goes.
    pub backend: SocketAddress,
    /// Source address that it gets; `None`: it keeps the client's.
    pub masquerade: Option<Addr>,
    /// Index into SERVICES.
    pub service: u32,
    /// Ports that sources may get.
    pub ports: nat::Ports,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Started {
    /// The packet becomes this.
    Translated(Tuple),
    /// No port is left for a source, or no room for an entry.
    NoPort,
}

/// Begins a flow: claims its way back first, then its way there.
#[inline(always)]
pub fn start<T: Flows>(flows: &T, start: &Start, random: u32, now: u32) -> Started {
    match nat::claim(flows, start, random, now) {
        Some(port) => begin(flows, start, port, now),
        None => Started::NoPort,
    }
}

/// Claims the way there of a flow that has claimed its way back, with this port (host order).
#[inline(always)]
pub fn begin<T: Flows>(flows: &T, start: &Start, port: u16, now: u32) -> Started {
    let (key, entry) = nat::way_back(start, port, now);
    let (forward_key, forward) = entry.other(&key);
    if flows.insert_flow(&forward_key, &forward) {
        return Started::Translated(forward.to);
    }
    match live(flows, &forward_key, now) {
        // Another packet of the same flow was faster, on another CPU.
        Some(found) => {
            if !found.to.is(&forward.to) {
                flows.remove_flow(&key);
            }
            Started::Translated(found.to)
        }
        None if flows.replace_flow(&forward_key, &forward) => Started::Translated(forward.to),
        None => {
            flows.remove_flow(&key);
            Started::NoPort
        }
    }
}
