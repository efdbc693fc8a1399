//! The socket programs: connect, sendmsg, recvmsg and getpeername for both families.
//!
//! Glue only: what is decided, and why, is in `towpath_datapath::decide`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod connect;
mod context;
mod getpeername;
mod lookups;
mod maps;
mod recvmsg;
mod sendmsg;
mod socket_maps;
mod tables;

/// The kernel gives its GPL helpers to programs that say so.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
