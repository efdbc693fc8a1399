//! Node.

use std::net::IpAddr;

use serde::Deserialize;

use super::{
    map::{map, map_or_null, maps_or_null},
    meta::{Notes, WireMeta},
    status::{Condition, ready},
};
use crate::{Kind, Node, Problem};

/// Far more addresses than a Node has: each is one on which every nodePort answers.
const ADDRESSES_MAX: usize = 64;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireNode {
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
    #[serde(deserialize_with = "maps_or_null")]
    conditions: Option<Vec<Condition>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    r#type: Option<String>,
    address: Option<String>,
}

pub(crate) fn convert(wire: WireNode) -> Result<Node, Problem> {
    let WireNode { metadata, spec, status } = wire;
    let mut notes = Notes::begin(Kind::Node, &metadata)?;
    let Status { addresses: wire, conditions } = status.unwrap_or_default();
    let (addresses, external) = addresses(wire, &mut notes);
    let taints = spec.and_then(|spec| spec.taints).unwrap_or_default();
    let doomed = |taint: &Taint| taint.key.as_deref() == Some("ToBeDeletedByClusterAutoscaler");
    let zone = metadata.label("topology.kubernetes.io/zone").filter(|zone| !zone.is_empty());
    Ok(Node {
        zone: zone.map(Into::into),
        addresses,
        external,
        ready: ready(&conditions.unwrap_or_default()) == Some(true),
        going_away: metadata.deletion_timestamp.is_some() || taints.iter().any(doomed),
        meta: notes.finish(metadata),
    })
}

/// All of them, and the external ones.
fn addresses(wire: Option<Vec<Address>>, notes: &mut Notes) -> (Vec<IpAddr>, Box<[IpAddr]>) {
    let is_ip =
        |address: &Address| matches!(address.r#type.as_deref(), Some("InternalIP" | "ExternalIP"));
    let wire = wire.unwrap_or_default();
    let all: Vec<&Address> = wire.iter().filter(|address| is_ip(address)).collect();
    if all.len() > ADDRESSES_MAX {
        let why = format!("{} addresses; only the first {ADDRESSES_MAX} are used", all.len());
        notes.note("status.addresses", &why, "see what writes the addresses of this Node");
    }
    let (mut addresses, mut external) = (Vec::new(), Vec::new());
    for address in all.into_iter().take(ADDRESSES_MAX) {
        let text = address.address.as_deref().unwrap_or_default();
        let Some(ip) = notes.destination("status.addresses", text) else { continue };
        if address.r#type.as_deref() == Some("ExternalIP") && !external.contains(&ip) {
            external.push(ip);
        }
        if !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    (addresses, external.into())
}
