//! From bytes to [`Headers`].

use super::{EXTENSION_HEADERS, Fragment, Headers, Link, Packet, Unparsed, tcp};
use crate::{Addr, protocol};

const ETHERNET: u32 = 14;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// What the headers of a packet say.
///
/// # Errors
/// When it is not IP, or cannot be understood.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, link: Link) -> Result<Headers, Unparsed> {
    let mut headers = Headers::EMPTY;
    parse_into(packet, link, &mut headers)?;
    Ok(headers)
}

/// The same, into memory: a result that is handed on by value is half unset on some path, and the
/// compiler saves such a thing on the stack, which the verifier refuses.
///
/// # Errors
/// As [`parse`]; what was written is of no use then.
#[inline(always)]
pub fn parse_into<P: Packet>(
    packet: &P,
    link: Link,
    headers: &mut Headers,
) -> Result<(), Unparsed> {
    let l3 = match link {
        Link::Ethernet => ETHERNET,
        Link::None => 0,
    };
    let Some(first) = packet.byte(l3) else { return Err(Unparsed::Truncated) };
    let version = first >> 4;
    if matches!(link, Link::Ethernet) {
        let Some(kind) = packet.half(12) else { return Err(Unparsed::Truncated) };
        match (u16::from_be(kind), version) {
            (0x0800, 4) | (0x86dd, 6) => {}
            (0x0800 | 0x86dd, _) => return Err(Unparsed::Malformed),
            _ => return Err(Unparsed::NotIp),
        }
    }
    match version {
        4 => v4(packet, l3, first, headers),
        6 => v6(packet, l3, headers),
        _ => Err(Unparsed::NotIp),
    }
}

#[inline(always)]
fn v4<P: Packet>(packet: &P, l3: u32, first: u8, headers: &mut Headers) -> Result<(), Unparsed> {
    let at = |offset: u32| l3.wrapping_add(offset);
    let header = u32::from(first & 15).wrapping_mul(4);
    let (Some(total), Some(cut), Some(id)) =
        (packet.half(at(2)), packet.half(at(6)), packet.half(at(4)))
    else {
        return Err(Unparsed::Truncated);
    };
    let (Some(ttl), Some(protocol)) = (packet.byte(at(8)), packet.byte(at(9))) else {
        return Err(Unparsed::Truncated);
    };
    let (Some(source), Some(destination)) = (packet.word(at(12)), packet.word(at(16))) else {
        return Err(Unparsed::Truncated);
    };
    let (total, cut) = (u32::from(u16::from_be(total)), u16::from_be(cut));
    // Zero: longer than the field can say (BIG TCP); the packet's own length counts.
    let end = if total == 0 { packet.length() } else { at(total) };
    if header < 20 || end < at(header) {
        return Err(Unparsed::Malformed);
    }
    if packet.length() < end {
        return Err(Unparsed::Truncated);
    }
    let (offset, more) = (cut & 0x1fff, cut & 0x2000 != 0);
    *headers = Headers {
        l3,
        l4: at(header),
        source: Addr::from_v4_word(source),
        destination: Addr::from_v4_word(destination),
        protocol,
        ttl,
        fragment: fragment(offset, more),
        fragment_id: u32::from(u16::from_be(id)),
        ..Headers::EMPTY
    };
    inner(packet, headers, end)
}

#[inline(always)]
fn v6<P: Packet>(packet: &P, l3: u32, headers: &mut Headers) -> Result<(), Unparsed> {
    let at = |offset: u32| l3.wrapping_add(offset);
    let (Some(length), Some(next), Some(ttl)) =
        (packet.half(at(4)), packet.byte(at(6)), packet.byte(at(7)))
    else {
        return Err(Unparsed::Truncated);
    };
    *headers = Headers { l3, l4: at(40), protocol: next, ttl, ..Headers::EMPTY };
    address(packet, at(8), &mut headers.source)?;
    address(packet, at(24), &mut headers.destination)?;
    // Jumbograms (a length of zero) are nothing that a link here carries; GSO packets keep zero too.
    let length = u32::from(u16::from_be(length));
    let end = if length == 0 { packet.length() } else { at(40).wrapping_add(length) };
    if packet.length() < end {
        return Err(Unparsed::Truncated);
    }
    for _ in 0..EXTENSION_HEADERS {
        if !extension(packet, headers)? {
            return inner(packet, headers, end);
        }
    }
    match is_extension(headers.protocol) && !matches!(headers.fragment, Fragment::Later) {
        true => Err(Unparsed::TooManyHeaders),
        false => inner(packet, headers, end),
    }
}

