//! Pod: as it is kept, and as far as slices are made from it (the manifests source and the testbed).

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

use super::{
    address::{Parsed, parse},
    map::{AllTexts, map, map_or_null, maps_or_null},
    meta::{WireMeta, protocol, shown},
    status::{Condition, ready},
    wrong_type::explain,
};
use crate::{
    Code, Key, Kind, ObjectName, Problem, Protocol,
    pod::{PodState, PodTemplate},
};

/// A Pod as slices are made from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pod {
    /// Name.
    pub name: ObjectName,
    /// `metadata.uid`, empty when absent.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `status.podIPs`, or `status.podIP` alone.
    pub ips: Vec<IpAddr>,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// `spec.hostname`, which a Service of the name in `subdomain` publishes.
    pub hostname: Option<String>,
    /// `spec.subdomain`.
    pub subdomain: Option<String>,
    /// Condition Ready; absent: ready when it has an address.
    pub ready: bool,
    /// It has a deletion timestamp.
    pub terminating: bool,
    /// Its phase is Succeeded or Failed: it has no endpoints any more.
    pub finished: bool,
    /// Container ports that have a name.
    pub ports: Vec<PodPort>,
    /// What was wrong and could be read around.
    pub problems: Vec<Problem>,
}

/// A named container port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PodPort {
    /// Name.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Number, never 0.
    pub port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WirePod {
    #[serde(deserialize_with = "map")]
    metadata: WireMeta<AllTexts>,
    #[serde(deserialize_with = "map_or_null")]
    spec: Option<Spec>,
    #[serde(deserialize_with = "map_or_null")]
    status: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    hostname: Option<String>,
    subdomain: Option<String>,
    host_network: Option<bool>,
    #[serde(deserialize_with = "maps_or_null")]
    containers: Option<Vec<Container>>,
    #[serde(deserialize_with = "maps_or_null")]
    init_containers: Option<Vec<Container>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    restart_policy: Option<String>,
    #[serde(deserialize_with = "maps_or_null")]
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    protocol: Option<String>,
    container_port: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs", deserialize_with = "maps_or_null")]
    pod_ips: Option<Vec<PodIp>>,
    #[serde(deserialize_with = "maps_or_null")]
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: Option<String>,
}

/// Reads a Pod.
///
/// # Errors
/// When it is not a Pod: the field and why, without the Pod's name.
pub fn decode_pod(json: &[u8]) -> Result<Pod, Problem> {
    let wire: WirePod = serde_json::from_slice(json).map_err(|error| {
        let (field, why, action) = explain(json, &error);
        Problem::new(Code::FieldUnusable, None, &field, &why, action)
    })?;
    written(wire)
}

/// The form in which it is kept.
pub(crate) fn convert(wire: WirePod) -> Result<crate::Pod, Problem> {
    let host_network = wire.spec.as_ref().and_then(|spec| spec.host_network);
    let version = wire.metadata.resource_version.as_deref().and_then(|v| v.parse().ok());
    let Pod { name, labels, ips, node, ready, terminating, finished, ports, problems, .. } =
        written(wire)?;
    let template = PodTemplate {
        labels: labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        ports: ports.into(),
        problems: problems.into(),
    };
    let host_network = host_network.unwrap_or(false);
    let state = PodState { ready, terminating, finished, host_network };
    let named = (name, version.unwrap_or(0));
    Ok(crate::Pod::new(named, template, node.map(Into::into), &ips, state))
}

fn written(wire: WirePod) -> Result<Pod, Problem> {
    let WirePod { metadata, spec, status } = wire;
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
    let name = metadata.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Err(Problem::new(
            Code::ObjectUnreadable,
            None,
            "metadata.name",
            "a Pod without a name",
            "name it",
        ));
    }
    let namespace = metadata.namespace.as_deref().filter(|ns| !ns.is_empty());
    let name = ObjectName::new(namespace.unwrap_or("default"), name);
    let mut problems = Vec::new();
    let conditions = status.conditions.unwrap_or_default();
    let set = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(Pod {
        uid: metadata.uid.unwrap_or_default(),
        ips: ips(&name, status.pod_ips, status.pod_ip, &mut problems),
        node: set(spec.node_name),
        hostname: set(spec.hostname),
        subdomain: set(spec.subdomain),
        ready: ready(&conditions).unwrap_or(true),
        terminating: metadata.deletion_timestamp.is_some(),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        ports: ports(spec.containers, spec.init_containers),
        labels: metadata.labels.unwrap_or_default(),
        name,
        problems,
    })
}

fn ips(
    pod: &ObjectName,
    listed: Option<Vec<PodIp>>,
    single: Option<String>,
    problems: &mut Vec<Problem>,
) -> Vec<IpAddr> {
    let mut texts: Vec<_> =
        listed.unwrap_or_default().into_iter().filter_map(|entry| entry.ip).collect();
    if texts.is_empty() {
        texts.extend(single);
    }
    let mut ips = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        match parse(text) {
            Parsed::Fine(ip) | Parsed::LeadingZeros(ip) => ips.push(ip),
            Parsed::Mapped(_) | Parsed::Wrong => {
                let shown = shown(text);
                problems.push(Problem::new(
                    Code::FieldUnusable,
                    Some(Key { kind: Kind::Pod, name: pod.clone() }),
                    "status.podIPs",
                    &format!("{shown:?} is not an address that can be used"),
                    "write an IPv4 or IPv6 address",
                ));
            }
        }
    }
    ips
}

/// Ports of containers, then of sidecars (init containers that go on running).
fn ports(containers: Option<Vec<Container>>, inits: Option<Vec<Container>>) -> Vec<PodPort> {
    let sidecar = |c: &Container| c.restart_policy.as_deref() == Some("Always");
    let sidecars = inits.unwrap_or_default().into_iter().filter(sidecar);
    let all = containers.unwrap_or_default().into_iter().chain(sidecars);
    let named = |port: Port| {
        Some(PodPort {
            name: port.name?,
            protocol: protocol(port.protocol.as_deref())?,
            port: u16::try_from(port.container_port?).ok().filter(|port| *port != 0)?,
        })
    };
    all.flat_map(|container| container.ports.unwrap_or_default()).filter_map(named).collect()
}
