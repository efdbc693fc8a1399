//! The kernel's routes.

use core::mem::zeroed;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{bpf_fib_lookup as Fib, bpf_redir_neigh},
    helpers::generated::{bpf_fib_lookup, bpf_redirect_neigh},
    programs::TcContext,
};
use towpath_datapath::Addr;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Where a packet would go.
pub enum Route {
    /// To this node itself.
    Here,
    /// By this device, to this neighbour.
    By { device: u32, next: Addr },
    /// By a way that carries so many bytes at most, of which this packet has more.
    TooBig(u32),
    /// Nowhere.
    None,
}

/// Asks as for a packet of this many bytes (never 0) that came in by the device of this run.
#[inline(always)]
pub fn route(ctx: &TcContext, from: &Addr, to: &Addr, length: u32) -> Route {
    const SUCCESS: i64 = 0;
    const NOT_FORWARDED: i64 = 4;
    const NO_NEIGHBOUR: i64 = 7;
    const TOO_BIG: i64 = 8;
    // SAFETY: plain numbers, for which zero is a value; reads of the context are checked by the
    // verifier; the helper reads and writes the structure it is given.
    unsafe {
        let mut fib: Fib = zeroed();
        fib.ifindex = (*ctx.skb.skb).ifindex;
        fib.__bindgen_anon_1.tot_len = length as u16;
        if to.is_v4() {
            fib.family = AF_INET;
            fib.__bindgen_anon_3.ipv4_src = from.v4_word();
            fib.__bindgen_anon_4.ipv4_dst = to.v4_word();
        } else {
            fib.family = AF_INET6;
            fib.__bindgen_anon_3.ipv6_src = from.0;
            fib.__bindgen_anon_4.ipv6_dst = to.0;
        }
        let size = size_of::<Fib>() as i32;
        match bpf_fib_lookup(ctx.as_ptr(), &raw mut fib, size, 0) as i64 {
            SUCCESS | NO_NEIGHBOUR => {
                // The next hop is in the place of the destination. A gateway may be of the other
                // family (RFC 5549).
                let next = if fib.family == AF_INET {
                    Addr::from_v4_word(fib.__bindgen_anon_4.ipv4_dst)
                } else {
                    Addr(fib.__bindgen_anon_4.ipv6_dst)
                };
                Route::By { device: fib.ifindex, next }
            }
            NOT_FORWARDED => Route::Here,
            TOO_BIG => Route::TooBig(u32::from(fib.__bindgen_anon_1.mtu_result)),
            _ => Route::None,
        }
    }
}

/// Sends the packet of this run; the program's verdict.
#[inline(always)]
pub fn send(device: u32, next: &Addr) -> i32 {
    // SAFETY: as above.
    unsafe {
        let mut to: bpf_redir_neigh = zeroed();
        if next.is_v4() {
            to.nh_family = u32::from(AF_INET);
            to.__bindgen_anon_1.ipv4_nh = next.v4_word();
        } else {
            to.nh_family = u32::from(AF_INET6);
            to.__bindgen_anon_1.ipv6_nh = next.0;
        }
        bpf_redirect_neigh(device, &raw mut to, size_of::<bpf_redir_neigh>() as i32, 0) as i32
    }
}
