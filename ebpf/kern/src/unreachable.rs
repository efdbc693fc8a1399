//! ICMP errors, made of the packet that each answers.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC},
    helpers::generated::{
        bpf_csum_diff, bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_tail, bpf_skb_load_bytes,
        bpf_skb_store_bytes,
    },
};
use towpath_datapath::{packet::Headers, protocol};

use crate::packet_maps::{Work, work};

const ETHERNET: u32 = 14;
/// Answers that one CPU gives in a second: a port scan must not become a flood of answers.
const A_SECOND: u32 = 100;

/// Turns the packet of this run into the answer and sends it back the way it came; the program's
/// verdict. `None`: it cannot be answered, or enough was for this second.
///
/// As much is quoted as every receiver needs to know whose socket it is about: the header, and 8 bytes
/// (RFC 792), or TCP's header: the place of a checksum that is still to be filled in cannot be cut off.
#[inline(never)]
pub fn answer(skb: *mut __sk_buff, now: u32) -> i32 {
    const NONE: i32 = -1;
    let Some(work) = work() else { return NONE };
    // SAFETY: this CPU's element of the map, written by the steps before.
    let headers = unsafe { &(*work).headers };
    if !may(work, now) {
        return NONE;
    }
    let tcp = headers.protocol == protocol::TCP;
    let answered = match (headers.is_v4(), headers.l4.wrapping_sub(headers.l3), tcp) {
        (true, 20, false) => turn::<20, 28>(skb, work, headers),
        (true, 20, true) => turn::<20, 40>(skb, work, headers),
        (false, 40, false) => turn::<40, 48>(skb, work, headers),
        (false, 40, true) => turn::<40, 60>(skb, work, headers),
        // With options, or extension headers.
        _ => false,
    };
    if !answered {
        return NONE;
    }
    // SAFETY: a field of the context, and a helper that takes numbers.
    unsafe { bpf_redirect((*skb).ifindex, 0) as i32 }
}

/// Counts the answers of this CPU in this second.
#[inline(always)]
fn may(work: *mut Work, now: u32) -> bool {
    // SAFETY: this CPU's element of the map.
    unsafe {
        if (*work).second != now {
            (*work).second = now;
            (*work).answers = 0;
        }
        (*work).answers = (*work).answers.wrapping_add(1);
        (*work).answers <= A_SECOND
    }
}

/// `HEADER`: bytes of an IP header of the family; `QUOTED`: bytes of the packet that go back.
#[inline(always)]
fn turn<const HEADER: u32, const QUOTED: u32>(
    skb: *mut __sk_buff,
    work: *mut Work,
    headers: &Headers,
) -> bool {
    // SAFETY: helpers that check what they are given against the packet and the map's element, whose
    // parts have the sizes that are said.
    unsafe {
        let quoted = addr_of_mut!((*work).quoted);
        if bpf_skb_load_bytes(skb.cast(), ETHERNET, quoted.cast(), QUOTED) != 0
            || bpf_skb_change_tail(skb, ETHERNET + QUOTED, 0) != 0
        {
            return false;
        }
        let sum = add(quoted.cast(), QUOTED, 0);
        let front = addr_of_mut!((*work).front);
        if HEADER == 20 {
            write_v4(front, work, headers, QUOTED, sum)
        } else {
            write_v6(front, work, headers, QUOTED, sum)
        }
        let grown = (HEADER + 8) as i32;
        if bpf_skb_adjust_room(skb, grown, BPF_ADJ_ROOM_MAC as u32, 0) != 0
            || bpf_skb_store_bytes(skb.cast(), ETHERNET, front.cast(), HEADER + 8, 0) != 0
        {
            return false;
        }
        // Back to whom it came from.
        let mut ends = [0u16; 6];
        if bpf_skb_load_bytes(skb.cast(), 0, addr_of_mut!(ends).cast(), 12) != 0 {
            return false;
        }
        let [a, b, c, d, e, f] = ends;
        ends = [d, e, f, a, b, c];
        bpf_skb_store_bytes(skb.cast(), 0, addr_of!(ends).cast(), 12, 0) == 0
    }
}

/// Adds to a sum of the Internet's sort.
///
/// SAFETY: `length` bytes from `from` on are memory of a map's element.
#[inline(always)]
unsafe fn add(from: *mut u32, length: u32, sum: u32) -> u32 {
    // SAFETY: as above.
    unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, from, length, sum) as u32 }
}

#[inline(always)]
fn inverted(sum: u32) -> u16 {
    let once = (sum & 0xffff).wrapping_add(sum >> 16);
    !((once & 0xffff).wrapping_add(once >> 16) as u16)
}

/// Two bytes of a header as a word's first half.
#[inline(always)]
const fn word(a: u8, b: u8, half: u16) -> u32 {
    let [c, d] = half.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// An IPv4 header (64 hops, not to be fragmented) and ICMP's.
#[inline(always)]
unsafe fn write_v4(front: *mut [u32; 12], work: *const Work, headers: &Headers, quoted: u32, sum: u32) {
    // SAFETY: this CPU's element of the map, whose words are filled in.
    let (kind, code, rest) = unsafe { ((*work).kind, (*work).code, (*work).rest) };
    let length = (20 + 8 + quoted as u16).to_be();
    let (from, to) = (headers.destination.v4_word(), headers.source.v4_word());
    // SAFETY: the parts of this CPU's element.
    unsafe {
        *front = [
            word(0x45, 0, length),
            u32::from_ne_bytes([0, 0, 0x40, 0]),
            word(64, 1, 0),
            from,
            to,
            word(kind, code, 0),
            rest,
            0,
            0,
            0,
            0,
            0,
        ];
        let header = inverted(add(front.cast(), 20, 0));
        (*front)[2] = word(64, 1, header);
        let message = inverted(add(front.cast::<u32>().add(5), 8, sum));
        (*front)[5] = word(kind, code, message);
    }
}

/// An IPv6 header (64 hops) and ICMPv6's, whose sum covers a pseudo header, too.
#[inline(always)]
unsafe fn write_v6(front: *mut [u32; 12], work: *const Work, headers: &Headers, quoted: u32, sum: u32) {
    // SAFETY: this CPU's element of the map, whose words are filled in.
    let (kind, code, rest) = unsafe { ((*work).kind, (*work).code, (*work).rest) };
    let length = (8 + quoted as u16).to_be();
    let ([a, b, c, d], [e, f, g, h]) = (headers.destination.0, headers.source.0);
    // SAFETY: as above.
    unsafe {
        // The pseudo header's last words first, where the header's own first ones go then.
        *front = [
            word(0, 0, length),
            u32::from_ne_bytes([0, 0, 0, 58]),
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            word(kind, code, 0),
            rest,
        ];
        let message = inverted(add(front.cast(), 48, sum));
        (*front)[0] = u32::from_ne_bytes([0x60, 0, 0, 0]);
        let [x, y] = length.to_ne_bytes();
        (*front)[1] = u32::from_ne_bytes([x, y, 58, 64]);
        (*front)[10] = word(kind, code, message);
    }
}
