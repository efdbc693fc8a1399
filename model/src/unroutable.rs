//! Addresses that belong to no single host of a network.

use std::net::IpAddr;

/// Why no Service, endpoint or Node can have this address (CVE-2021-25737 is what happens when an
/// endpoint has one): it leads to the asking host itself, to its link, or to many hosts at once. `None`: it
/// is an address like others.
#[must_use]
pub fn why_unroutable(ip: IpAddr) -> Option<&'static str> {
    // What is IPv4 in other clothes is judged as what it is.
    let ip = ip.to_canonical();
    let (unspecified, link_local) = match ip {
        // 0.0.0.0/8 is "this network" (RFC 6890), never a destination.
        IpAddr::V4(v4) => (v4.octets()[0] == 0, v4.is_link_local() || v4.is_broadcast()),
        IpAddr::V6(v6) => (v6.is_unspecified(), v6.is_unicast_link_local()),
    };
    if ip.is_loopback() {
        Some("a loopback address")
    } else if link_local {
        Some("a link-local address")
    } else if ip.is_multicast() {
        Some("a multicast address")
    } else if unspecified {
        Some("the unspecified address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_special_ones_of_both_families_and_no_others() {
        for special in [
            "127.0.0.1",
            "127.255.0.9",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "255.255.255.255",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.1.1",
            "224.0.0.1",
            "239.1.1.1",
            "ff02::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
        ] {
            assert!(why_unroutable(special.parse().unwrap()).is_some(), "{special}");
        }
        for plain in ["10.0.0.1", "192.168.0.1", "100.64.0.1", "fd00::1", "2001:db8::1", "1.1.1.1"]
        {
            assert_eq!(why_unroutable(plain.parse().unwrap()), None, "{plain}");
        }
    }
}
