//! Everything that is known, at one commit.

use std::{net::IpAddr, sync::Arc};

use crate::{EndpointSlice, Node, ObjectName, Service, store::Tables};

/// Proof that every kind was listed: only with it may anything be removed from the kernel, a zone
/// or a route table. Made by [`View::synced`] alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Synced(());

/// A consistent picture, borrowed from the store.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) synced: bool,
}

impl<'a> View<'a> {
    /// All Services by name.
    pub fn services(&self) -> impl Iterator<Item = &'a Arc<Service>> + use<'a> {
        self.tables.services.values()
    }
    /// One Service.
    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&'a Arc<Service>> {
        self.tables.services.get(name)
    }
    /// The slices of a Service, ordered by their own name. Work: proportional to their number.
    pub fn slices_of(
        &self,
        service: &ObjectName,
    ) -> impl Iterator<Item = &'a Arc<EndpointSlice>> + use<'a> {
        let slices = &self.tables.slices;
        self.tables
            .slices_by_service
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(move |name| slices.get(name))
    }
    /// All slices by name.
    pub fn slices(&self) -> impl Iterator<Item = &'a Arc<EndpointSlice>> + use<'a> {
        self.tables.slices.values()
    }
    /// All nodes by name.
    pub fn nodes(&self) -> impl Iterator<Item = &'a Arc<Node>> + use<'a> {
        self.tables.nodes.values()
    }
    /// This node's own object; `None` while it is missing or misnamed.
    #[must_use]
    pub fn own_node(&self) -> Option<&'a Arc<Node>> {
        self.tables.nodes.get(&self.tables.own_node)
    }
    /// This node's name, as configured.
    #[must_use]
    pub fn own_node_name(&self) -> &'a str {
        &self.tables.own_node.name
    }
    /// Addresses on this node's devices.
    #[must_use]
    pub fn local_addresses(&self) -> &'a [IpAddr] {
        &self.tables.local_addresses
    }
    /// Present once every kind was listed.
    #[must_use]
    pub fn synced(&self) -> Option<Synced> {
        self.synced.then_some(Synced(()))
    }
}
