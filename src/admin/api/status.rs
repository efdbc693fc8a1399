//! `GET /v1/status` and `GET /v1/problems`.

use serde::{Deserialize, Serialize};
use towpath_model::Problem;

/// How this daemon is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusReply {
    /// [`super::API_VERSION`].
    pub api_version: String,
    /// Version of the daemon.
    pub version: String,
    /// Name of its node.
    pub node: String,
    /// UID of the cluster (of the namespace kube-system); empty while unknown or without a cluster.
    pub cluster: String,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// Health, as `/healthz` says it.
    pub health: HealthReply,
    /// Where cluster state comes from, and how well.
    pub source: SourceReply,
    /// Programs and maps.
    pub kernel: KernelReply,
    /// How much is routed.
    pub services: ServicesSummary,
    /// What is not served yet, so that nobody has to find out.
    pub not_served: Vec<NotServed>,
    /// What is wrong with objects, ports, maps.
    pub problems: Vec<ProblemReply>,
    /// The last comparison of the kernel with what is wanted.
    pub audit: Audit,
    /// Removals held back.
    pub brake: Brake,
}

/// Health in short.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthReply {
    /// What `/healthz` answers.
    pub healthy: bool,
    /// Not being deleted or tainted for deletion.
    pub node_eligible: bool,
    /// Every kind was listed and written once.
    pub synced: bool,
    /// Why it is not healthy; empty otherwise.
    pub why: String,
}

/// The source of cluster state.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceReply {
    /// `kube` or `manifests`.
    pub kind: String,
    /// Server or directory.
    pub location: String,
    /// Per kind.
    pub kinds: Vec<KindReply>,
}

/// One kind's stream.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KindReply {
    /// The API's name of the kind.
    pub kind: String,
    /// The stream is open.
    pub connected: bool,
    /// Seconds since the last event or bookmark; absent: nothing was heard yet.
    pub last_event_age_seconds: Option<f64>,
    /// Objects known.
    pub objects: u64,
    /// Objects that could not be decoded, since start.
    pub bad_objects: u64,
    /// Lists begun, since start.
    pub lists: u64,
    /// Streams that broke, since start.
    pub errors: u64,
}

/// What is in the kernel.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KernelReply {
    /// Version of the map layout.
    pub layout: u32,
    /// Where sockets are routed from.
    pub cgroup_root: String,
    /// Where links and maps are pinned.
    pub pins: String,
    /// Programs.
    pub programs: Vec<ProgramReply>,
    /// Maps.
    pub maps: Vec<MapReply>,
}

/// One program.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProgramReply {
    /// Its name.
    pub name: String,
    /// It is attached.
    pub attached: bool,
}

/// One map.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MapReply {
    /// Its name.
    pub name: String,
    /// Elements in use.
    pub entries: u64,
    /// Elements it can hold.
    pub capacity: u64,
    /// Memory it takes.
    pub memory_bytes: u64,
}

/// How much is routed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicesSummary {
    /// Services known.
    pub services: u64,
    /// Service ports routed.
    pub ports: u64,
    /// Frontends in force.
    pub frontends: u64,
    /// Endpoints known.
    pub endpoints: u64,
    /// Services refused, with the reason in `problems`.
    pub refused: Vec<String>,
}

/// Something that this version does not do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NotServed {
    /// What.
    pub what: String,
    /// What happens instead.
    pub instead: String,
    /// How many objects ask for it; absent: not counted.
    pub objects: Option<u64>,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProblemReply {
    /// Kind of the object; empty when it is not about one.
    pub kind: String,
    /// `namespace/name` of the object.
    pub object: String,
    /// Path of the field, a file and line, a port, a map.
    pub field: String,
    /// What is wrong.
    pub why: String,
    /// What to do.
    pub action: String,
}

impl From<&Problem> for ProblemReply {
    fn from(problem: &Problem) -> Self {
        let about = problem.about.as_ref();
        Self {
            kind: about.map_or_else(String::new, |key| key.kind.to_string()),
            object: about.map_or_else(String::new, |key| key.name.to_string()),
            field: problem.field.to_string(),
            why: problem.why.to_string(),
            action: problem.action.to_string(),
        }
    }
}

/// `GET /v1/problems`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProblemsReply {
    /// [`super::API_VERSION`].
    pub api_version: String,
    /// All of them.
    pub problems: Vec<ProblemReply>,
}

/// The last comparison of the kernel with a compile from scratch.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Audit {
    /// Seconds since it ended; absent: none yet.
    pub age_seconds: Option<f64>,
    /// Elements that differed and were repaired.
    pub divergences: u64,
}

/// Removals that wait for a second list (DESIGN.md section 2).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Brake {
    /// Kinds whose removals wait.
    pub held: Vec<String>,
    /// Objects whose removal waits.
    pub objects: u64,
}
