//! Build, run and drain the daemon.

mod answers;
mod run;

pub use run::run;
