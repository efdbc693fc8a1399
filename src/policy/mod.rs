//! NetworkPolicy: what may reach this node's pods and what they may reach, as an area of the loop.
//!
//! | file | what |
//! |---|---|
//! | `answers.rs` | verdicts, and which rule decides: its hops in `towpath explain` |
//! | `area.rs` | plan, lay out, write |
//! | `binding.rs` | which device is which pod's |
//! | `metrics.rs` | its numbers |
//! | `startup.rs` | what a start may open: nothing on one doubtful list |

mod answers;
mod area;
mod binding;
mod metrics;
mod startup;

pub use answers::{End, Judge, Planned, gather, maps};
pub use area::{NEEDS, Policy, PolicyKernel};
pub use metrics::PolicyMetrics;

/// Not served while the area is off, as `towpath status` says it.
pub const OFF: &str = "NetworkPolicy (features.networkPolicy is off)";

/// Traffic that is not judged, although policy is on.
pub const NOT_JUDGED: [&str; 3] = [
    "policy of pods without a pair of devices of their own: macvlan, ipvlan, SR-IOV, hostNetwork",
    "connections that were open before the daemon first ran, where only their replies may pass: they end",
    "ClusterNetworkPolicy and AdminNetworkPolicy",
];

#[cfg(test)]
mod tests;
