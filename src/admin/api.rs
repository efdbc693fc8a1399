//! What the control socket answers, and `-o json` prints: a stable schema. Fields are only added.

use serde::{Deserialize, Serialize};

/// Version of the schema.
pub const VERSION: &str = "towpath/v1";

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReply {
    /// [`VERSION`].
    pub api_version: String,
    /// Version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Name of the node.
    pub node: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Where cluster state comes from.
    pub source: SourceReply,
    /// What the loop says.
    pub state: StateReply,
    /// Bytes of the kernel's maps.
    pub map_bytes: u64,
    /// Connected UDP sockets whose endpoint is gone; absent: not known yet.
    #[serde(default)]
    pub stale_udp: Option<StaleUdpReply>,
    /// Ports that could not be bound, and why.
    pub ports: Vec<String>,
    /// What is not served, and why: traffic of these kinds passes as if Towpath were not there.
    pub not_served: Vec<String>,
}

/// Connected UDP sockets that were sent to an endpoint which no Service uses any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StaleUdpReply {
    /// Sockets of the host's network namespace that were ended since the daemon started, so that
    /// their owners connect again.
    pub ended: u64,
    /// Sockets inside pods, at most: they are not touched, and one that was closed since counts until
    /// its record is displaced by a newer socket's.
    pub in_pods_at_most: u64,
}

/// Where cluster state comes from, and how well it is heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceReply {
    /// `kube` or `manifests`.
    pub kind: String,
    /// Per kind of object.
    pub streams: Vec<StreamReply>,
}

/// One kind's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamReply {
    /// Kind of object.
    pub kind: String,
    /// The stream is open.
    pub connected: bool,
    /// Milliseconds since the last event or bookmark; absent: never.
    pub last_event_age_ms: Option<u64>,
    /// Lists begun.
    pub lists: u64,
    /// Streams that broke.
    pub errors: u64,
    /// Objects that could not be understood.
    pub bad_objects: u64,
    /// Times that the loop of this kind broke down and was started again; a daemon before this field
    /// did not say.
    #[serde(default)]
    pub restarts: u64,
}

/// What the loop says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateReply {
    /// Every kind was listed.
    pub synced: bool,
    /// Services that are routed.
    pub services: u64,
    /// EndpointSlices known.
    pub endpoint_slices: u64,
    /// Nodes known.
    pub nodes: u64,
    /// Everything that is wrong with objects, in words.
    pub problems: Vec<String>,
    /// What the kernel holds.
    pub kernel: KernelReply,
    /// The last audit; absent: none yet.
    pub audit: Option<AuditReply>,
}

/// What the kernel holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelReply {
    /// Its maps.
    pub maps: Vec<MapReply>,
    /// Something waits for the kernel.
    pub pending: bool,
    /// Longest time spent on one batch, microseconds.
    pub longest_write_us: u64,
    /// Programs that were found detached, and pins that were found removed, and brought back.
    #[serde(default)]
    pub programs_reattached: u64,
}

/// One map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MapReply {
    /// Name.
    pub name: String,
    /// Elements in use.
    pub entries: u64,
    /// Elements at most.
    pub capacity: u64,
}

/// An audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditReply {
    /// Milliseconds ago.
    pub age_ms: u64,
    /// What differed; empty is how it should be.
    pub differences: Vec<String>,
}

/// `GET /v1/services`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicesReply {
    /// [`VERSION`].
    pub api_version: String,
    /// Services by name.
    pub services: Vec<ServiceReply>,
}

/// One Service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReply {
    /// `namespace/name`.
    pub name: String,
    /// Its ports, one entry for each family.
    pub ports: Vec<PortReply>,
    /// What is wrong with it.
    pub problems: Vec<String>,
    /// Its last change.
    pub last_change: Option<LastChangeReply>,
}

/// The last change of a Service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastChangeReply {
    /// Milliseconds ago.
    pub age_ms: u64,
    /// From received to in force, microseconds.
    pub took_us: u64,
    /// Why it is not in force; absent: it is.
    pub failed: Option<String>,
}

/// One port of one family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortReply {
    /// Name of the port.
    pub name: String,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// How it is reached.
    pub frontends: Vec<FrontendReply>,
    /// Ready endpoints.
    pub ready: u64,
    /// Serving endpoints.
    pub serving: u64,
    /// Terminating endpoints.
    pub terminating: u64,
    /// Session affinity, seconds.
    pub affinity_seconds: Option<u32>,
    /// The sets in force, and why they are what they are.
    pub sets: Vec<SetReply>,
    /// Index in the kernel's table; absent: not there.
    pub kernel_index: Option<u32>,
    /// Flows by what became of them.
    pub counters: CountersReply,
}

/// A frontend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendReply {
    /// Address, or which nodes' addresses.
    pub address: String,
    /// Port.
    pub port: u16,
    /// ClusterIP, NodePort, LoadBalancer or ExternalIP.
    pub kind: String,
    /// Translated for sockets of this node.
    pub served: bool,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_served: Option<String>,
}

/// A set of endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetReply {
    /// `cluster` or `local`.
    pub name: String,
    /// Why it is what it is.
    pub why: String,
    /// Its endpoints.
    pub backends: Vec<BackendReply>,
    /// The kernel holds exactly this.
    pub agrees: bool,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendReply {
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
}

/// Flows by what became of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountersReply {
    /// Sent to an endpoint.
    pub translated: u64,
    /// Refused: no endpoint is usable.
    pub refused: u64,
    /// Left alone: the policy allows local endpoints only, and there is none.
    pub no_local: u64,
    /// Left alone: the frontend has source ranges.
    pub untranslated: u64,
}
