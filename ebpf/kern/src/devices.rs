//! One program for each side of a device: of the node's own, and of pods on the host's side.

use core::ptr::addr_of_mut;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_get_prandom_u32, generated::bpf_ktime_get_coarse_ns},
    macros::classifier,
    programs::TcContext,
};
use towpath_datapath::{
    DeviceRecord,
    decide::{
        nat,
        node::Origin,
        packets::{self, Fate, PacketTables as _, Tally},
    },
    packet::{Link, parse_into},
};

use crate::{
    flow_table::{Kernel, device},
    packet_maps::work,
    rewrite::{age, rewrite},
    route::{Route, route, send},
    skb::Skb,
    unreachable,
};

/// TCX_NEXT, TC_ACT_UNSPEC: whatever else is attached, then the stack.
const NEXT: i32 = -1;
/// TCX_DROP, TC_ACT_SHOT.
const DROP: i32 = 2;

/// What a step comes to.
const PASS: u32 = 0;
const GONE: u32 = 1;
const STACK: u32 = 2;
const SEND: u32 = 3;
const GO_ON: u32 = 4;
const ANSWER: u32 = 5;

/// From the network, or from a pod.
#[classifier]
pub fn node_in(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let mut step = packet_read(skb);
    if step == GO_ON {
        step = packet_known(skb);
    }
    if step == GO_ON {
        step = packet_choose(skb);
    }
    if step == GO_ON {
        step = packet_claim(skb);
    }
    if step == GO_ON {
        step = packet_begin(skb);
    }
    if step == ANSWER {
        return refuse(skb);
    }
    packet_act(skb, step)
}

/// To the network, or to a pod.
#[classifier]
pub fn node_out(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let mut step = packet_read(skb);
    if step == GO_ON {
        step = packet_answer(skb);
    }
    packet_act(skb, step)
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_prandom_u32() }
}

/// Coarse monotonic clock, seconds.
#[inline(always)]
fn now() -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_ktime_get_coarse_ns() } / 1_000_000_000) as u32
}

/// What is behind the device of this run.
#[inline(always)]
fn origin(ctx: &TcContext) -> Origin {
    // SAFETY: a field of the context.
    let here = device(unsafe { (*ctx.skb.skb).ifindex });
    if here.flags & DeviceRecord::POD != 0 { Origin::Pod } else { Origin::Outside }
}

/// The verifier asks for every argument, the compiler leaves out those that a function does without.
#[inline(always)]
fn used(skb: *mut __sk_buff) {
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", in(reg) skb, options(nomem, nostack, preserves_flags)) };
}

#[inline(always)]
fn come_to(fate: Fate) -> u32 {
    match fate {
        Fate::Pass => PASS,
        Fate::Drop => GONE,
        Fate::Unreachable => ANSWER,
        Fate::Becomes { to, redirect } => {
            let Some(work) = work() else { return GONE };
            // SAFETY: this CPU's element of the map.
            unsafe { addr_of_mut!((*work).to).write(to) };
            if redirect { SEND } else { STACK }
        }
    }
}

/// What the headers say. (The steps are functions of their own, each with its own part of the stack.)
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_read(skb: *mut __sk_buff) -> u32 {
    let Some(work) = work() else { return PASS };
    // SAFETY: this CPU's element of the map; all zero is a value, too.
    let headers = unsafe { &mut (*work).headers };
    match parse_into(&Skb { skb }, Link::Ethernet, headers) {
        Ok(()) => GO_ON,
        Err(_) => PASS,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_known(skb: *mut __sk_buff) -> u32 {
    used(skb);
    let (ctx, Some(work)) = (TcContext::new(skb), work()) else { return PASS };
    // SAFETY: as above; `read` has written it.
    let headers = unsafe { &(*work).headers };
    packets::known(&Kernel(&ctx), headers, origin(&ctx), now()).map_or(GO_ON, come_to)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_choose(skb: *mut __sk_buff) -> u32 {
    let (ctx, Some(work)) = (TcContext::new(skb), work()) else { return PASS };
    // SAFETY: as above.
    let headers = unsafe { &(*work).headers };
    match packets::choose(&Kernel(&ctx), headers, origin(&ctx), random(), now()) {
        Ok(start) => {
            // SAFETY: as above.
            unsafe { addr_of_mut!((*work).start).write(start) };
            GO_ON
        }
        Err(fate) => come_to(fate),
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_claim(skb: *mut __sk_buff) -> u32 {
    used(skb);
    let (ctx, Some(work)) = (TcContext::new(skb), work()) else { return PASS };
    // SAFETY: as above; `choose` has written it.
    let start = unsafe { &(*work).start };
    let port = nat::claim(&Kernel(&ctx), start, random(), now());
    // SAFETY: as above.
    unsafe { addr_of_mut!((*work).port).write(u64::from(port.unwrap_or(0))) };
    GO_ON
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_begin(skb: *mut __sk_buff) -> u32 {
    used(skb);
    let (ctx, Some(work)) = (TcContext::new(skb), work()) else { return PASS };
    // SAFETY: as above; `claim` has written it.
    let (start, port) = unsafe { (&(*work).start, (*work).port as u16) };
    let port = if port == 0 { None } else { Some(port) };
    come_to(packets::begin(&Kernel(&ctx), start, port, now()))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_answer(skb: *mut __sk_buff) -> u32 {
    used(skb);
    let (ctx, Some(work)) = (TcContext::new(skb), work()) else { return PASS };
    // SAFETY: as above.
    let headers = unsafe { &(*work).headers };
    come_to(packets::leaving(&Kernel(&ctx), headers, now()))
}

#[inline(always)]
fn refuse(skb: *mut __sk_buff) -> i32 {
    let verdict = unreachable::answer(skb, now());
    if verdict < 0 {
        return DROP;
    }
    Kernel(&TcContext::new(skb)).tally(Tally::Answered);
    verdict
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_act(skb: *mut __sk_buff, step: u32) -> i32 {
    let (ctx, Some(work)) = (TcContext::new(skb), work()) else { return NEXT };
    // SAFETY: as above; a step that comes to STACK or SEND has written `to`.
    let (headers, to) = unsafe { (&(*work).headers, &(*work).to) };
    let become_of = || if rewrite(&ctx, headers, to) { NEXT } else { DROP };
    match step {
        STACK => become_of(),
        GONE => DROP,
        // The stack would refuse a source that is the node's own.
        SEND => match route(&ctx, &to.source, &to.destination) {
            // The stack says that its time is up.
            Route::By { .. } if headers.ttl <= 1 => NEXT,
            Route::By { device, next } => {
                let ready = age(&ctx, headers) && rewrite(&ctx, headers, to);
                if ready { send(device, &next) } else { DROP }
            }
            // An answer to the node's own connection.
            Route::Here => become_of(),
            Route::None => {
                Kernel(&ctx).tally(Tally::NoWay);
                DROP
            }
        },
        _ => NEXT,
    }
}
