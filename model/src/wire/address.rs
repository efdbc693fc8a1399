//! Addresses as people write them.

use std::net::{IpAddr, Ipv4Addr};

/// What a text is as an address.
pub(super) enum Parsed {
    /// An address.
    Fine(IpAddr),
    /// An IPv4 address with leading zeros. They are decimal, as everywhere in Kubernetes
    /// (CVE-2021-29923: readers that take them for octal reach another host).
    LeadingZeros(IpAddr),
    /// An IPv4-mapped IPv6 address: it must be written as the IPv4 address that it is.
    Mapped(Ipv4Addr),
    /// Nothing of this kind.
    Wrong,
}

pub(super) fn parse(text: &str) -> Parsed {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => Parsed::Mapped(v4),
            None => Parsed::Fine(IpAddr::V6(v6)),
        },
        Ok(ip) => Parsed::Fine(ip),
        Err(_not_strict) => {
            decimal(text).map_or(Parsed::Wrong, |v4| Parsed::LeadingZeros(IpAddr::V4(v4)))
        }
    }
}

/// The address that a text is read as, if it is one.
pub(crate) fn readable_address(text: &str) -> Option<IpAddr> {
    match parse(text) {
        Parsed::Fine(ip) | Parsed::LeadingZeros(ip) => Some(ip),
        Parsed::Mapped(_) | Parsed::Wrong => None,
    }
}

fn decimal(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        let digits =
            !part.is_empty() && part.len() <= 8 && part.bytes().all(|b| b.is_ascii_digit());
        *octet = digits.then(|| part.parse::<u32>().ok())??.try_into().ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_decimal_and_nonsense_is_wrong() {
        let zeros = |text: &str| match parse(text) {
            Parsed::LeadingZeros(ip) => Some(ip.to_string()),
            _ => None,
        };
        assert_eq!(zeros("10.0.0.011").as_deref(), Some("10.0.0.11"));
        assert_eq!(zeros("010.00.0.1").as_deref(), Some("10.0.0.1"));
        for wrong in ["10.0.0.256", "10.0.0", "1.2.3.4.5", "", "10.0.0.0x1", "fe80::1%eth0", "a.b"]
        {
            assert!(matches!(parse(wrong), Parsed::Wrong), "{wrong}");
        }
        assert!(matches!(parse("::ffff:1.2.3.4"), Parsed::Mapped(_)));
        assert!(matches!(parse("fd00::1"), Parsed::Fine(IpAddr::V6(_))));
    }
}
