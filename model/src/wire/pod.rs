//! Pod, as far as slices are made from it (the manifests source and the testbed).

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

use super::{
    address::{Parsed, parse},
    meta::WireMeta,
};
use crate::{ObjectName, Problem};

/// A Pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pod {
    /// Name.
    pub name: ObjectName,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `status.podIPs`.
    pub ips: Vec<IpAddr>,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// Condition Ready; absent: ready when it has an address.
    pub ready: bool,
    /// It has a deletion timestamp.
    pub terminating: bool,
    /// Its phase is Succeeded or Failed: it has no endpoints any more.
    pub finished: bool,
    /// Container ports by name.
    pub ports: Vec<(String, u16)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WirePod {
    metadata: WireMeta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    container_port: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

/// Reads a Pod.
///
/// # Errors
/// When it is not a Pod, in words.
pub fn decode_pod(json: &[u8]) -> Result<Pod, Problem> {
    let wire: WirePod = serde_json::from_slice(json).map_err(|error| {
        Problem::new(None, "Pod", &error.to_string(), "correct the field that it names")
    })?;
    let name = wire.metadata.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Err(Problem::new(None, "metadata.name", "a Pod without a name", "name it"));
    }
    let namespace = wire.metadata.namespace.as_deref().unwrap_or("default");
    let listed = wire.status.pod_ips.iter().map(|ip| ip.ip.as_str());
    let single = wire.status.pod_ip.as_deref().filter(|_| wire.status.pod_ips.is_empty());
    let ips = listed.chain(single).filter_map(|text| match parse(text) {
        Parsed::Fine(ip) | Parsed::LeadingZeros(ip) => Some(ip),
        Parsed::Mapped(_) | Parsed::Wrong => None,
    });
    let ready = wire.status.conditions.iter().find(|c| c.r#type == "Ready");
    let containers = wire.spec.containers.iter().chain(&wire.spec.init_containers);
    let named = |port: &Port| Some((port.name.clone()?, port.container_port?));
    Ok(Pod {
        name: ObjectName::new(namespace, name),
        ips: ips.collect(),
        node: wire.spec.node_name.filter(|node| !node.is_empty()),
        ready: ready.is_none_or(|condition| condition.status == "True"),
        terminating: wire.metadata.deletion_timestamp.is_some(),
        finished: matches!(wire.status.phase.as_deref(), Some("Succeeded" | "Failed")),
        ports: containers.flat_map(|container| &container.ports).filter_map(named).collect(),
        labels: wire.metadata.labels.unwrap_or_default(),
    })
}
