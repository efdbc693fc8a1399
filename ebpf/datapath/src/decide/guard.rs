//! What answers a packet that no rule translated: nothing to a VIP leaves as it is.

use super::Verdict;
use crate::{
    Addr,
    packet::{Fragment, Headers},
};

/// What is done with a packet that is not translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The stack decides.
    Pass,
    /// It goes without a word.
    Drop,
    /// ICMP port unreachable, then it goes (services.md 1.3: for TCP, too).
    Unreachable,
}

/// What follows from where a packet would have gone; `None`: it is translated.
#[inline(always)]
#[must_use]
pub const fn answer(verdict: &Verdict, headers: &Headers) -> Option<Answer> {
    Some(match verdict {
        Verdict::Untouched | Verdict::HostOnly | Verdict::OwnDns { .. } => Answer::Pass,
        Verdict::UnknownPort | Verdict::NoEndpoint { .. } if may_be_answered(headers) => {
            Answer::Unreachable
        }
        Verdict::UnknownPort
        | Verdict::NoEndpoint { .. }
        | Verdict::NoLocalEndpoint { .. }
        | Verdict::SourceRanges { .. }
        | Verdict::Damaged { .. } => Answer::Drop,
        Verdict::Translate(_) => return None,
    })
}

/// May an ICMP error answer this? Not errors, later fragments, or what was not for one host or not
/// from one (RFC 1122, 3.2.2; RFC 4443, 2.4).
#[inline(always)]
#[must_use]
pub const fn may_be_answered(headers: &Headers) -> bool {
    let error = match (headers.is_v4(), headers.protocol) {
        // Destination unreachable, source quench, redirect, time exceeded, parameter problem.
        (true, 1) => matches!(headers.icmp_type, 3 | 4 | 5 | 11 | 12),
        // Errors are below 128; a redirect is none, and is not answered either.
        (false, 58) => headers.icmp_type < 128 || headers.icmp_type == 137,
        _ => false,
    };
    let later = matches!(headers.fragment, Fragment::Later);
    !error && !later && is_one_host(&headers.source) && is_one_host(&headers.destination)
}

/// Not unspecified, multicast or broadcast; 127.0.0.0/8 and ::1 are no sources on a wire.
#[inline(always)]
const fn is_one_host(addr: &Addr) -> bool {
    if addr.is_v4() {
        let first = u32::from_be(addr.v4_word()) >> 24;
        return first != 0 && first != 127 && first < 224;
    }
    let [a, b, c, d] = addr.0;
    let last = u32::from_be(d);
    let low = a == 0 && b == 0 && c == 0 && last <= 1;
    !low && u32::from_be(a) >> 24 != 0xff
}

/// Type and code of an ICMP port unreachable.
#[inline(always)]
#[must_use]
pub const fn port_unreachable(v4: bool) -> (u8, u8) {
    if v4 { (3, 3) } else { (1, 4) }
}
