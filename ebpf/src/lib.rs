//! The only crate that talks to the kernel's BPF: load, pin, attach, live maps, clean-up, probes.
//!
//! Nothing is decided here. What the maps should hold comes in as [`towpath_image::Batch`]es, which
//! programs run where as [`towpath_image::Attachments`]; what the programs decide is
//! `towpath_datapath::decide`. No async runtime: every call returns when the kernel has answered.

mod adopt;
mod error;
mod grace;
mod heartbeat;
mod live;
mod mapped;
mod maps;
mod object;
mod packets;
mod peers;
mod pins;
mod plain;
mod policies;
mod probe;
mod programs;
mod services;
mod settings;
mod stats;
mod sys;
mod table;
mod tables;

pub use error::{Cleaned, Error};
pub use grace::grace;
pub use heartbeat::{Heartbeat, Pulse};
pub use live::{AreaMaps, LiveImage, LiveMaps, MapsReader};
pub use mapped::Mapped;
pub use maps::{Hash, OpenMap};
pub use object::rehearse;
pub use packets::{FlowTable, PacketMaps, Swept};
pub use peers::Peers;
pub use pins::{
    cleanup::{cleanup, detach},
    private::narrow,
};
pub use plain::Plain;
pub use policies::PolicyMaps;
pub use probe::{Feature, host_netns_cookie, probe};
pub use programs::{LivePrograms, Opened, Verdict, open};
pub use services::ServiceMaps;
pub use settings::Settings;
pub use stats::{ProgramRuns, StatsOn, program_runs};
pub use table::{Copy, Former, Row, Table};
