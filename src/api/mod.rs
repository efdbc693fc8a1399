//! What the control socket answers, and `-o json` prints: a stable schema. Fields are only added.
//! Plain data: it knows nothing of what makes or shows it.

pub mod explain;
pub mod services;

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

/// `GET /v1/ready` and `GET /v1/live`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReply {
    /// [`VERSION`].
    pub api_version: String,
    /// The answer.
    pub well: bool,
    /// Why not; empty when it is.
    pub why: String,
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
