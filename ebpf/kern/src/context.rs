//! What a hook's context says, and what a hook answers.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_netns_cookie, bpf_get_prandom_u32, bpf_get_socket_cookie,
        generated::bpf_ktime_get_coarse_ns,
    },
    programs::SockAddrContext,
};
use towpath_datapath::{
    Addr,
    decide::{Action, Call, Request, SocketAddress},
    protocol,
};

/// Go on with the call.
pub const GO_ON: i32 = 1;
#[cfg(not(feature = "eperm"))]
const ECONNREFUSED: i32 = 111;

/// Which of the two shapes of `bpf_sock_addr` a hook has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// The address at hand: destination, source of a datagram, or peer.
#[inline(always)]
pub fn address(ctx: &SockAddrContext, family: Family) -> SocketAddress {
    // SAFETY: the kernel passes a valid context; the verifier checks each field's offset and width.
    let raw = unsafe { &*ctx.sock_addr };
    let addr = match family {
        Family::V4 => Addr::from_v4_word(raw.user_ip4),
        Family::V6 => Addr([raw.user_ip6[0], raw.user_ip6[1], raw.user_ip6[2], raw.user_ip6[3]]),
    };
    SocketAddress::new(addr, raw.user_port as u16)
}

/// Replaces the address at hand. The decisions never change the family: a mapped address stays mapped.
#[inline(always)]
pub fn rewrite(ctx: &SockAddrContext, family: Family, to: &SocketAddress) {
    // SAFETY: as above; the fields are writable in these hooks.
    let raw = unsafe { &mut *ctx.sock_addr };
    match family {
        Family::V4 => raw.user_ip4 = to.addr.v4_word(),
        Family::V6 => {
            raw.user_ip6[0] = to.addr.0[0];
            raw.user_ip6[1] = to.addr.0[1];
            raw.user_ip6[2] = to.addr.0[2];
            raw.user_ip6[3] = to.addr.0[3];
        }
    }
    raw.user_port = u32::from(to.port);
}

/// The question that this call is.
#[inline(always)]
pub fn request(ctx: &SockAddrContext, family: Family, call: Call) -> Request {
    // SAFETY: as above.
    let protocol = unsafe { (*ctx.sock_addr).protocol };
    Request {
        call,
        from: bound_to(ctx, family, call),
        protocol: protocol as u8,
        to: address(ctx, family),
        // SAFETY: a helper that reads the context.
        netns: unsafe { bpf_get_netns_cookie(ctx.as_ptr()) },
        // A TCP connection needs none: one helper less.
        socket: if protocol as u8 == protocol::UDP { cookie(ctx) } else { 0 },
    }
}

/// A datagram says by itself where it comes from, if its socket or its sender does.
#[inline(always)]
fn bound_to(ctx: &SockAddrContext, family: Family, call: Call) -> Addr {
    // SAFETY: as above; the verifier knows the socket's fields, too.
    unsafe {
        let raw = ctx.sock_addr;
        let sk = (*raw).__bindgen_anon_1.sk;
        match (family, call) {
            (Family::V4, Call::Connect) => Addr::from_v4_word((*sk).src_ip4),
            (Family::V4, Call::Send) => Addr::from_v4_word((*raw).msg_src_ip4),
            (Family::V6, Call::Connect) => {
                Addr([(*sk).src_ip6[0], (*sk).src_ip6[1], (*sk).src_ip6[2], (*sk).src_ip6[3]])
            }
            (Family::V6, Call::Send) => Addr([
                (*raw).msg_src_ip6[0],
                (*raw).msg_src_ip6[1],
                (*raw).msg_src_ip6[2],
                (*raw).msg_src_ip6[3],
            ]),
        }
    }
}

#[inline(always)]
pub fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: a helper that reads the context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

#[inline(always)]
pub fn random() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_prandom_u32() }
}

/// Coarse monotonic clock, seconds.
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_ktime_get_coarse_ns() } / 1_000_000_000) as u32
}

/// Carries out an action; the hook's return value.
#[inline(always)]
pub fn act(ctx: &SockAddrContext, family: Family, action: &Action) -> i32 {
    match action {
        Action::Leave => GO_ON,
        Action::Rewrite(to) => {
            rewrite(ctx, family, to);
            GO_ON
        }
        Action::Refuse => {
            // Without this the caller sees EPERM.
            #[cfg(not(feature = "eperm"))]
            // SAFETY: a helper that takes a number.
            unsafe {
                aya_ebpf::helpers::generated::bpf_set_retval(-ECONNREFUSED);
            }
            0
        }
    }
}
