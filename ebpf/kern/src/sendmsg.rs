//! cgroup/sendmsg4 and sendmsg6. A datagram to a v4-mapped destination leaves through sendmsg4.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use towpath_datapath::decide::{Call, sendmsg};

use crate::{
    context::{Family, act, now, random, request},
    tables::Kernel,
};

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    run(&ctx, Family::V4)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    run(&ctx, Family::V6)
}

#[inline(always)]
fn run(ctx: &SockAddrContext, family: Family) -> i32 {
    let request = request(ctx, family, Call::Send);
    let action = sendmsg(&Kernel { ctx, family }, &request, random(), now());
    act(ctx, family, &action)
}
