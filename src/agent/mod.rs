//! Build, run and drain the daemon.

mod answers;
mod run;
mod stale_udp;

pub use run::run;
