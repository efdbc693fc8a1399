//! What a cluster's controllers would add to objects written by hand: EndpointSlices from Services
//! and Pods, cluster IPs and node ports, defaults. Knows nothing of files or watches: JSON and plain
//! values in, JSON, objects and problems out.

mod allocate;
mod cluster_ips;
mod defaults;
mod node_ports;
mod refused;
mod slices;
mod written;

pub use allocate::{Allocations, Allocator, Filled};
pub use defaults::default_slice;
pub use slices::slices;
pub use written::Written;

use cluster_ips::ClusterIps;
use node_ports::NodePorts;

/// FNV-1a: the same place for the same name on every machine and in every version.
fn hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        // The separator keeps ("a", "bc") and ("ab", "c") apart.
        for byte in part.bytes().chain([b'/']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    // The low bits of FNV depend on the low bits of the input only: fold the high ones in.
    hash ^ (hash >> 32)
}
