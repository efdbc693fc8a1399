//! cgroup/getpeername4 and getpeername6: programs that compare their peer see what they asked for.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use towpath_datapath::decide::getpeername;

use crate::{
    context::{Family, GO_ON, address, rewrite},
    tables::Kernel,
};

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    run(&ctx, Family::V4)
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    run(&ctx, Family::V6)
}

#[inline(always)]
fn run(ctx: &SockAddrContext, family: Family) -> i32 {
    let peer = address(ctx, family);
    if let Some(frontend) = getpeername(&Kernel { ctx, family }, &peer) {
        rewrite(ctx, family, &frontend);
    }
    GO_ON
}
