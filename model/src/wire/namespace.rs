//! Namespace.

use serde::Deserialize;

use super::{
    map::{AllTexts, map, map_or_null},
    meta::{Notes, WireMeta},
};
use crate::{Kind, Namespace, Problem};

/// The label by which policies select a namespace by its name (KEP-2161).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireNamespace {
    #[serde(deserialize_with = "map")]
    metadata: WireMeta<AllTexts>,
    #[serde(deserialize_with = "map_or_null")]
    status: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
}

pub(crate) fn convert(wire: WireNamespace) -> Result<Namespace, Problem> {
    let WireNamespace { mut metadata, status } = wire;
    let notes = Notes::begin(Kind::Namespace, &metadata)?;
    let mut labels = metadata.labels.take().unwrap_or_default();
    labels.entry(NAME_LABEL.to_owned()).or_insert_with(|| notes.name().name.to_string());
    let phase = status.and_then(|status| status.phase);
    Ok(Namespace {
        labels: labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        terminating: metadata.deletion_timestamp.is_some()
            || phase.as_deref() == Some("Terminating"),
        meta: notes.finish(metadata),
    })
}
