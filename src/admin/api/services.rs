//! `GET /v1/services[?name=NAMESPACE/NAME]`.

use serde::{Deserialize, Serialize};

/// The Services, ordered by namespace and name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicesReply {
    /// [`super::API_VERSION`].
    pub api_version: String,
    /// One entry for each Service that was asked for and exists.
    pub services: Vec<ServiceReply>,
}

/// One Service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceReply {
    /// `namespace/name`.
    pub service: String,
    /// `spec.type`.
    #[serde(rename = "type")]
    pub service_type: String,
    /// Why it is not routed (headless, another proxy, no ports); empty when it is.
    pub not_routed: String,
    /// Seconds of session affinity; absent: none.
    pub affinity_seconds: Option<u32>,
    /// Its ports, one entry for each family.
    pub ports: Vec<PortReply>,
}

/// One port of one family.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortReply {
    /// Name; empty for the only, unnamed port.
    pub name: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// `IPv4`, `IPv6`.
    pub family: String,
    /// Where clients reach it.
    pub frontends: Vec<Frontend>,
    /// Endpoints that are ready.
    pub ready: u64,
    /// Endpoints that are serving (ready, or terminating and still answering).
    pub serving: u64,
    /// Endpoints that are terminating.
    pub terminating: u64,
    /// The sets in force: `cluster`, and `local` when a policy asks for it.
    pub sets: Vec<SetView>,
    /// What the kernel holds; absent: nothing.
    pub kernel: Option<KernelView>,
    /// Flows since the maps were made.
    pub counters: ServiceCounts,
}

/// Where clients reach a port.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Frontend {
    /// Address; `*` for every address of the node.
    pub address: String,
    /// Port.
    pub port: u16,
    /// What it is.
    pub kind: FrontendKind,
    /// The set it uses: `cluster` or `local`.
    pub set: String,
    /// Why it is not served (source ranges, for example); empty when it is.
    pub not_served: String,
}

/// What a frontend is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum FrontendKind {
    /// `spec.clusterIPs`.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// `spec.ports[].nodePort`.
    NodePort,
    /// `status.loadBalancer.ingress`.
    LoadBalancer,
    /// `spec.externalIPs`.
    #[serde(rename = "ExternalIP")]
    ExternalIp,
}

impl FrontendKind {
    /// The name that JSON and tables use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::ExternalIp => "ExternalIP",
        }
    }
}

/// A set of endpoints in force.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetView {
    /// `cluster` or `local`.
    pub name: String,
    /// Why these endpoints and no others ("ready endpoints", "hints: zone a", "terminating: no
    /// ready endpoint is left", ...).
    pub why: String,
    /// What an empty set means for a new flow: `refuse` or `leave`; empty when there are backends.
    pub when_empty: String,
    /// The endpoints.
    pub backends: Vec<Backend>,
}

/// One endpoint in force.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backend {
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Node it runs on; empty when the slice does not say.
    pub node: String,
}

/// What the kernel holds for a port, decoded.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KernelView {
    /// Index in SERVICES.
    pub index: u32,
    /// The set words, decoded: `cluster base=12 count=3 epoch=7`.
    pub sets: Vec<String>,
    /// The kernel holds what is wanted.
    pub agrees: bool,
}

/// Flows of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceCounts {
    /// Given an endpoint.
    pub translated: u64,
    /// Refused: no endpoint is usable.
    pub refused: u64,
    /// Left alone: the policy allows local endpoints only and there is none.
    pub no_local: u64,
    /// Left alone: the frontend has source ranges.
    pub untranslated: u64,
}
