//! Which endpoints a Service's port has now.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};
use towpath_model::{
    Family, Protocol, Service, View,
    ingress::BackendPort,
    select::{Candidate, Place, Usage, candidates, select},
    service::ServiceType,
    why_unroutable,
};

use crate::{BackendRef, Map, Slot};

/// The endpoints of one Service's port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndpointSet {
    /// Their addresses, sorted; of one family.
    pub endpoints: Box<[SocketAddr]>,
    /// Why there is none.
    pub missing: Option<Missing>,
    /// What `appProtocol` of the Service's port says is spoken there.
    pub protocol: crate::Protocol,
    /// What a cookie calls each endpoint, in their order.
    pub keys: Box<[u64]>,
}

/// What a cookie calls an endpoint of a Service: the same on every node, and of no use to who does not
/// know the Service's uid, so it shows no address.
#[must_use]
pub fn endpoint_key(uid: &str, endpoint: &SocketAddr) -> u64 {
    let text = format!("towpath endpoint\0{uid}\0{endpoint}");
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |key, byte| (key << 8) | u64::from(*byte))
}

/// Why a backend has no endpoint. All are answered with 503 and heal without a change of the Ingress.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Missing {
    /// No such Service.
    Service,
    /// The Service has no such TCP port.
    Port,
    /// The Service is of type ExternalName, which is not followed.
    ExternalName,
    /// No endpoint is ready, and none terminates and still serves.
    Endpoints,
}

impl Missing {
    /// As the reason header of an answer says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "no_service",
            Self::Port => "no_port",
            Self::ExternalName => "external_name",
            Self::Endpoints => "no_endpoints",
        }
    }
}

/// The endpoint sets of every slot that a table may name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EndpointSets {
    pub(crate) sets: Map<Slot, Arc<EndpointSet>>,
}

impl EndpointSets {
    /// The set of a slot. `None` only where a table is older than the sets by two changes.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Arc<EndpointSet>> {
        self.sets.get(&slot)
    }
}

impl FromIterator<(Slot, EndpointSet)> for EndpointSets {
    fn from_iter<I: IntoIterator<Item = (Slot, EndpointSet)>>(sets: I) -> Self {
        Self { sets: sets.into_iter().map(|(slot, set)| (slot, Arc::new(set))).collect() }
    }
}

/// What a backend leads to now.
pub(crate) fn compile(view: &View<'_>, backend: &BackendRef) -> EndpointSet {
    let nothing = |missing| EndpointSet {
        endpoints: Box::default(),
        missing: Some(missing),
        protocol: crate::Protocol::default(),
        keys: Box::default(),
    };
    let Some(service) = view.service(&backend.service) else { return nothing(Missing::Service) };
    if service.service_type == ServiceType::ExternalName {
        return nothing(Missing::ExternalName);
    }
    let named = service.ports.iter().find(|port| match &backend.port {
        BackendPort::Number(number) => port.port == *number && port.protocol == Protocol::Tcp,
        BackendPort::Name(name) => port.name == *name && port.protocol == Protocol::Tcp,
    });
    let Some(port) = named else { return nothing(Missing::Port) };
    for family in families(service) {
        let chosen = selected(view, backend, &port.name, family);
        if !chosen.is_empty() {
            let endpoints: Box<[_]> = chosen.into_iter().map(SocketAddr::from).collect();
            let key = |endpoint| endpoint_key(&service.meta.uid, endpoint);
            let keys = endpoints.iter().map(key).collect();
            let protocol = port.app_protocol.into();
            return EndpointSet { endpoints, missing: None, protocol, keys };
        }
    }
    nothing(Missing::Endpoints)
}

fn selected(
    view: &View<'_>,
    backend: &BackendRef,
    port: &str,
    family: Family,
) -> Vec<(IpAddr, u16)> {
    let slices = view.slices_of(&backend.service).map(|slice| &**slice);
    let mut found = candidates(slices, port, Protocol::Tcp, family);
    found.retain(|candidate: &Candidate<'_>| why_unroutable(candidate.addr).is_none());
    let zone = view.own_node().and_then(|node| node.zone.as_deref());
    let place = Place { node: view.own_node_name(), zone };
    // A proxy is a client like others of the whole Service, so policy Local does not narrow it.
    select(&found, Usage { cluster: true, local: false }, place).cluster
}

/// The Service's own order, one after the other: requests go to one family at a time.
fn families(service: &Service) -> Vec<Family> {
    let mut families = service.ip_families.clone();
    families
        .extend([Family::V4, Family::V6].iter().filter(|one| !service.ip_families.contains(one)));
    families
}
