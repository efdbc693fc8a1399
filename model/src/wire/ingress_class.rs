//! IngressClass.

use serde::Deserialize;

use super::{
    map::{map, map_or_null},
    meta::{Notes, WireMeta},
};
use crate::{IngressClass, Kind, Problem};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireIngressClass {
    #[serde(deserialize_with = "map")]
    metadata: WireMeta,
    #[serde(deserialize_with = "map_or_null")]
    spec: Option<Spec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    controller: Option<Box<str>>,
}

pub(crate) fn convert(wire: WireIngressClass) -> Result<IngressClass, Problem> {
    let WireIngressClass { metadata, spec } = wire;
    let notes = Notes::begin(Kind::IngressClass, &metadata)?;
    let default = metadata.annotation("ingressclass.kubernetes.io/is-default-class");
    Ok(IngressClass {
        controller: spec.and_then(|spec| spec.controller).unwrap_or_default(),
        is_default: default == Some("true"),
        meta: notes.finish(metadata),
    })
}
