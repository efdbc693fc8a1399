//! Services: routing for every socket of the node, as an area of the loop.
//!
//! | file | what |
//! |---|---|
//! | `build.rs` | out of the configuration |
//! | `area.rs`, `publish.rs` | plan, lay out, write |
//! | `startup.rs` | after a restart: what the kernel holds and no object claims |
//! | `in_force.rs` | is what is planned what the kernel holds? |
//! | `audit.rs` | the same, compared with the maps themselves |
//! | `answers.rs` | `towpath services`, the part in `status`, the hop in `towpath explain`, gathered metrics |
//! | `problems.rs`, `metrics.rs`, `programming_latency.rs` | what is wrong, what is counted |
//! | `health_check_ports.rs` | healthCheckNodePort listeners |
//! | `udp_endpoints.rs`, `stale_udp.rs`, `stale_sockets.rs` | connected UDP sockets whose endpoint is gone |

mod answers;
mod area;
mod audit;
mod build;
#[cfg(test)]
pub(crate) mod fixture;
mod health_check_ports;
mod in_force;
mod metrics;
mod problems;
mod programming_latency;
mod publish;
mod stale_sockets;
mod stale_udp;
mod startup;
mod udp_endpoints;

use towpath_image::{Attachment, Attachments};
pub use towpath_proxy::{HealthCheck, NEEDS, ProxyConfig};

pub use answers::{Backend, Fate, Planned, Router, Way, gather, maps, services};
pub use area::{ServiceKernel, ServiceOutputs, Services};
pub use audit::{Reader, ServiceAudit, differences};
pub use build::{ServiceEnds, build};
pub use health_check_ports::{HealthChecks, serve as serve_health_checks};
pub use metrics::ServiceMetrics;
pub(crate) use stale_udp::{StaleUdp, Sweeper};

/// The programs that are to be in force: from the start, with what the maps hold.
#[must_use]
pub fn attachments() -> Attachments {
    Attachment::of_sockets()
}

/// Traffic that passes as if Towpath were not there.
pub const NOT_SERVED: [&str; 3] = [
    "SCTP",
    "load balancer addresses with loadBalancerSourceRanges, for sockets of pods (features.packets serves them)",
    "connected UDP sockets in pods whose endpoint has gone: counted, not ended (those of the host are)",
];
