//! Puts another packet's addresses and ports into this one.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM},
    helpers::generated::{bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_store_bytes},
    programs::TcContext,
};
use towpath_datapath::{
    Addr,
    flow::Tuple,
    packet::{Headers, checksum::Delta, quoted::Quoted},
    protocol,
};

/// Stores bytes. IPv6 headers have no checksum that would make up for the change: a checksum of the
/// whole packet (CHECKSUM_COMPLETE) is told of it. In IPv4 the two cancel each other out.
#[inline(always)]
fn store<T>(ctx: &TcContext, at: u32, value: &T, flags: u64) -> bool {
    // SAFETY: the helper reads `value`, which is so long; it checks the place.
    unsafe {
        let value = core::ptr::from_ref(value).cast();
        bpf_skb_store_bytes(ctx.as_ptr().cast(), at, value, size_of::<T>() as u32, flags) == 0
    }
}

/// False: the packet cannot be written, and is left half changed.
#[inline(always)]
pub fn rewrite(ctx: &TcContext, headers: &Headers, to: &Tuple) -> bool {
    let from = headers.tuple();
    let (l3, l4) = (headers.l3, headers.l4 & 0x1ff);
    let udp = headers.protocol == protocol::UDP;
    let sum = l4.wrapping_add(if udp { 6 } else { 16 });
    let mangled = if udp { u64::from(BPF_F_MARK_MANGLED_0) } else { 0 };
    let addresses = u64::from(Delta::addresses(&from, to).folded());
    let ports = u64::from(Delta::ports(&from, to).folded());
    let skb = ctx.as_ptr().cast();
    // SAFETY: helpers that take the context and numbers. Addresses and ports apart: a checksum that
    // the device completes (CHECKSUM_PARTIAL) covers the pseudo header only.
    unsafe {
        if bpf_l4_csum_replace(skb, sum, 0, addresses, u64::from(BPF_F_PSEUDO_HDR) | mangled) != 0
            || bpf_l4_csum_replace(skb, sum, 0, ports, mangled) != 0
        {
            return false;
        }
        if headers.is_v4() && bpf_l3_csum_replace(skb, l3.wrapping_add(10), 0, addresses, 0) != 0 {
            return false;
        }
    }
    let stored = if headers.is_v4() {
        let pair = [to.source.v4_word(), to.destination.v4_word()];
        store(ctx, l3.wrapping_add(12), &pair, 0)
    } else {
        let pair: [Addr; 2] = [to.source, to.destination];
        store(ctx, l3.wrapping_add(8), &pair, u64::from(BPF_F_RECOMPUTE_CSUM))
    };
    let ports = [to.source_port, to.destination_port];
    stored && store(ctx, l4, &ports, 0)
}

/// Puts other addresses into an ICMP error, and other addresses and ports into the packet that it quotes.
/// Of what is quoted the IP header is whole, so its checksum is kept right; the inner ones are of a packet that
/// is cut, and receivers look at neither. False: as [`rewrite`].
#[inline(always)]
pub fn rewrite_error(
    ctx: &TcContext,
    headers: &Headers,
    to: &Tuple,
    quoted: &Quoted,
    becomes: &Tuple,
) -> bool {
    let (outer, inner) = (headers.tuple(), &quoted.tuple);
    let addresses = u64::from(Delta::addresses(&outer, to).folded());
    let within = Delta::addresses(inner, becomes);
    let ports = Delta::ports(inner, becomes);
    let (skb, sum) = (ctx.as_ptr().cast(), headers.l4.wrapping_add(2));
    let pair = [becomes.source_port, becomes.destination_port];
    if !store(ctx, quoted.l4, &pair, 0) {
        return false;
    }
    if headers.is_v4() {
        let within = u64::from(within.folded());
        // SAFETY: helpers that take the context and numbers. What changes in the quoted IP header cancels out
        // within it: to the message's checksum only ports matter.
        let summed = unsafe {
            bpf_l3_csum_replace(skb, quoted.l3.wrapping_add(10), 0, within, 0) == 0
                && bpf_l4_csum_replace(skb, sum, 0, u64::from(ports.folded()), 0) == 0
                && bpf_l3_csum_replace(skb, headers.l3.wrapping_add(10), 0, addresses, 0) == 0
        };
        let pair = [becomes.source.v4_word(), becomes.destination.v4_word()];
        let own = [to.source.v4_word(), to.destination.v4_word()];
        return summed
            && store(ctx, quoted.l3.wrapping_add(12), &pair, 0)
            && store(ctx, headers.l3.wrapping_add(12), &own, 0);
    }
    let quoted_words = u64::from(within.and(ports).folded());
    // SAFETY: as above.
    let summed = unsafe {
        bpf_l4_csum_replace(skb, sum, 0, addresses, u64::from(BPF_F_PSEUDO_HDR)) == 0
            && bpf_l4_csum_replace(skb, sum, 0, quoted_words, 0) == 0
    };
    let pair: [Addr; 2] = [becomes.source, becomes.destination];
    let own: [Addr; 2] = [to.source, to.destination];
    summed
        && store(ctx, quoted.l3.wrapping_add(8), &pair, 0)
        && store(ctx, headers.l3.wrapping_add(8), &own, u64::from(BPF_F_RECOMPUTE_CSUM))
}

/// Takes one from the TTL or the hop limit, as routing would.
#[inline(always)]
pub fn age(ctx: &TcContext, headers: &Headers) -> bool {
    let aged = headers.ttl.wrapping_sub(1);
    if !headers.is_v4() {
        let at = headers.l3.wrapping_add(7);
        return store(ctx, at, &aged, u64::from(BPF_F_RECOMPUTE_CSUM));
    }
    // TTL and protocol are one word of the header.
    let word = |ttl: u8| u64::from(u16::from_ne_bytes([ttl, headers.protocol]));
    let sum = headers.l3.wrapping_add(10);
    // SAFETY: as above.
    let summed = unsafe {
        bpf_l3_csum_replace(ctx.as_ptr().cast(), sum, word(headers.ttl), word(aged), 2) == 0
    };
    summed && store(ctx, headers.l3.wrapping_add(8), &aged, 0)
}
