//! Build, run and drain the daemon.

mod answers;
mod areas;
mod build;
mod cluster;
mod descriptors;
mod metrics;
mod preflight;
mod run;
mod run_dir;
mod threads;

pub use areas::Daemon;
pub use metrics::metric_names;
pub use run::run;
