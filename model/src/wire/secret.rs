//! Secret. What it holds appears in no message: not even where it cannot be read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    map::{map, map_or_null},
    meta::{Notes, WireMeta},
};
use crate::{Kind, Problem, Secret};

/// A chain of certificates, and a key, are a few KiB; an API server stores 1 MiB at most.
const BYTES_MAX: usize = 256 << 10;

// Without `Debug`: no message can show a key.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WireSecret {
    #[serde(deserialize_with = "map")]
    metadata: WireMeta,
    /// Read in a second step: the decoder's complaint about a wrong type repeats what it found.
    data: Option<Box<RawValue>>,
    /// Written by people; an API server moves it into `data`.
    string_data: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pair {
    #[serde(rename = "tls.crt")]
    certificate: Option<String>,
    #[serde(rename = "tls.key")]
    key: Option<String>,
    #[serde(rename = "ca.crt")]
    authority: Option<String>,
}

pub(crate) fn convert(wire: WireSecret) -> Result<Secret, Problem> {
    let WireSecret { metadata, data, string_data } = wire;
    let mut notes = Notes::begin(Kind::Secret, &metadata)?;
    let data = pair(data.as_deref(), "data", &mut notes);
    let text = pair(string_data.as_deref(), "stringData", &mut notes);
    let mut entry = |name: &str, data: Option<String>, text: Option<String>| {
        let bytes = match (text, data) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(data)) => STANDARD.decode(data.as_bytes()).unwrap_or_else(|_error| {
                notes.note(&format!("data[{name}]"), "it is not base64", "encode it again");
                Vec::new()
            }),
            (None, None) => Vec::new(),
        };
        if bytes.len() <= BYTES_MAX {
            return bytes;
        }
        let why = format!("larger than the {} KiB that are read", BYTES_MAX >> 10);
        notes.note(&format!("data[{name}]"), &why, "keep the chain and nothing else in it");
        Vec::new()
    };
    let certificate = entry("tls.crt", data.certificate, text.certificate);
    let key = entry("tls.key", data.key, text.key);
    let authority = entry("ca.crt", data.authority, text.authority);
    Ok(Secret {
        certificate: certificate.into(),
        key: key.into(),
        authority: authority.into(),
        meta: notes.finish(metadata),
    })
}

fn pair(json: Option<&RawValue>, field: &str, notes: &mut Notes) -> Pair {
    let Some(json) = json else { return Pair::default() };
    // A list is no map, although serde reads a struct from one.
    let read = map_or_null::<_, Pair>(&mut serde_json::Deserializer::from_str(json.get()));
    match read {
        Ok(pair) => pair.unwrap_or_default(),
        Err(_error) => {
            notes.note(field, "it does not map names to texts", "write the Secret anew");
            Pair::default()
        }
    }
}
