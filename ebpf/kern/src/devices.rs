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
        errors::{Told, told},
        guard::{may_be_answered, port_unreachable},
        nat,
        node::Origin,
        packets::{self, Fate, PacketTables as _, Tally},
    },
    flow::Place,
    packet::{
        Headers, Link, Packet as _, parse_into,
        quoted::{Says, quoted_into, says},
    },
    protocol,
};

use crate::{
    flow_table::{Flow, Kernel, device},
    packet_maps::{Work, work},
    rewrite::{age, rewrite, rewrite_error},
    route::{Route, route, send},
    skb::Skb,
    unreachable,
};

/// TCX_NEXT, TC_ACT_UNSPEC: whatever else is attached, then the stack.
const NEXT: i32 = -1;
/// Places, as numbers.
const IN: u32 = 0;
const OUT: u32 = 1;
/// TCX_DROP, TC_ACT_SHOT.
const DROP: i32 = 2;

/// No verdict: the sender is told of it.
const TELL: i32 = -2;

/// What a step comes to.
const PASS: u32 = 0;
const GONE: u32 = 1;
const STACK: u32 = 2;
const SEND: u32 = 3;
const GO_ON: u32 = 4;
const ANSWER: u32 = 5;
const ERROR_STACK: u32 = 6;
const ERROR_SEND: u32 = 7;

/// From the network, or from a pod.
#[classifier]
pub fn node_in(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let mut step = packet_read(skb);
    if step == GO_ON {
        step = packet_error(skb, IN);
    }
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
    if step == ERROR_STACK || step == ERROR_SEND {
        return packet_tell(skb, step);
    }
    let verdict = packet_act(skb, step);
    if verdict == TELL {
        return answer_too_big(skb);
    }
    verdict
}