/// Hop-by-hop, routing, fragment, authentication, destination options.
#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 44 | 51 | 60)
}

/// Goes over one extension header; false: there is none.
#[inline(always)]
pub(super) fn extension<P: Packet>(packet: &P, headers: &mut Headers) -> Result<bool, Unparsed> {
    // What follows the header of a later fragment is data, whatever it looks like.
    if !is_extension(headers.protocol) || matches!(headers.fragment, Fragment::Later) {
        return Ok(false);
    }
    let here = headers.l4;
    let (Some(next), Some(units)) = (packet.byte(here), packet.byte(here.wrapping_add(1))) else {
        return Err(Unparsed::Truncated);
    };
    let bytes = match headers.protocol {
        44 => {
            let (Some(cut), Some(id)) =
                (packet.half(here.wrapping_add(2)), packet.word(here.wrapping_add(4)))
            else {
                return Err(Unparsed::Truncated);
            };
            let cut = u16::from_be(cut);
            headers.fragment = fragment(cut >> 3, cut & 1 != 0);
            headers.fragment_id = u32::from_be(id);
            8
        }
        51 => u32::from(units).wrapping_add(2).wrapping_mul(4),
        _ => u32::from(units).wrapping_add(1).wrapping_mul(8),
    };
    headers.l4 = here.wrapping_add(bytes);
    headers.protocol = next;
    Ok(true)
}

#[inline(always)]
pub(super) fn address<P: Packet>(packet: &P, at: u32, into: &mut Addr) -> Result<(), Unparsed> {
    let word = |n: u32| packet.word(at.wrapping_add(n));
    let (Some(a), Some(b), Some(c), Some(d)) = (word(0), word(4), word(8), word(12)) else {
        return Err(Unparsed::Truncated);
    };
    *into = Addr([a, b, c, d]);
    if into.is_v4() { Err(Unparsed::Mapped) } else { Ok(()) }
}

#[inline(always)]
pub(super) const fn fragment(offset: u16, more: bool) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    }
}

/// Ports and flags. `end`: where the datagram ends; what a link has padded is not read.
#[inline(always)]
fn inner<P: Packet>(packet: &P, headers: &mut Headers, end: u32) -> Result<(), Unparsed> {
    if matches!(headers.fragment, Fragment::Later) {
        return Ok(());
    }
    let l4 = headers.l4;
    let at = |offset: u32| l4.wrapping_add(offset);
    let needs = match headers.protocol {
        protocol::TCP => 20,
        protocol::UDP | ICMP | ICMP_V6 => 8,
        protocol::SCTP => 12,
        _ => return Ok(()),
    };
    if end < at(needs) {
        return Err(Unparsed::Truncated);
    }
    if matches!(headers.protocol, ICMP | ICMP_V6) {
        let Some(kind) = packet.byte(at(0)) else { return Err(Unparsed::Truncated) };
        headers.icmp_type = kind;
        return Ok(());
    }
    let (Some(source), Some(destination)) = (packet.half(at(0)), packet.half(at(2))) else {
        return Err(Unparsed::Truncated);
    };
    if headers.protocol == protocol::TCP {
        let (Some(size), Some(flags)) = (packet.byte(at(12)), packet.byte(at(13))) else {
            return Err(Unparsed::Truncated);
        };
        let size = u32::from(size >> 4).wrapping_mul(4);
        // No connection begins and ends in one segment.
        let contradiction = flags & tcp::SYN != 0 && flags & (tcp::FIN | tcp::RST) != 0;
        if size < 20 || end < at(size) || contradiction {
            return Err(Unparsed::Malformed);
        }
        headers.payload = end > at(size);
        headers.tcp_flags = flags;
    }
    headers.source_port = source;
    headers.destination_port = destination;
    Ok(())
}
