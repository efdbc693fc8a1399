//! cgroup/recvmsg4 and recvmsg6. An IPv6 socket sees IPv4 senders, mapped, in recvmsg6.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use towpath_datapath::decide::recvmsg;

use crate::{
    context::{Family, GO_ON, address, cookie, rewrite},
    tables::Kernel,
};

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    run(&ctx, Family::V4)
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    run(&ctx, Family::V6)
}

#[inline(always)]
fn run(ctx: &SockAddrContext, family: Family) -> i32 {
    let from = address(ctx, family);
    if let Some(frontend) = recvmsg(&Kernel { ctx, family }, cookie(ctx), &from) {
        rewrite(ctx, family, &frontend);
    }
    GO_ON
}