/// To the network, or to a pod.
#[classifier]
pub fn node_out(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    let mut step = packet_read(skb);
    if step == GO_ON {
        step = packet_error(skb, OUT);
    }
    if step == GO_ON {
        step = packet_answer(skb);
    }
    if step == ERROR_STACK {
        return packet_tell(skb, step);
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
    match here.flags & (DeviceRecord::POD | DeviceRecord::JUDGED) {
        0 => Origin::Outside,
        DeviceRecord::POD => Origin::Pod,
        _ => Origin::JudgedPod,
    }
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

/// An ICMP error: what it is about, and what becomes of it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_error(skb: *mut __sk_buff, place: u32) -> u32 {
    let (ctx, Some(work)) = (TcContext::new(skb), work()) else { return PASS };
    // SAFETY: this CPU's element of the map; `read` has written the headers.
    let (headers, quoted) = unsafe { (&(*work).headers, &mut (*work).quoted_packet) };
    let says = says(headers);
    // What quotes no packet with ports is judged as any message.
    if matches!(says, Says::Nothing) || quoted_into(&Skb { skb }, headers, quoted).is_err() {
        return GO_ON;
    }
    let place = if place == IN { Place::In } else { Place::Out };
    match told(&Flow, headers, says, quoted, (place, origin(&ctx)), now()) {
        Told::Unknown => GO_ON,
        Told::Elsewhere => PASS,
        Told::Drop => GONE,
        Told::Becomes { outer, quoted, redirect } => {
            // SAFETY: as above.
            unsafe {
                addr_of_mut!((*work).to).write(outer);
                addr_of_mut!((*work).quoted_to).write(quoted);
            }
            if redirect { ERROR_SEND } else { ERROR_STACK }
        }
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

/// Bytes of the packet, as it goes over a wire; of one that is still to be cut, of a part.
#[inline(always)]
fn length(skb: *mut __sk_buff, headers: &Headers) -> u32 {
    // SAFETY: fields of the context.
    let (all, part) = unsafe { ((*skb).len, (*skb).gso_size) };
    let before = headers.l4.wrapping_sub(headers.l3);
    let length = match (part, headers.protocol) {
        (0, _) => all.wrapping_sub(headers.l3),
        (part, protocol::TCP) => {
            let size = Skb { skb }.byte(headers.l4.wrapping_add(12)).unwrap_or(0);
            before.wrapping_add(u32::from(size >> 4).wrapping_mul(4)).wrapping_add(part)
        }
        (part, _) => before.wrapping_add(8).wrapping_add(part),
    };
    length.clamp(1, 0xffff)
}

/// Says what is to be told about a packet that is longer than its way may carry; false: nothing, it may be
/// fragmented, and nothing here does that.
#[inline(always)]
fn too_big(skb: *mut __sk_buff, work: *mut Work, most: u32) -> bool {
    // SAFETY: this CPU's element of the map.
    let headers = unsafe { &(*work).headers };
    let whole = Skb { skb }.half(headers.l3.wrapping_add(6)).unwrap_or(0) & 0x4000u16.to_be() != 0;
    if headers.is_v4() && !whole || !may_be_answered(headers) {
        return false;
    }
    let (kind, code) = if headers.is_v4() { (3, 4) } else { (2, 0) };
    // SAFETY: as above. In IPv4 the length is the word's second half, whose first one is zero.
    unsafe {
        ((*work).kind, (*work).code, (*work).rest) = (kind, code, most.to_be());
    }
    true
}

/// The sender of a packet that was too long is told so.
#[inline(always)]
fn answer_too_big(skb: *mut __sk_buff) -> i32 {
    let verdict = unreachable::answer(skb, now());
    if verdict < 0 { DROP } else { verdict }
}

#[inline(always)]
fn refuse(skb: *mut __sk_buff) -> i32 {
    if let Some(work) = work() {
        // SAFETY: this CPU's element of the map; `read` has written the headers.
        unsafe {
            let (kind, code) = port_unreachable((*work).headers.is_v4());
            ((*work).kind, (*work).code, (*work).rest) = (kind, code, 0);
        }
    }
    let verdict = unreachable::answer(skb, now());
    if verdict < 0 {
        return DROP;
    }
    Kernel(&TcContext::new(skb)).tally(Tally::Answered);
    verdict
}

/// Carries out what becomes of an ICMP error.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn packet_tell(skb: *mut __sk_buff, step: u32) -> i32 {
    let (ctx, Some(work)) = (TcContext::new(skb), work()) else { return NEXT };
    // SAFETY: as above; `error` has written all of it.
    let (headers, to, quoted, becomes) =
        unsafe { (&(*work).headers, &(*work).to, &(*work).quoted_packet, &(*work).quoted_to) };
    let become_of = || rewrite_error(&ctx, headers, to, quoted, becomes);
    if step == ERROR_STACK {
        return if become_of() { NEXT } else { DROP };
    }
    match route(&ctx, &to.source, &to.destination, 1) {
        // Nothing answers an error.
        Route::By { .. } if headers.ttl <= 1 => DROP,
        Route::By { device, next } => {
            let ready = age(&ctx, headers) && become_of();
            if ready { send(device, &next) } else { DROP }
        }
        // About the node's own connection.
        Route::Here => {
            if become_of() { NEXT } else { DROP }
        }
        Route::TooBig(_) | Route::None => {
            Kernel(&ctx).tally(Tally::NoWay);
            DROP
        }
    }
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
        SEND => match route(&ctx, &to.source, &to.destination, length(skb, headers)) {
            // The stack says that its time is up.
            Route::By { .. } if headers.ttl <= 1 => NEXT,
            Route::By { device, next } => {
                let ready = age(&ctx, headers) && rewrite(&ctx, headers, to);
                if ready { send(device, &next) } else { DROP }
            }
            // An answer to the node's own connection.
            Route::Here => become_of(),
            Route::TooBig(most) if too_big(skb, work, most) => TELL,
            Route::TooBig(_) | Route::None => {
                Kernel(&ctx).tally(Tally::NoWay);
                DROP
            }
        },
        _ => NEXT,
    }
}
