//! What is wanted: one Service, its ports, their records and frontends.

use std::{fmt, sync::Arc};

use towpath_image::datapath::{BackendRecord, Empty, FrontendKey};
use towpath_model::{
    Family, ObjectName, Problem, Protocol,
    select::{Counts, Why},
    service::Cidr,
};

/// One port of one family of a Service: what endpoints are selected for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServicePortId {
    /// The Service.
    pub service: ObjectName,
    /// Name of the port; empty for the only one.
    pub port: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Family.
    pub family: Family,
}

impl fmt::Display for ServicePortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = if self.port.is_empty() { "" } else { ":" };
        let (protocol, family) = (self.protocol.as_str(), self.family.as_str());
        write!(f, "{}{port}{}/{protocol}/{family}", self.service, self.port)
    }
}

/// A backend set: sorted, without duplicates; and what it means when it is empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedSet {
    /// Backends in [`BackendRecord::order`].
    pub backends: Arc<[BackendRecord]>,
    /// Meaning of emptiness.
    pub empty: Empty,
    /// A frontend may lead to it. A set that is no longer used is left in the kernel as it is: its
    /// frontends still lead there until they are flipped, and must not find it empty.
    pub used: bool,
}

impl Default for PlannedSet {
    fn default() -> Self {
        Self { backends: Arc::new([]), empty: Empty::Refuse, used: false }
    }
}

/// One record of SERVICES.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedRecord {
    /// Identity, never 0.
    pub identity: u64,
    /// Whose it is (for messages).
    pub owner: ObjectName,
    /// Session affinity in seconds.
    pub affinity_seconds: Option<u32>,
    /// The cluster set and the local set.
    pub sets: [PlannedSet; 2],
    /// From where frontends may be used that have source ranges: sorted, none inside another.
    pub source_ranges: Arc<[Cidr]>,
}

/// Where a frontend comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the variants are the API's field names")]
pub enum FrontendSource {
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalIp,
    /// The refusal of a clusterIP's unknown ports.
    Guard,
}

impl FrontendSource {
    /// As the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::ExternalIp => "ExternalIP",
            Self::Guard => "Guard",
        }
    }
}

/// One way to reach a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlannedFrontend {
    /// Key in FRONTENDS.
    pub key: FrontendKey,
    /// `FrontendWord` flags.
    pub flags: u8,
    /// The record it leads to. A guard leads nowhere: the first record of its family, with which it
    /// comes and goes; 0 when the Service has no ports.
    pub identity: u64,
    /// Where it comes from.
    pub source: FrontendSource,
}

/// What a frontend leads to, as far as the kernel is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrontendTarget {
    /// The record; for guards see [`PlannedFrontend::identity`].
    pub identity: u64,
    /// `FrontendWord` flags.
    pub flags: u8,
}

/// One port of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedPort {
    /// Which.
    pub id: ServicePortId,
    /// Its port number, for people.
    pub number: u16,
    /// nodePort, 0 for none.
    pub node_port: u16,
    /// The record that its frontends lead to.
    pub record: PlannedRecord,
    /// Records of remote nodes' NodePorts (externalTrafficPolicy Local), with the node's name.
    pub per_node: Vec<(Arc<str>, PlannedRecord)>,
    /// All frontends.
    pub frontends: Vec<PlannedFrontend>,
    /// How many endpoints there are of each sort.
    pub counts: Counts,
    /// Why the cluster set and the local set are what they are.
    pub why: [Why; 2],
}

impl PlannedPort {
    /// Every record of this port.
    pub fn records(&self) -> impl Iterator<Item = &PlannedRecord> {
        std::iter::once(&self.record).chain(self.per_node.iter().map(|(_, record)| record))
    }
}

/// healthCheckNodePort of a Service (services.md 1.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// The Service.
    pub service: ObjectName,
    /// Port to listen on.
    pub port: u16,
    /// Distinct addresses of ready endpoints on this node.
    pub ready_local: usize,
}

/// A Service that is proxied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedService {
    /// Its name.
    pub name: ObjectName,
    /// Its creation time as written: the older Service wins a contested frontend.
    pub created: Arc<str>,
    /// Its ports, one entry per family.
    pub ports: Vec<PlannedPort>,
    /// What refuses unknown ports of its clusterIPs.
    pub guards: Vec<PlannedFrontend>,
    /// healthCheckNodePort, when it has one in force.
    pub health_check: Option<HealthCheck>,
    /// What was wrong with it.
    pub problems: Vec<Problem>,
}
