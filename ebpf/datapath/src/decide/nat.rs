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

/// Claims the way back of a flow: the key of its answers, with what they become. The client's port is
/// kept when nothing speaks against it; a flow that keeps its client's address gets another port, too,
/// when its way back is another's (two VIPs with one endpoint, one client, one port).
#[inline(always)]
pub(super) fn claim<T: Flows>(
    flows: &T,
    start: &Start,
    random: u32,
    now: u32,
) -> Option<(Tuple, FlowEntry)> {
    let own = u16::from_be(start.packet.source_port);
    // Under an address of the node the ports outside the range may be its own sockets'.
    if start.masquerade.is_none() || start.ports.contain(own) {
        let (key, entry) = way_back(start, own, now);
        if try_claim(flows, &key, &entry, now) {
            return Some((key, entry));
        }
    }
    let (mut oldest_port, mut oldest_used) = (0, u32::MAX);
    for attempt in 0..ATTEMPTS {
        let port = start.ports.at(random, attempt);
        let (key, entry) = way_back(start, port, now);
        if try_claim(flows, &key, &entry, now) {
            return Some((key, entry));
        }
        if let Some(found) = live(flows, &key, now)
            && found.closing()
            && found.used < oldest_used
        {
            (oldest_port, oldest_used) = (port, found.used);
        }
    }
    if oldest_port == 0 {
        return None;
    }
    let (key, entry) = way_back(start, oldest_port, now);
    let found = flows.flow(&key)?;
    if !found.closing() {
        return None;
    }
    super::flow::forget(flows, &key, &found);
    flows.insert_flow(&key, &entry).then_some((key, entry))
}

/// Key and value of what answers, if the source gets this port (host order).
#[inline(always)]
fn way_back(start: &Start, port: u16, now: u32) -> (Tuple, FlowEntry) {
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
        flags: FlowEntry::REPLY,
    };
    (key, entry)
}

/// What has expired makes room; what is this very flow's is taken over.
#[inline(always)]
fn try_claim<T: Flows>(flows: &T, key: &Tuple, entry: &FlowEntry, now: u32) -> bool {
    if flows.insert_flow(key, entry) {
        return true;
    }
    match live(flows, key, now) {
        Some(found) => found.to.is(&entry.to),
        None => {
            flows.remove_flow(key);
            flows.insert_flow(key, entry)
        }
    }
}
