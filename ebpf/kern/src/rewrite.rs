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
    packet::{Headers, checksum::Delta},
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
