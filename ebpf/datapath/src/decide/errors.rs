//! ICMP errors about packets that were translated: each end is told of the packets that it knows.

use super::{
    flow::{Flows, live},
    node::Origin,
    packets::past_policies,
};
use crate::{
    flow::{FlowEntry, Place, Tuple},
    packet::{
        Headers,
        quoted::{Quoted, Says},
    },
};

/// What becomes of an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// It is about no flow of ours.
    Unknown,
    /// It is translated elsewhere.
    Elsewhere,
    /// It goes without a word.
    Drop,
    /// It is translated.
    Becomes {
        /// To these addresses; it has no ports.
        outer: Tuple,
        /// The packet that it quotes becomes this.
        quoted: Tuple,
        /// And sent on by the program, as the packets that go the same way.
        redirect: bool,
    },
}

/// An error goes the way of what answers the packet that it quotes, and is translated where that is. Its own
/// addresses become those that such an answer has, as the kernel's connection tracking has it (RFC 5508, 4.2),
/// also where a router sent it: a router's own address, coming from a node that does not have it, is what networks drop.
/// Only the client's address, where endpoints see it, is nothing of ours: an error that comes from its side
/// keeps its source.
///
/// A redirect is about the way from this node, of which the other end knows nothing.
#[inline(always)]
pub fn told<T: Flows>(
    flows: &T,
    headers: &Headers,
    says: Says,
    quoted: &Quoted,
    (place, origin): (Place, Origin),
    now: u32,
) -> Told {
    let answer = quoted.tuple.reversed();
    let Some(entry) = live(flows, &answer, now) else { return Told::Unknown };
    if past_policies(origin, &entry) {
        return Told::Elsewhere;
    }
    if matches!(says, Says::Redirect) {
        return Told::Drop;
    }
    if !matches!((entry.place(), place), (Place::In, Place::In) | (Place::Out, Place::Out)) {
        return Told::Elsewhere;
    }
    let replaced = entry.flags & (FlowEntry::REPLY | FlowEntry::SOURCE) != 0;
    let source = if replaced { entry.to.source } else { headers.source };
    let outer = Tuple { source, destination: entry.to.destination, ..headers.tuple() };
    let redirect = entry.flags & FlowEntry::SOURCE != 0;
    Told::Becomes { outer, quoted: entry.to.reversed(), redirect }
}
