//! Node.

use serde::Deserialize;

use super::{
    map::{map, map_or_null, maps_or_null},
    meta::{Notes, WireMeta},
};
use crate::{Kind, Node, Problem};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireNode {
    #[serde(deserialize_with = "map")]
    metadata: WireMeta,
    #[serde(deserialize_with = "map_or_null")]
    spec: Option<Spec>,
    #[serde(deserialize_with = "map_or_null")]
    status: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "maps_or_null")]
    taints: Option<Vec<Taint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Taint {
    key: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "maps_or_null")]
    addresses: Option<Vec<Address>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    r#type: Option<String>,
    address: Option<String>,
}

pub(super) fn convert(wire: WireNode) -> Result<Node, Problem> {
    let WireNode { metadata, spec, status } = wire;
    let mut notes = Notes::begin(Kind::Node, &metadata)?;
    let mut addresses = Vec::new();
    for address in status.and_then(|status| status.addresses).unwrap_or_default() {
        if !matches!(address.r#type.as_deref(), Some("InternalIP" | "ExternalIP")) {
            continue;
        }
        let text = address.address.unwrap_or_default();
        let ip = notes.address("status.addresses", &text);
        addresses.extend(ip.filter(|ip| !addresses.contains(ip)));
    }
    let taints = spec.and_then(|spec| spec.taints).unwrap_or_default();
    let doomed = |taint: &Taint| taint.key.as_deref() == Some("ToBeDeletedByClusterAutoscaler");
    let zone = metadata.label("topology.kubernetes.io/zone").filter(|zone| !zone.is_empty());
    Ok(Node {
        zone: zone.map(Into::into),
        addresses,
        going_away: metadata.deletion_timestamp.is_some() || taints.iter().any(doomed),
        meta: notes.finish(metadata),
    })
}
