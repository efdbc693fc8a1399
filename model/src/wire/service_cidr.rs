//! ServiceCIDR.

use serde::Deserialize;

use super::{
    map::{map, map_or_null, maps_or_null},
    meta::{Notes, WireMeta, shown},
    status::{Condition, ready},
};
use crate::{Kind, Problem, ServiceCIDR, service::Cidr};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireServiceCIDR {
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
    cidrs: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "maps_or_null")]
    conditions: Option<Vec<Condition>>,
}

pub(crate) fn convert(wire: WireServiceCIDR) -> Result<ServiceCIDR, Problem> {
    let WireServiceCIDR { metadata, spec, status } = wire;
    let mut notes = Notes::begin(Kind::ServiceCIDR, &metadata)?;
    let mut cidrs = Vec::new();
    for (at, text) in spec.and_then(|spec| spec.cidrs).unwrap_or_default().iter().enumerate() {
        match Cidr::parse(text) {
            Some(cidr) => cidrs.push(cidr),
            None => {
                let why = format!("{:?} is not a block of addresses and is not used", shown(text));
                notes.note(&format!("spec.cidrs[{at}]"), &why, "write it as 10.96.0.0/16");
            }
        }
    }
    let conditions = status.and_then(|status| status.conditions).unwrap_or_default();
    Ok(ServiceCIDR {
        cidrs,
        ready: ready(&conditions).unwrap_or(true),
        going_away: metadata.deletion_timestamp.is_some(),
        meta: notes.finish(metadata),
    })
}
