//! ipBlock: bit by bit.

use std::net::IpAddr;

use serde_json::Value;

/// The bits of an address, first to last.
fn bits(ip: IpAddr) -> Vec<bool> {
    let octets = match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1)).collect()
}

/// Is the address in `10.0.0.0/8`? `None` when that is no block.
pub(crate) fn contains(block: &str, ip: IpAddr) -> Option<bool> {
    let (base, length) = block.split_once('/')?;
    let (base, length): (IpAddr, usize) = (base.parse().ok()?, length.parse().ok()?);
    let wanted = bits(base);
    if length > wanted.len() {
        return None;
    }
    let same_family = base.is_ipv4() == ip.is_ipv4();
    Some(same_family && wanted.iter().zip(bits(ip)).take(length).all(|(a, b)| *a == b))
}

/// An address is in an ipBlock when it is in `cidr` and in none of `except`.
pub(crate) fn matches(block: &Value, ip: IpAddr) -> bool {
    let Some(Some(inside)) = block["cidr"].as_str().map(|cidr| contains(cidr, ip)) else {
        return false;
    };
    let excepted = block["except"].as_array().into_iter().flatten();
    let excepted = excepted.map(|one| contains(one.as_str().unwrap_or_default(), ip));
    inside && excepted.map(|one| one.unwrap_or(true)).all(|one| !one)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_hold_what_their_prefix_says() {
        let rows = [
            ("10.0.0.0/8", "10.255.0.1", Some(true)),
            ("10.0.0.0/8", "11.0.0.1", Some(false)),
            ("10.1.2.3/8", "10.9.9.9", Some(true)),
            ("0.0.0.0/0", "192.0.2.1", Some(true)),
            ("0.0.0.0/0", "2001:db8::1", Some(false)),
            ("::/0", "192.0.2.1", Some(false)),
            ("192.0.2.1/32", "192.0.2.1", Some(true)),
            ("2001:db8::/33", "2001:db8:8000::", Some(false)),
            ("10.0.0.0/33", "10.0.0.1", None),
            ("10.0.0.0", "10.0.0.1", None),
        ];
        for (block, ip, expected) in rows {
            assert_eq!(contains(block, ip.parse().unwrap()), expected, "{block} {ip}");
        }
    }

    #[test]
    fn what_is_excepted_is_not_matched() {
        let block = json!({ "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"] });
        let at = |ip: &str| matches(&block, ip.parse().unwrap());
        assert_eq!(
            [at("10.0.0.1"), at("10.1.0.1"), at("10.2.255.255"), at("11.0.0.1")],
            [true, false, false, false]
        );
    }
}
