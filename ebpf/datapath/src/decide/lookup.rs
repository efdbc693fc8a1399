//! From an address to a frontend.

use super::{Request, Tables};
use crate::{
    keys::FrontendKey,
    records::{ConfigRecord, NodeAddressValue},
    words::FrontendWord,
};

/// What the address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// Nothing of ours.
    Nothing,
    /// Not for sockets of pods.
    HostOnly,
    /// A clusterIP without this port.
    Guarded,
    /// A frontend.
    Frontend(FrontendWord),
    /// A remote node's nodePort, answered by that node's own endpoints, of which there are none.
    NoneThere(FrontendWord),
}

/// VIP first, nodePort second (services.md 1.3), then what guards a clusterIP's other ports.
#[inline(always)]
pub(super) fn find<T: Tables>(tables: &T, request: &Request) -> Found {
    let config = tables.config();
    let host = request.netns == config.host_netns;
    if !host && config.flags & ConfigRecord::HOST_ONLY != 0 {
        return Found::HostOnly;
    }
    let (addr, port) = (request.to.addr, u16::from_be(request.to.port));
    if let Some(word) = fitting(tables, &FrontendKey::vip(addr, port, request.protocol)) {
        return Found::Frontend(word);
    }
    if let Some(node) = tables.node_address(&addr)
        && (host || node.flags & NodeAddressValue::LOOPBACK == 0)
        && let Some(word) = fitting(tables, &FrontendKey::node(addr, port, request.protocol))
    {
        let here = NodeAddressValue::OWN | NodeAddressValue::LOOPBACK;
        if !word.has(FrontendWord::PER_NODE) || node.flags & here != 0 {
            return Found::Frontend(word);
        }
        let there = FrontendKey::node_local(addr, node.node, port, request.protocol);
        return match fitting(tables, &there) {
            Some(local) => Found::Frontend(local),
            None => Found::NoneThere(word),
        };
    }
    if fitting(tables, &FrontendKey::guard(addr)).is_some() {
        return Found::Guarded;
    }
    Found::Nothing
}

/// The element may have been recycled for another key while it was read: then look once more.
#[inline(always)]
pub(super) fn fitting<T: Tables>(tables: &T, key: &FrontendKey) -> Option<FrontendWord> {
    let word = tables.frontend(key)?;
    if word.fits(key) {
        return Some(word);
    }
    tables.frontend(key).filter(|again| again.fits(key))
}
