//! Flows of packets: what is kept of each translated one.
//!
//! A flow has two entries, one for each direction. If a packet `A` becomes `B`, then the answer to
//! `B`, `B` reversed, becomes the answer to `A`, `A` reversed: so each entry says all that the other
//! one does, and can make it again.

use crate::{Addr, keys::protocol};

/// Key of an entry: a packet's addresses, ports and protocol. 40 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tuple {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Source port, network order.
    pub source_port: u16,
    /// Destination port, network order.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Always zero.
    pub zero: [u8; 3],
}

impl Tuple {
    /// Of what is sent in answer.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..*self
        }
    }

    /// Equal? (Word by word: comparing arrays as slices costs a call in the kernel.)
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, other: &Self) -> bool {
        self.source.is(&other.source)
            && self.destination.is(&other.destination)
            && self.source_port == other.source_port
            && self.destination_port == other.destination_port
            && self.protocol == other.protocol
    }

    /// 32 bits derived from it.
    #[inline(always)]
    #[must_use]
    pub const fn check(&self) -> u32 {
        let ([a, b, c, d], [e, f, g, h]) = (self.source.0, self.destination.0);
        let ports = (self.source_port as u32) << 16 | self.destination_port as u32;
        let mut hash = mix(a ^ 0x9e37_79b9, b);
        hash = mix(mix(hash, c), d);
        hash = mix(mix(hash, e), f);
        hash = mix(mix(hash, g), h);
        mix(mix(hash, ports), self.protocol as u32)
    }
}

/// One step of murmur3.
#[inline(always)]
const fn mix(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

/// Where a program sees a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It came in by the device.
    In,
    /// It leaves by the device.
    Out,
}

/// Value of an entry. 56 bytes.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowEntry {
    /// What such a packet becomes.
    pub to: Tuple,
    /// Coarse monotonic clock, seconds: when the flow, in either direction, last had a packet.
    pub used: u32,
    /// [`Tuple::check`] of the key: an element of a hash may be recycled while it is read.
    pub check: u32,
    /// Index into SERVICES when it began: for counters only.
    pub service: u32,
    /// `REPLY`, `ANSWERED`, `FIN`, `OTHER_FIN`, `RESET`, `SOURCE`.
    pub flags: u32,
}

impl FlowEntry {
    /// Flag: of the direction from the endpoint to the client.
    pub const REPLY: u32 = 1;
    /// Flag: both directions had a packet.
    pub const ANSWERED: u32 = 1 << 1;
    /// Flag: this direction had a FIN.
    pub const FIN: u32 = 1 << 2;
    /// Flag: the other direction had one.
    pub const OTHER_FIN: u32 = 1 << 3;
    /// Flag: either direction had an RST.
    pub const RESET: u32 = 1 << 4;
    /// Flag: the source is an address of the node's.
    pub const SOURCE: u32 = 1 << 5;

    /// What tells an entry from the one that takes its place: `used` and `check`, as they lie in memory.
    #[inline(always)]
    #[must_use]
    pub const fn stamp(&self) -> u64 {
        let ([a, b, c, d], [e, f, g, h]) = (self.used.to_ne_bytes(), self.check.to_ne_bytes());
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }

    /// Is the connection over, as far as can be seen?
    #[inline(always)]
    #[must_use]
    pub const fn closing(&self) -> bool {
        let both = Self::FIN | Self::OTHER_FIN;
        self.flags & Self::RESET != 0 || self.flags & both == both
    }

    /// Seconds without a packet after which it is gone (services.md 7.5).
    #[inline(always)]
    #[must_use]
    pub const fn lifetime(&self) -> u32 {
        let answered = self.flags & Self::ANSWERED != 0;
        match (self.to.protocol == protocol::TCP, answered) {
            (true, _) if self.closing() => 30,
            (true, true) => 24 * 60 * 60,
            (true, false) => 20,
            (false, true) => 120,
            (false, false) => 30,
        }
    }

    /// Where its packets are translated. What goes to an endpoint is as it comes in, so that routing
    /// sees the endpoint; an answer is when it leaves, so that routing never sees a source that is
    /// not behind the device it came in by (rp_filter). Where the source is the node's, answers come
    /// to the node, and routing must see whom they are for.
    #[inline(always)]
    #[must_use]
    pub const fn place(&self) -> Place {
        match self.flags & (Self::REPLY | Self::SOURCE) {
            Self::REPLY => Place::Out,
            _ => Place::In,
        }
    }

    /// Is it there at this time? One that is not is absent for every reader, whether it was removed
    /// or not. (Saturating: another CPU's clock may be a tick ahead of ours.)
    #[inline(always)]
    #[must_use]
    pub const fn live(&self, now: u32) -> bool {
        now.saturating_sub(self.used) < self.lifetime()
    }

    /// Key and value of the other direction's entry, for the key of this one.
    #[inline(always)]
    #[must_use]
    pub const fn other(&self, key: &Tuple) -> (Tuple, Self) {
        let other = self.to.reversed();
        let kept = self.flags & (Self::ANSWERED | Self::RESET | Self::SOURCE);
        let reply = !self.flags & Self::REPLY;
        let fin = if self.flags & Self::OTHER_FIN != 0 { Self::FIN } else { 0 };
        let other_fin = if self.flags & Self::FIN != 0 { Self::OTHER_FIN } else { 0 };
        let flags = kept | reply | fin | other_fin;
        (other, Self { to: key.reversed(), check: other.check(), flags, ..*self })
    }
}

const _: () = assert!(size_of::<Tuple>() == 40);
const _: () = assert!(size_of::<FlowEntry>() == 56);
const _: () = assert!(core::mem::offset_of!(FlowEntry, used) == 40);
const _: () = assert!(core::mem::offset_of!(FlowEntry, check) == 44);
