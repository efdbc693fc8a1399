//! What a panic says, and what it ends.
//!
//! One policy for everything that runs beside the control loop, by what would be lost:
//!
//! - A thread or task that holds what nothing else holds (the control loop, a server, an area's own
//!   thread) ends the daemon (`src/agent/threads.rs`): its pod is restarted, and what the kernel holds
//!   stays in force meanwhile. A daemon that went on without it would look well and follow the cluster
//!   no longer.
//! - A stream begins with a list whenever it was cut, so a start is its ordinary way back: one that
//!   panics is started again after a back-off, and `status` says so (`src/source/kube/supervise.rs`).
//!   An object that panics a decoder must not end the daemon of every node.
//! - A question that panics is answered with an error (`src/admin/socket.rs`).

use std::{any::Any, thread};

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message")
}

/// Panics go into the log like everything else, with their thread and place.
pub(crate) fn log() {
    std::panic::set_hook(Box::new(|info| {
        let current = thread::current();
        let thread = current.name().unwrap_or("unnamed");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("without a message");
        tracing::error!(thread, place, message, "panic");
    }));
}
