//! What `towpath explain` is answered.

use serde::{Deserialize, Serialize};

/// `GET /v1/explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainReply {
    /// [`super::VERSION`].
    pub api_version: String,
    /// The node that answers.
    pub node: String,
    /// Answered from manifests: there is no daemon and no kernel.
    pub offline: bool,
    /// Who begins.
    pub from: PartyReply,
    /// What was asked for, as typed.
    pub to: String,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// How the name resolves; absent: an address or a pod was asked for.
    pub name: Option<NameReply>,
    /// One for each address that it leads to.
    pub routes: Vec<RouteReply>,
    /// So many more are not told.
    pub more_routes: u64,
    /// What did not pass at the devices of this node's pods, of all pods together; absent: policies are off,
    /// or no kernel was asked.
    #[serde(default)]
    pub drops: Option<DropsReply>,
    /// Where it ends.
    pub result: ResultReply,
}

/// Packets that did not pass at the devices of pods, since the maps were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropsReply {
    /// To a pod, and no rule allows it.
    pub denied_ingress: u64,
    /// From a pod, likewise.
    pub denied_egress: u64,
    /// From a pod, with a source that is not its own.
    pub spoofed: u64,
    /// At a device whose pod is not known yet.
    pub unbound: u64,
    /// Of an isolated pod, and not understood.
    pub unreadable: u64,
    /// To an isolated pod, for another address, as bridges flood.
    pub not_for_it: u64,
}

/// How something goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It goes on.
    Passes,
    /// It would die there.
    Dies,
    /// It cannot be told.
    Unknown,
}

/// Where it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultReply {
    /// How.
    pub outcome: Outcome,
    /// One sentence.
    pub why: String,
    /// What to do; empty: nothing.
    pub action: String,
}

/// Who begins a connection, or is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartyReply {
    /// `pod`, `host`, `node` or `outside`.
    pub kind: String,
    /// `namespace/name`, name of the node; absent: not known.
    pub name: Option<String>,
    /// Its node, where it is known.
    pub node: Option<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// What is to be known about it.
    pub notes: Vec<String>,
}

/// How a name resolves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NameReply {
    /// The full name.
    pub name: String,
    /// Where the answer is from.
    pub answered_by: String,
    /// Records in words: owner, type, data.
    pub records: Vec<String>,
    /// How it goes on from here.
    pub outcome: Outcome,
    /// Why, when it does not.
    pub why: String,
    /// The way of the question itself to the cluster's DNS; absent: it is not known, or does not matter.
    pub question: Option<Box<RouteReply>>,
}

/// The way to one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteReply {
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// The Service whose frontend that is; absent: the address is no Service's.
    pub service: Option<FrontendHop>,
    /// Where it arrives.
    pub destinations: Vec<DestinationReply>,
    /// So many more are not told.
    pub more_destinations: u64,
    /// Where this way ends.
    pub result: ResultReply,
}

/// A Service's frontend, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendHop {
    /// `namespace/name`.
    pub service: String,
    /// The port: its name and number.
    pub port: String,
    /// ClusterIP, NodePort, LoadBalancer, ExternalIP or Guard.
    pub kind: String,
    /// `socket`: decided when a socket connects; `packet`: when a packet comes in by a device.
    pub decided_by: String,
    /// `cluster` or `local`; absent: no set was asked.
    pub set: Option<String>,
    /// Which field leads to that set.
    pub policy: String,
    /// Why the set is what it is.
    pub why: String,
    /// What becomes of it, in words.
    pub answer: String,
    /// Session affinity, seconds.
    pub affinity_seconds: Option<u32>,
    /// The kernel's maps, read back, say the same; absent: they were not read.
    pub kernel_agrees: Option<bool>,
    /// Every endpoint, and why it is used or not.
    pub endpoints: Vec<EndpointReply>,
    /// So many more are not told.
    pub more_endpoints: u64,
}

/// An endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReply {
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Node.
    pub node: Option<String>,
    /// The node's zone.
    pub zone: Option<String>,
    /// Condition ready.
    pub ready: bool,
    /// Condition serving.
    pub serving: bool,
    /// Condition terminating.
    pub terminating: bool,
    /// It is in the set.
    pub used: bool,
    /// Why it is, or is not.
    pub why: String,
}

/// Where it arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationReply {
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Who that is.
    pub party: PartyReply,
    /// What the policies of the source say; absent: it is no pod.
    pub egress: Option<PolicyHop>,
    /// What the policies of the destination say; absent: it is no pod.
    pub ingress: Option<PolicyHop>,
}

/// What policies say at one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyHop {
    /// `namespace/name` of the pod that is judged.
    pub pod: String,
    /// The node whose devices judge it.
    pub node: String,
    /// That is the node that answers; else this is what that one will decide, as far as is known here.
    pub here: bool,
    /// The verdict.
    pub outcome: Outcome,
    /// Why.
    pub why: String,
    /// The policies that select the pod in this direction.
    pub policies: Vec<PolicyReply>,
    /// So many more are not told.
    pub more_policies: u64,
    /// What the kernel's maps, read back, say; absent: they were not read, or are another node's.
    pub kernel: Option<KernelVerdict>,
}

/// A policy that selects a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReply {
    /// `namespace/name`.
    pub name: String,
    /// Its rules of the direction, where none allows what was asked.
    pub rules: Vec<RuleReply>,
    /// So many more are not told.
    pub more_rules: u64,
}

/// A rule that does not allow what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleReply {
    /// As in `ingress[0]`.
    pub rule: String,
    /// What it lacks.
    pub lacks: Lacks,
}

/// What a rule lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lacks {
    /// The port is right; the other end is not among its peers.
    Peer,
    /// The other end is right; the port is not among its ports.
    Port,
    /// Neither is right.
    Both,
}

/// What the kernel would decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelVerdict {
    /// In words.
    pub verdict: String,
    /// The same as the objects say.
    pub agrees: bool,
}

/// What the control socket answers: an explanation, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "one answer, written at once")]
pub enum ExplainAnswer {
    /// An explanation.
    Explained(ExplainReply),
    /// What was typed names nothing that is known.
    NotUnderstood(NotUnderstoodReply),
}

/// Why there is no explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotUnderstoodReply {
    /// [`super::VERSION`].
    pub api_version: String,
    /// What and why.
    pub error: String,
    /// What to do.
    pub action: String,
}
