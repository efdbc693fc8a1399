//! Ingress: requests from outside, led to endpoints by host and path, as an area of the loop.
//!
//! | file | what |
//! |---|---|
//! | `build.rs` | out of the configuration |
//! | `area.rs` | objects into the snapshots that the engine serves |
//! | `certificates.rs` | Secrets into certificates; the last good one is kept |
//! | `endpoint_tls.rs` | Secrets into TLS to endpoints |
//! | `serve.rs` | addresses and ports, and the engine's start and end |
//! | `metrics.rs` | what is counted |

mod area;
mod build;
mod certificates;
mod endpoint_tls;
mod metrics;
mod serve;

pub use area::Ingress;
pub use build::build;
pub use serve::{DRAIN, ServeError, Serving};
pub use towpath_ingress::IngressMetrics;
pub use towpath_route::NEEDS;

/// Not served while the area is off, as `towpath status` says it.
pub const OFF: &str = "Ingress (features.ingress is off)";
