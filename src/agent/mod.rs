//! Build, run and drain the daemon.

mod answers;
mod cluster;
mod descriptors;
mod preflight;
mod run;
mod stale_sockets;
mod stale_udp;
mod threads;

pub use run::run;
