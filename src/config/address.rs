//! Addresses and blocks of addresses, as people write them.

use std::net::{IpAddr, SocketAddr};

use towpath_model::service::Cidr;

use super::{Fault, layers::Setting};

/// A block; a bare address is a block of one.
pub(super) fn cidr(given: &Setting<String>, path: &str, faults: &mut Vec<Fault>) -> Option<Cidr> {
    let text = given.value.trim();
    let single = |ip: IpAddr| Cidr { base: ip, prefix: if ip.is_ipv4() { 32 } else { 128 } };
    let block = Cidr::parse(text).or_else(|| text.parse().ok().map(single));
    if block.is_none() {
        let action = "write it as 192.0.2.0/24 or 2001:db8::/32";
        faults.push(given.fault(path, "is not a block of addresses", action));
    }
    block
}

/// An address to listen on: with a port, without one (`port` then), or `off`.
pub(super) fn listen(
    given: Option<&Setting<String>>,
    path: &str,
    default: SocketAddr,
    faults: &mut Vec<Fault>,
) -> Option<SocketAddr> {
    let Some(given) = given else { return Some(default) };
    let text = given.value.trim();
    if text == "off" {
        return None;
    }
    let bare = |text: &str| {
        let ip = text.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        Some(SocketAddr::new(ip, default.port()))
    };
    let address = text.parse().ok().or_else(|| bare(text));
    if address.is_none() {
        let action = format!("write it as {default}, or \"off\"");
        faults.push(given.fault(path, "is not an address to listen on", action));
    }
    address
}
