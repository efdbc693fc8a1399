//! Packets: what their headers say, without a copy of them, and what a translation does to checksums.
//!
//! Headers come from outside: nothing here trusts a length, and nothing can panic. A packet that is
//! not understood is an [`Unparsed`] with its reason; the caller leaves such a packet alone.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

pub mod checksum;
mod parse;
pub mod quoted;

pub use parse::{parse, parse_into};

use crate::{Addr, flow::Tuple};

/// A packet's bytes. The kernel wraps packet pointers; [`Bytes`] a slice.
pub trait Packet {
    /// One byte; `None` beyond the end.
    fn byte(&self, at: u32) -> Option<u8>;
    /// Two bytes as they lie in the packet (network order).
    fn half(&self, at: u32) -> Option<u16>;
    /// Four bytes as they lie in the packet (network order).
    fn word(&self, at: u32) -> Option<u32>;
    /// Bytes of the whole packet, from the first one that can be read.
    fn length(&self) -> u32;
}

/// A packet that lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Packet for Bytes<'_> {
    fn byte(&self, at: u32) -> Option<u8> {
        self.0.get(usize::try_from(at).ok()?).copied()
    }
    fn half(&self, at: u32) -> Option<u16> {
        let from = self.0.get(usize::try_from(at).ok()?..)?;
        from.first_chunk().copied().map(u16::from_ne_bytes)
    }
    fn word(&self, at: u32) -> Option<u32> {
        let from = self.0.get(usize::try_from(at).ok()?..)?;
        from.first_chunk().copied().map(u32::from_ne_bytes)
    }
    fn length(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

/// What a device's packets begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// The IP header: tunnels, tun, WireGuard.
    None,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The beginning: it has ports.
    First,
    /// A later one: it has none.
    Later,
}

/// TCP's flags.
pub mod tcp {
    /// No more from this side.
    pub const FIN: u8 = 1;
    /// Begins a connection.
    pub const SYN: u8 = 1 << 1;
    /// Ends it at once.
    pub const RST: u8 = 1 << 2;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 1 << 4;
}

/// What the headers of a packet say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers {
    /// Where the IP header is.
    pub l3: u32,
    /// Where what is in it begins.
    pub l4: u32,
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Protocol in it: the last of the extension headers' chain.
    pub protocol: u8,
    /// Source port, network order; 0 where there is none.
    pub source_port: u16,
    /// Destination port, network order; 0 where there is none.
    pub destination_port: u16,
    /// Flags of TCP, 0 of others.
    pub tcp_flags: u8,
    /// ICMP's type, 0 of others.
    pub icmp_type: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Which part of a datagram.
    pub fragment: Fragment,
    /// Which datagram, of a fragment: IPv4's is 16 bits.
    pub fragment_id: u32,
    /// Does TCP carry data?
    pub payload: bool,
}

impl Headers {
    /// Of nothing.
    pub const EMPTY: Self = Self {
        l3: 0,
        l4: 0,
        source: Addr([0; 4]),
        destination: Addr([0; 4]),
        protocol: 0,
        source_port: 0,
        destination_port: 0,
        tcp_flags: 0,
        icmp_type: 0,
        ttl: 0,
        fragment: Fragment::Whole,
        fragment_id: 0,
        payload: false,
    };

    /// Is it IPv4?
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.destination.is_v4()
    }

    /// What flows are told apart by.
    #[inline(always)]
    #[must_use]
    pub const fn tuple(&self) -> Tuple {
        Tuple {
            source: self.source,
            destination: self.destination,
            source_port: self.source_port,
            destination_port: self.destination_port,
            protocol: self.protocol,
            zero: [0; 3],
        }
    }
}

/// Why a packet was not understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unparsed {
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// It ends before its headers do.
    Truncated,
    /// A field contradicts another.
    Malformed,
    /// IPv6 with an IPv4-mapped address: never on the wire (RFC 4942, 2.2). It would be taken for
    /// the IPv4 address.
    Mapped,
    /// More than [`EXTENSION_HEADERS`].
    TooManyHeaders,
}

/// IPv6 extension headers that are looked through.
pub const EXTENSION_HEADERS: u32 = 8;
