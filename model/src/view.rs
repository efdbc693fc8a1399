//! Everything that is known, at one commit.

use std::{net::IpAddr, sync::Arc};

use crate::{Code, EndpointSlice, Key, Kind, Node, ObjectName, Problem, Service, Store, Stream};

/// Proof that these streams were listed: only with it may anything that is made of them be removed from
/// the kernel, a zone or a route table. Made by [`View::synced`] alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced(Arc<[Stream]>);

impl Synced {
    /// The streams that were listed.
    #[must_use]
    pub fn streams(&self) -> &[Stream] {
        &self.0
    }
}

/// A consistent picture, borrowed from the store.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(crate) store: &'a Store,
}

impl<'a> View<'a> {
    /// The slices of a Service, ordered by their own name. Work: proportional to their number.
    pub fn slices_of(
        &self,
        service: &ObjectName,
    ) -> impl Iterator<Item = &'a Arc<EndpointSlice>> + use<'a> {
        self.store.tables.slices.owned_by(service)
    }
    /// The Services after this name, by name; all of them for `None`: for what is told in portions.
    pub fn services_after(
        &self,
        name: Option<&ObjectName>,
    ) -> impl Iterator<Item = &'a Arc<Service>> + use<'a> {
        self.store.tables.services.after(name)
    }
    /// This node's own object; `None` while it is missing or misnamed.
    #[must_use]
    pub fn own_node(&self) -> Option<&'a Arc<Node>> {
        self.node(&self.store.own_node)
    }
    /// This node's name, as configured.
    #[must_use]
    pub fn own_node_name(&self) -> &'a str {
        &self.store.own_node.name
    }
    /// What is wrong when the nodes were listed and this node was not among the nodes. It never
    /// means that nothing is local: cluster-wide sets are published, and endpoints are local by the
    /// configured name.
    #[must_use]
    pub fn own_node_problem(&self) -> Option<Problem> {
        if !self.listed(&Stream::all(Kind::Node)) || self.own_node().is_some() {
            return None;
        }
        let own = &self.store.own_node.name;
        let alike = |node: &&Arc<Node>| {
            let node = &node.meta.name;
            let (host, own_host) = (node.name.split('.').next(), own.split('.').next());
            matches!((host, own_host), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
        };
        let action = match self.nodes().find(alike) {
            Some(node) => {
                format!(
                    "did you mean {:?}? Configure the node's name as it is there",
                    &*node.meta.name.name
                )
            }
            None => "configure the node's name as its Node object has it".to_owned(),
        };
        let why = format!(
            "no Node object of this name among {}: this node's zone and addresses are unknown",
            self.nodes().len()
        );
        let key = Key { kind: Kind::Node, name: self.store.own_node.clone() };
        Some(Problem::new(Code::OwnNodeMissing, Some(key), "metadata.name", &why, &action))
    }
    /// Addresses on this node's devices.
    #[must_use]
    pub fn local_addresses(&self) -> &'a [IpAddr] {
        &self.store.local_addresses
    }
    /// The Service at whose ClusterIPs this node itself answers DNS.
    #[must_use]
    pub const fn answers_dns(&self) -> Option<&'a ObjectName> {
        self.store.answers_dns.as_ref()
    }
    /// Devices of this node that lead to pods.
    #[must_use]
    pub fn pod_devices(&self) -> &'a [crate::PodDevice] {
        &self.store.pod_devices
    }
    /// Devices by which this node routes packets; `None`: not told yet.
    #[must_use]
    pub fn node_devices(&self) -> Option<&'a crate::NodeDevices> {
        self.store.node_devices.as_deref()
    }
    /// Was this stream listed? Of a kind that the server does not know, every one was.
    #[must_use]
    pub fn listed(&self, stream: &Stream) -> bool {
        self.store.listed(stream)
    }
    /// Objects that could never be understood since the start: of those no version is in force here. A
    /// slice that names no Service was understood: it has no part in any.
    pub fn unread(&self) -> impl Iterator<Item = &'a Key> + use<'a> {
        self.unread_after(None)
    }
    /// Those after this one: for what is told in portions.
    pub fn unread_after(&self, key: Option<&Key>) -> impl Iterator<Item = &'a Key> + use<'a> {
        self.store.unread_after(key)
    }
    /// Why the newest version of this object could not be understood; `None`: it could, or there is none.
    #[must_use]
    pub fn unreadable(&self, key: &Key) -> Option<&'a Problem> {
        self.store.bad.get(key)
    }
    /// Present once all of these streams were listed: each consumer waits for its own.
    #[must_use]
    pub fn synced(&self, needs: &[Stream]) -> Option<Synced> {
        needs.iter().all(|stream| self.listed(stream)).then(|| Synced(needs.into()))
    }
}
