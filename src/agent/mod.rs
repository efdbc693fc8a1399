//! Build, run and drain the daemon.

mod answers;
mod areas;
mod build;
mod cluster;
mod descriptors;
mod explain;
mod kernel;
pub mod logging;
mod metrics;
mod preflight;
mod probes;
mod run;
mod standby;
mod threads;

pub use areas::Daemon;
pub use explain::{Manifests, explain_manifests};
pub use metrics::metric_names;
pub use run::run;
