//! Node, trimmed.

use std::{net::IpAddr, sync::Arc};

use crate::{Meta, store::kept_by_meta};

/// A Node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Metadata (no namespace).
    pub meta: Meta,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
    /// `status.addresses` of type InternalIP and ExternalIP.
    pub addresses: Vec<IpAddr>,
    /// Those of them that are of type ExternalIP.
    pub external: Box<[IpAddr]>,
    /// Condition `Ready` is true.
    pub ready: bool,
    /// Being deleted, or tainted `ToBeDeletedByClusterAutoscaler`: not eligible for load balancers.
    pub going_away: bool,
}

kept_by_meta!(Node);
