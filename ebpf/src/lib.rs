//! The only crate that talks to the kernel's BPF: load, pin, attach, live maps, clean-up, probes.
//!
//! Nothing is decided here. What the maps should hold comes in as [`towpath_image::Batch`]es, what
//! the programs decide is `towpath_datapath::decide`. No async runtime: every call returns when the
//! kernel has answered.

mod attach;
mod cleanup;
mod error;
mod grace;
mod grow;
mod live;
mod load;
mod lock;
mod mapped;
mod peers;
mod pin_dir;
mod pinned;
mod pins;
mod private;
mod probe;
mod reader;
mod settings;
mod stats;
mod sys;

pub use cleanup::{Cleaned, cleanup, detach};
pub use error::Error;
pub use grace::grace;
pub use live::{LiveKernel, MapUse};
pub use peers::Peers;
pub use private::narrow;
pub use probe::{Feature, host_netns_cookie, probe};
pub use reader::KernelReader;
pub use settings::Settings;
pub use stats::{ProgramRuns, StatsOn, program_runs};
