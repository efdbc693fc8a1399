//! The programs at pods' devices, on the host's side: what comes from a pod, and what goes to it.
//!
//! Glue only: what is decided, and why, is in `towpath_datapath::decide::pod_packet`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod pod_maps;
mod pod_tables;
mod skb;

use core::ptr::addr_of_mut;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::bpf_ktime_get_coarse_ns,
    macros::classifier,
    programs::TcContext,
};
use towpath_datapath::{
    decide::{Origin, PodVerdict, pod_packet},
    policy::Direction,
};

use crate::{atomic::add_one, pod_maps::POLICY_COUNTERS, pod_tables::Kernel, skb::Skb};

/// From the pod: what comes in by the device.
#[classifier]
pub fn pod_out(ctx: TcContext) -> i32 {
    run(&ctx, Direction::Egress)
}

/// To the pod: what goes out by the device.
#[classifier]
pub fn pod_in(ctx: TcContext) -> i32 {
    run(&ctx, Direction::Ingress)
}

#[inline(always)]
fn run(ctx: &TcContext, direction: Direction) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the kernel passes a valid context; the verifier checks each field's offset and width.
    let (device, came_by) = unsafe { ((*skb).ifindex, (*skb).ingress_ifindex) };
    let origin = match came_by {
        0 => Origin::Node,
        _ => Origin::Elsewhere,
    };
    let verdict = pod_packet(&Skb { skb }, &Kernel, device, direction, origin, now());
    if verdict.passes() {
        // Programs after this one, such as a CNI's own, have their say.
        return TC_ACT_UNSPEC;
    }
    count(verdict, direction);
    TC_ACT_SHOT
}

#[inline(always)]
fn count(verdict: PodVerdict, direction: Direction) {
    let Some(counters) = POLICY_COUNTERS.get_ptr_mut(0) else { return };
    // SAFETY: the element of the array.
    unsafe {
        add_one(match (verdict, direction) {
            (PodVerdict::Spoofed, _) => addr_of_mut!((*counters).spoofed),
            (PodVerdict::Unbound, _) => addr_of_mut!((*counters).unbound),
            (PodVerdict::Unreadable, _) => addr_of_mut!((*counters).unreadable),
            (PodVerdict::NotForIt, _) => addr_of_mut!((*counters).not_for_it),
            (_, Direction::Ingress) => addr_of_mut!((*counters).denied_to_pod),
            (_, Direction::Egress) => addr_of_mut!((*counters).denied_from_pod),
        });
    }
}

/// Coarse monotonic clock, seconds.
#[inline(always)]
fn now() -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_ktime_get_coarse_ns() } / 1_000_000_000) as u32
}

/// The kernel gives its GPL helpers to programs that say so.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
