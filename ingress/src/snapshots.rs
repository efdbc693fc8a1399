//! What workers look at for each request.

use std::sync::Arc;

use arc_swap::ArcSwap;
use towpath_route::{EndpointSets, RouteTable};

use crate::{CertStore, Connectors};

/// Snapshots, each swapped apart: endpoints change far more often than routes.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Which request goes where. Published after the endpoint sets that it names.
    pub table: ArcSwap<RouteTable>,
    /// Which endpoints each backend has.
    pub sets: ArcSwap<EndpointSets>,
    /// Which certificate each host has.
    pub certs: Arc<ArcSwap<CertStore>>,
    /// How TLS to endpoints is made where a route asks for more than what is usual. Published before the
    /// table that asks for it.
    pub connectors: ArcSwap<Connectors>,
}
