//! cgroup/connect4 and connect6. A v4-mapped destination arrives in connect6.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use towpath_datapath::decide::{Call, connect, settle_connect};

use crate::{
    context::{Family, act, now, random, request},
    tables::Kernel,
};

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    run(&ctx, Family::V4)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    run(&ctx, Family::V6)
}

#[inline(always)]
fn run(ctx: &SockAddrContext, family: Family) -> i32 {
    let kernel = Kernel { ctx, family };
    let request = request(ctx, family, Call::Connect);
    let now = now();
    let verdict = connect(&kernel, &request, random(), now);
    let action = settle_connect(&kernel, &request, &verdict, now);
    act(ctx, family, &action)
}
