//! ICMP errors: which packet each is about, as far as it quotes it.

use super::{
    EXTENSION_HEADERS, Fragment, Headers, Packet, Unparsed,
    parse::{address, extension, fragment},
};
use crate::{Addr, flow::Tuple, protocol};

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// What an ICMP message says about another packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Says {
    /// Nothing: it is an echo, say.
    Nothing,
    /// That something became of it: unreachable, too big, its time was up, a wrong header.
    Error,
    /// That there is a shorter way (IPv4; IPv6's redirects are neighbour discovery).
    Redirect,
}

/// What the message of these headers says.
#[inline(always)]
#[must_use]
pub const fn says(headers: &Headers) -> Says {
    if !matches!(headers.fragment, Fragment::Whole) {
        return Says::Nothing;
    }
    match (headers.protocol, headers.icmp_type) {
        (ICMP, 3 | 4 | 11 | 12) | (ICMP_V6, 1..=4) => Says::Error,
        (ICMP, 5) => Says::Redirect,
        _ => Says::Nothing,
    }
}

/// The packet that an error quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// Where its IP header is.
    pub l3: u32,
    /// Where its ports are.
    pub l4: u32,
    /// Where it went, and how.
    pub tuple: Tuple,
}

impl Quoted {
    /// Of nothing.
    pub const EMPTY: Self = Self { l3: 0, l4: 0, tuple: Headers::EMPTY.tuple() };
}

/// The packet that the message of these headers quotes: with ports, so of TCP or UDP and its beginning.
/// Routers quote 8 bytes of what was in it at least (RFC 792); its lengths say nothing here.
///
/// # Errors
/// When it quotes something else, or not enough.
#[inline(always)]
pub fn quoted_into<P: Packet>(
    packet: &P,
    headers: &Headers,
    quoted: &mut Quoted,
) -> Result<(), Unparsed> {
    let l3 = headers.l4.wrapping_add(8);
    let at = |offset: u32| l3.wrapping_add(offset);
    let Some(first) = packet.byte(l3) else { return Err(Unparsed::Truncated) };
    let mut inner = Headers { l3, ..Headers::EMPTY };
    if headers.protocol == ICMP {
        let (Some(cut), Some(number)) = (packet.half(at(6)), packet.byte(at(9))) else {
            return Err(Unparsed::Truncated);
        };
        let (Some(source), Some(destination)) = (packet.word(at(12)), packet.word(at(16))) else {
            return Err(Unparsed::Truncated);
        };
        let length = u32::from(first & 15).wrapping_mul(4);
        if first >> 4 != 4 || length < 20 {
            return Err(Unparsed::Malformed);
        }
        inner.source = Addr::from_v4_word(source);
        inner.destination = Addr::from_v4_word(destination);
        let cut = u16::from_be(cut);
        inner.fragment = fragment(cut & 0x1fff, cut & 0x2000 != 0);
        (inner.protocol, inner.l4) = (number, at(length));
    } else {
        let Some(next) = packet.byte(at(6)) else { return Err(Unparsed::Truncated) };
        if first >> 4 != 6 {
            return Err(Unparsed::Malformed);
        }
        address(packet, at(8), &mut inner.source)?;
        address(packet, at(24), &mut inner.destination)?;
        (inner.protocol, inner.l4) = (next, at(40));
        for _ in 0..EXTENSION_HEADERS {
            if !extension(packet, &mut inner)? {
                break;
            }
        }
    }
    let ours = matches!(inner.protocol, protocol::TCP | protocol::UDP);
    if !ours || matches!(inner.fragment, Fragment::Later) {
        return Err(Unparsed::Malformed);
    }
    let l4 = inner.l4;
    let (Some(source), Some(destination)) = (packet.half(l4), packet.half(l4.wrapping_add(2)))
    else {
        return Err(Unparsed::Truncated);
    };
    (inner.source_port, inner.destination_port) = (source, destination);
    *quoted = Quoted { l3, l4, tuple: inner.tuple() };
    Ok(())
}
