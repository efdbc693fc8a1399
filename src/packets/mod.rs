//! Packets from outside and from pods: which devices translate them, and what became of them, as an area of the loop.
//! What is decided about a packet is in `towpath_datapath::decide::packets`.
//!
//! | file | what |
//! |---|---|
//! | `area.rs` | plan, write, problems |
//! | `build.rs` | the area and its sweeper, out of the open maps |
//! | `metrics.rs` | its numbers |
//! | `sweeper.rs` | removes flows that have expired |

mod area;
mod build;
mod metrics;
mod sweeper;

pub use area::{NEEDS, PacketKernel, Packets};
pub use build::build;
pub use metrics::PacketMetrics;

/// What is not served while the area is off.
pub const OFF: &str = "packets that come from no socket of this node: clients outside the cluster, VM pods, raw \
                       sockets (features.packets is off)";

/// What is not served although it is on.
pub const NOT_SERVED: [&str; 4] = [
    "packets of the node itself that come from no socket of a process; pods behind other devices than veth pairs",
    "fragments",
    "devices without Ethernet headers (WireGuard, tun, ipip) towards the outside",
    "nodePortAddresses: NodePorts are served on every address of the node",
];
