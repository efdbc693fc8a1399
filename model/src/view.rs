//! Everything that is known, at one commit.

use std::{net::IpAddr, sync::Arc};

use crate::{EndpointSlice, Key, Kind, Node, ObjectName, Problem, Service, store::Tables};

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
    pub fn services(&self) -> impl ExactSizeIterator<Item = &'a Arc<Service>> + use<'a> {
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
    pub fn slices(&self) -> impl ExactSizeIterator<Item = &'a Arc<EndpointSlice>> + use<'a> {
        self.tables.slices.values()
    }
    /// All nodes by name.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &'a Arc<Node>> + use<'a> {
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
    /// What is wrong when everything was listed and this node was not among the nodes. It never
    /// means that nothing is local: cluster-wide sets are published, and endpoints are local by the
    /// configured name.
    #[must_use]
    pub fn own_node_problem(&self) -> Option<Problem> {
        if !self.synced || self.own_node().is_some() {
            return None;
        }
        let own = &self.tables.own_node.name;
        let alike = |node: &&ObjectName| {
            let (host, own_host) = (node.name.split('.').next(), own.split('.').next());
            matches!((host, own_host), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
        };
        let action = match self.tables.nodes.keys().find(alike) {
            Some(node) => {
                format!("did you mean {:?}? Configure the node's name as it is there", &*node.name)
            }
            None => "configure the node's name as its Node object has it".to_owned(),
        };
        let why = format!(
            "no Node object of this name among {}: this node's zone and addresses are unknown",
            self.tables.nodes.len()
        );
        let key = Key { kind: Kind::Node, name: self.tables.own_node.clone() };
        Some(Problem::new(Some(key), "metadata.name", &why, &action))
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
