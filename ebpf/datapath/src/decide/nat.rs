//! Which source port a translated flow gets.

use super::flow::{Flows, Start, live};
use crate::flow::{FlowEntry, Tuple};

/// Ports for sources. The usual ones are neither those that sockets get by themselves
/// (32768..60999) nor nodePorts (30000..32767).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// The first, host order.
    pub first: u16,
    /// How many.
    pub count: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { first: 20_000, count: 10_000 }
    }
}

impl Ports {
    /// Is this port (host order) one of them?
    #[inline(always)]
    #[must_use]
    pub const fn contain(&self, port: u16) -> bool {
        port >= self.first && port.wrapping_sub(self.first) < self.count
    }

    /// The port of a try, host order.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "less than `count`")]
    const fn at(&self, random: u32, attempt: u32) -> u16 {
        // A step that is odd and not a multiple of five goes through ten thousand ports.
        let at = (random >> 8).wrapping_add(attempt.wrapping_mul(7_919));
        match at.checked_rem(self.count as u32) {
            Some(at) => self.first.wrapping_add(at as u16),
            None => self.first,
        }
    }
}

/// Ports that are tried before the oldest closing flow among them has to go.
pub const ATTEMPTS: u32 = 32;

/// What became of a try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tried {
    /// The port is the flow's.
    Claimed,
    /// It is another's that is over; when that was used last.
    Closing(u32),
    /// It is another's.
    Taken,
}

/// Claims the way back of a flow: the key of its answers, with what they become; answers the port of
/// the source, in host order. The client's port is kept when nothing speaks against it; a flow that
/// keeps its client's address gets another port, too, when its way back is another's (two VIPs with
/// one endpoint, one client, one port).
#[inline(always)]
pub fn claim<T: Flows>(flows: &T, start: &Start, random: u32, now: u32) -> Option<u16> {
    let own = u16::from_be(start.packet.source_port);
    // Under an address of the node the ports outside the range may be its own sockets'.
    if (start.masquerade.is_none() || start.ports.contain(own))
        && matches!(flows.try_port(start, own, now), Tried::Claimed)
    {
        return Some(own);
    }
    let (mut oldest_port, mut oldest_used) = (0, u32::MAX);
    for attempt in 0..ATTEMPTS {
        let port = start.ports.at(random, attempt);
        match flows.try_port(start, port, now) {
            Tried::Claimed => return Some(port),
            Tried::Closing(used) if used < oldest_used => {
                (oldest_port, oldest_used) = (port, used);
            }
            Tried::Closing(_) | Tried::Taken => {}
        }
    }
    (oldest_port != 0 && flows.take_port(start, oldest_port, now)).then_some(oldest_port)
}

/// Tries a port (host order).
#[inline(always)]
pub fn try_port<T: Flows>(flows: &T, start: &Start, port: u16, now: u32) -> Tried {
    let (key, entry) = way_back(start, port, now);
    if try_claim(flows, &key, &entry, now) {
        return Tried::Claimed;
    }
    match live(flows, &key, now) {
        Some(found) if found.closing() => Tried::Closing(found.used),
        _ => Tried::Taken,
    }
}

/// Takes a port (host order) from a flow that is over.
#[inline(always)]
pub fn take_port<T: Flows>(flows: &T, start: &Start, port: u16, now: u32) -> bool {
    let (key, entry) = way_back(start, port, now);
    let Some(found) = flows.flow(&key) else { return false };
    if !found.closing() || !flows.take_over(&key, &found, &entry) {
        return false;
    }
    let (other_key, other) = found.other(&key);
    if flows.flow(&other_key).is_some_and(|held| held.to.is(&other.to)) {
        flows.remove_flow(&other_key);
    }
    true
}

/// Key and value of what answers, if the source gets this port (host order).
#[inline(always)]
pub(super) fn way_back(start: &Start, port: u16, now: u32) -> (Tuple, FlowEntry) {
    let packet = &start.packet;
    let key = Tuple {
        source: start.backend.addr,
        destination: match start.masquerade {
            Some(addr) => addr,
            None => packet.source,
        },
        source_port: start.backend.port,
        destination_port: port.to_be(),
        ..*packet
    };
    let entry = FlowEntry {
        to: packet.reversed(),
        used: now,
        check: key.check(),
        service: start.service,
        flags: match start.masquerade {
            Some(_) => FlowEntry::REPLY | FlowEntry::SOURCE,
            None => FlowEntry::REPLY,
        },
    };
    (key, entry)
}

/// What has expired makes room; what is this very flow's is taken over.
#[inline(always)]
fn try_claim<T: Flows>(flows: &T, key: &Tuple, entry: &FlowEntry, now: u32) -> bool {
    if flows.insert_flow(key, entry) {
        return true;
    }
    let Some(found) = flows.flow(key) else { return false };
    if found.check != key.check() {
        return false;
    }
    if found.live(now) { found.to.is(&entry.to) } else { flows.take_over(key, &found, entry) }
}
