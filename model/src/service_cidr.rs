//! ServiceCIDR, trimmed.

use crate::{Meta, service::Cidr, store::kept_by_meta};

/// A ServiceCIDR: blocks that clusterIPs are allocated from (KEP-1880).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceCIDR {
    /// Metadata (no namespace).
    pub meta: Meta,
    /// `spec.cidrs`: at most one of each family.
    pub cidrs: Vec<Cidr>,
    /// Condition Ready, absent = true.
    pub ready: bool,
    /// Being deleted. Addresses that were allocated of it are served as long as their Services exist.
    pub going_away: bool,
}

kept_by_meta!(ServiceCIDR);
