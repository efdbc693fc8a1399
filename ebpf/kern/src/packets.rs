//! The packet programs: what comes in by a device and what leaves by it, on the side of pods and on
//! the side of the network.
//!
//! Glue only: what is decided, and why, is in `towpath_datapath::decide::packets`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod devices;
mod flow_table;
mod lookups;
mod maps;
mod packet_maps;
mod rewrite;
mod route;
mod skb;
mod unreachable;

/// The kernel gives its GPL helpers to programs that say so.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
