//! The DNS server of a node: names of the cluster from a zone's snapshot, other names from a cache or
//! from upstreams. What is answered about the cluster is decided in [`towpath_zone`].
#![forbid(unsafe_code)]

mod ask;
mod cache;
mod compose;
mod exchange;
mod forward;
mod labels;
mod metrics;
mod places;
mod pulse;
mod question;
mod resolv;
mod server;
mod tcp;
mod udp;
mod upstreams;

pub use ask::{Told, ask};
pub use forward::{ForwardSettings, Forwarder};
pub use metrics::{DnsMetrics, Register};
pub use pulse::{Heart, NoHeart, Pulse};
pub use resolv::{ResolvConf, read as read_resolv_conf};
pub use server::{Limits, ListenError, Listeners, Server};
