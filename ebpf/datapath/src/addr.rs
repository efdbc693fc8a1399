//! The one address type: 16 bytes, IPv4 as IPv4-mapped IPv6.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::keys::mix;

/// An IPv4 or IPv6 address as four words in network byte order. IPv4 is `::ffff:a.b.c.d`.
///
/// The derived order compares machine words; it is the same in the kernel and on the host, which
/// is all that sorted extents need, but it is *not* the numeric order of addresses.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Addr(pub [u32; 4]);

/// Third word of an IPv4-mapped address: `0000:ffff` in network order.
const MAPPED: u32 = 0x0000_ffffu32.to_be();

impl Addr {
    /// `::`, also the "any address" of IPv6 node frontends.
    pub const ANY_V6: Self = Self([0; 4]);
    /// `::ffff:0.0.0.0`, also the "any address" of IPv4 node frontends.
    pub const ANY_V4: Self = Self([0, 0, MAPPED, 0]);

    /// From an IPv4 address in network order (`bpf_sock_addr.user_ip4`).
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// Is this an IPv4 (mapped) address?
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }

    /// The IPv4 word in network order; meaningless unless [`Addr::is_v4`].
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(&self) -> u32 {
        self.0[3]
    }

    /// Equal? (Word by word: comparing arrays as slices costs a call in the kernel.)
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, other: &Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        d == h && c == g && b == f && a == e
    }

    /// 32 bits derived from the address.
    #[inline(always)]
    #[must_use]
    pub const fn check(&self) -> u32 {
        let [a, b, c, d] = self.0;
        mix(mix(mix(mix(a ^ 0x9e37_79b9) ^ b) ^ c) ^ d)
    }

    /// The first `length` of its 128 bits; the others are zero.
    #[must_use]
    pub const fn prefix(&self, length: u32) -> Self {
        let [a, b, c, d] = self.0;
        Self([
            a & mask(length),
            b & mask(length.saturating_sub(32)),
            c & mask(length.saturating_sub(64)),
            d & mask(length.saturating_sub(96)),
        ])
    }

    /// "Any address" of the same family.
    #[inline(always)]
    #[must_use]
    pub const fn any_of_family(&self) -> Self {
        // By words: a choice between two constants would need a read-only section in the kernel.
        Self([0, 0, if self.is_v4() { MAPPED } else { 0 }, 0])
    }
}

/// The first bits of a word in network order.
const fn mask(length: u32) -> u32 {
    match length {
        0 => 0,
        32.. => u32::MAX,
        bits => (u32::MAX << (32 - bits)).to_be(),
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(ip: Ipv4Addr) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(ip.octets()))
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(ip: Ipv6Addr) -> Self {
        let o = ip.octets();
        Self([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        if addr.is_v4() {
            return Self::V4(Ipv4Addr::from(addr.0[3].to_ne_bytes()));
        }
        let mut o = [0u8; 16];
        for (word, bytes) in addr.0.iter().zip(o.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        Self::V6(Ipv6Addr::from(o))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_round_trip() {
        for text in ["10.96.0.1", "0.0.0.0", "255.255.255.255", "fd00::1", "::", "::1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Addr::from(ip)), ip, "{text}");
        }
    }

    #[test]
    fn the_mapped_form_of_an_ipv4_address_is_that_address() {
        let mapped: Ipv6Addr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(Addr::from(mapped), Addr::from(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(Addr::from(mapped).is_v4());
        assert!(!Addr::ANY_V6.is_v4() && Addr::ANY_V4.is_v4());
    }
}
