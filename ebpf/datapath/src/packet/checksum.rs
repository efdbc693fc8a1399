//! Internet checksums by difference (RFC 1624): a translation costs what it changes, not the packet.

use crate::{Addr, flow::Tuple};

/// What changes of words, summed up, add to a checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delta(u64);

impl Delta {
    /// Of four bytes that are replaced.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: u32, new: u32) -> Self {
        // In one's complement the complement is the negative. 2^32 additions fit.
        Self(self.0.wrapping_add(!old as u64).wrapping_add(new as u64))
    }

    /// Of two bytes that are replaced. Both halves of the words are complements or zero.
    #[inline(always)]
    #[must_use]
    pub const fn half(self, old: u16, new: u16) -> Self {
        Self(self.0.wrapping_add(!old as u64).wrapping_add(new as u64))
    }

    /// Of an address: one word of IPv4, four of IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, old: &Addr, new: &Addr) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (old.0, new.0);
        if old.is_v4() {
            return self.word(d, h);
        }
        self.word(a, e).word(b, f).word(c, g).word(d, h)
    }

    /// Of the addresses, as the pseudo header (and IPv4's own) has them.
    #[inline(always)]
    #[must_use]
    pub const fn addresses(old: &Tuple, new: &Tuple) -> Self {
        Self(0).address(&old.source, &new.source).address(&old.destination, &new.destination)
    }

    /// Of the ports. Apart from the addresses: a checksum that the device completes
    /// (CHECKSUM_PARTIAL) covers the pseudo header only.
    #[inline(always)]
    #[must_use]
    pub const fn ports(old: &Tuple, new: &Tuple) -> Self {
        Self(0)
            .half(old.source_port, new.source_port)
            .half(old.destination_port, new.destination_port)
    }

    /// Both.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// In 32 bits, as `bpf_l3_csum_replace` and `bpf_l4_csum_replace` take it.
    #[inline(always)]
    #[must_use]
    pub const fn folded(self) -> u32 {
        let once = (self.0 & 0xffff_ffff).wrapping_add(self.0 >> 32);
        (once & 0xffff_ffff).wrapping_add(once >> 32) as u32
    }

    /// The checksum after the change; `sum` as it lies in the packet.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "folded three times, it has 16 bits")]
    pub const fn apply(self, sum: u16) -> u16 {
        let mut total = (self.folded() as u64).wrapping_add(!sum as u64);
        total = (total & 0xffff).wrapping_add(total >> 16);
        total = (total & 0xffff).wrapping_add(total >> 16);
        total = (total & 0xffff).wrapping_add(total >> 16);
        !(total as u16)
    }

    /// The same for UDP, where zero says that there is none (RFC 768): it stays so, and a sum that
    /// comes to zero is written as its other form.
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, sum: u16) -> u16 {
        if sum == 0 {
            return 0;
        }
        let sum = self.apply(sum);
        if sum == 0 { u16::MAX } else { sum }
    }
}
