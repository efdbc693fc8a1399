//! Reverse names: an address as labels, and who has it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use crate::{labels::Labels, records::Records};

/// Reverse names of IPv4.
pub(crate) const V4: &[u8] = b"\x07in-addr\x04arpa\0";
/// Reverse names of IPv6.
pub(crate) const V6: &[u8] = b"\x03ip6\x04arpa\0";

/// A name that an address leads back to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pointer {
    pub(crate) records: Arc<Records>,
    /// Which endpoint; `None`: the Service, of which it is a ClusterIP.
    pub(crate) host: Option<u32>,
}

impl Pointer {
    /// The order of answers: a ClusterIP alone, hostnames before addresses with dashes, whose names
    /// lead forward to the same address as well but that no person chose.
    pub(crate) fn rank(&self) -> u8 {
        let Some(at) = self.host else { return 0 };
        let host = usize::try_from(at).ok().and_then(|at| self.records.hosts.get(at));
        if host.is_some_and(|host| host.named) { 1 } else { 2 }
    }
}

/// The address that a whole reverse name stands for, and the zone it is in.
pub(crate) fn address(name: &Labels<'_>) -> Option<(IpAddr, &'static [u8])> {
    if let Some(above) = name.above(V4) {
        let mut octets = [0; 4];
        for (at, octet) in octets.iter_mut().enumerate() {
            *octet = decimal(above.last(at)?)?;
        }
        return (above.count() == 4).then(|| (Ipv4Addr::from(octets).into(), V4));
    }
    let above = name.above(V6)?;
    let mut octets = [0; 16];
    for at in 0..32 {
        let &[digit] = above.last(at)? else { return None };
        let value = u8::try_from(char::from(digit).to_digit(16)?).ok()?;
        let octet = octets.get_mut(at / 2)?;
        *octet = *octet << 4 | value;
    }
    let whole = above.count() == 32 && !above.deeper();
    whole.then(|| (Ipv6Addr::from(octets).into(), V6))
}

/// A number as reverse names have it: no leading zero.
fn decimal(label: &[u8]) -> Option<u8> {
    let digits = label.iter().all(u8::is_ascii_digit);
    if !digits || label.len() > 1 && label.first() == Some(&b'0') {
        return None;
    }
    std::str::from_utf8(label).ok()?.parse().ok()
}
