//! What workers look at for each request.

use std::sync::Arc;

use arc_swap::ArcSwap;
use towpath_route::{EndpointSets, RouteTable};

use crate::CertStore;

/// Three snapshots, each swapped apart: endpoints change far more often than routes.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Which request goes where. Published after the endpoint sets that it names.
    pub table: ArcSwap<RouteTable>,
    /// Which endpoints each backend has.
    pub sets: ArcSwap<EndpointSets>,
    /// Which certificate each host has.
    pub certs: Arc<ArcSwap<CertStore>>,
}
