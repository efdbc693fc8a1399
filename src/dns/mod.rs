//! DNS: the cluster's names, answered on the node, as an area of the loop.
//!
//! | file | what |
//! |---|---|
//! | `answers.rs` | what a name is answered, for `towpath explain` |
//! | `build.rs` | out of the configuration |
//! | `area.rs` | objects into a snapshot, and the addresses that are to be served |
//! | `serve.rs` | those addresses: routes, sockets, upstreams |
//! | `heart.rs` | life signs, for the programs |
//! | `keep.rs` | the zone on disk, for the next daemon |
//! | `metrics.rs` | what is counted |
//! | `routes.rs` | an address of no device is made local |

mod answers;
mod area;
mod build;
mod heart;
mod keep;
mod metrics;
mod routes;
mod serve;

pub use answers::Names;
pub use area::Dns;
pub use build::build;
pub use serve::{ServeError, Serving};
pub use towpath_dns::{DnsMetrics, Told};
pub use towpath_zone::NEEDS;

/// Not served while the area is off, as `towpath status` says it.
pub const OFF: &str = "DNS: features.dns is off";
