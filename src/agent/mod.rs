//! Build, run and drain the daemon.

mod answers;
mod cluster;
mod preflight;
mod run;
mod stale_udp;
mod threads;

pub use run::run;
