//! ConfigMap.

use serde::Deserialize;

use super::{
    map::{AllTexts, map},
    meta::{Notes, WireMeta, shown},
};
use crate::{ConfigMap, Kind, Problem};

/// What is kept of one ConfigMap, keys and texts: more than any configuration that is read, and a part of
/// what an API server stores.
const DATA_MAX: usize = 256 << 10;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireConfigMap {
    #[serde(deserialize_with = "map")]
    metadata: WireMeta,
    data: Option<AllTexts>,
}

pub(crate) fn convert(wire: WireConfigMap) -> Result<ConfigMap, Problem> {
    let WireConfigMap { metadata, data } = wire;
    let mut notes = Notes::begin(Kind::ConfigMap, &metadata)?;
    let mut kept = Vec::new();
    let mut bytes = 0_usize;
    for (key, text) in data.unwrap_or_default() {
        let with = bytes.saturating_add(key.len()).saturating_add(text.len());
        if with > DATA_MAX {
            let why =
                format!("with it the data is larger than the {} KiB that are read", DATA_MAX >> 10);
            notes.note(&format!("data.{}", shown(&key)), &why, "move what is not needed elsewhere");
            continue;
        }
        bytes = with;
        kept.push((key.into(), text.into()));
    }
    Ok(ConfigMap { data: kept.into(), meta: notes.finish(metadata) })
}
