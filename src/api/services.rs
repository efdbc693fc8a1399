//! What `towpath services` is answered.

use serde::{Deserialize, Serialize};

/// `GET /v1/services`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicesReply {
    /// [`super::VERSION`].
    pub api_version: String,
    /// Streams that were not listed yet: while there are any, Services may be missing here.
    pub unlisted: Vec<String>,
    /// Services by name.
    pub services: Vec<ServiceReply>,
    /// Services that are not routed: those that cannot be, and of those that need not be the ones that
    /// were asked for by name.
    pub not_routed: Vec<NotRoutedReply>,
}

/// A Service that is not routed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotRoutedReply {
    /// `namespace/name`.
    pub name: String,
    /// Why.
    pub why: String,
    /// False: it is as its author asked for (headless, of type ExternalName, another proxy's).
    pub wrong: bool,
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
    /// Without any endpoint, of a Service that was asked for by name: what its Service's EndpointSlices have instead, a sentence each.
    pub no_endpoints: Vec<String>,
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
