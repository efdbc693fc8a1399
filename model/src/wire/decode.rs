//! One object.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{map::map, service, wrong_type::explain};
use crate::{Code, Key, Kind, Object, ObjectName, Problem, Service};

/// An object that cannot be understood, and its key when at least that could be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bad {
    /// Which object.
    pub key: Option<Box<Key>>,
    /// What is wrong with it.
    pub problem: Box<Problem>,
}

/// Kind and name are read apart: a `kind` that is written twice must not hide the name.
#[derive(Deserialize, Default)]
#[serde(default)]
struct OfKind {
    #[serde(deserialize_with = "text_or_anything")]
    kind: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    #[serde(deserialize_with = "map")]
    metadata: NamedMeta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct NamedMeta {
    #[serde(deserialize_with = "text_or_anything")]
    name: Option<String>,
    #[serde(deserialize_with = "text_or_anything")]
    namespace: Option<String>,
}

/// A text, or nothing when it is something else: one wrong field must not hide the name.
fn text_or_anything<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// Kind and name of whatever object this is; `None` when it has none.
#[must_use]
pub fn identify(json: &[u8]) -> Option<(String, ObjectName)> {
    let named: Named = serde_json::from_slice(json).ok()?;
    let name = named.metadata.name.filter(|name| !name.is_empty())?;
    let namespace = named.metadata.namespace.unwrap_or_default();
    let kind = serde_json::from_slice::<OfKind>(json).ok().and_then(|of| of.kind);
    Some((kind.unwrap_or_default(), ObjectName::new(&namespace, &name)))
}

/// Reads one object of a kind.
///
/// # Errors
/// When it cannot be understood; its key is in the error if it can be read at all.
pub fn decode(kind: Kind, json: &[u8]) -> Result<Object, Bad> {
    (kind.row().decode)(json).map_err(|wrong| bad(kind, json, wrong))
}

/// Reads a Service.
pub(crate) fn decode_service(json: &[u8]) -> Result<Arc<Service>, Bad> {
    let service = read(json, service::convert);
    service.map(Arc::new).map_err(|wrong| bad(Kind::Service, json, wrong))
}

/// Reads other fields of an object.
pub(crate) fn read_as<'a, T: Deserialize<'a>>(kind: Kind, json: &'a [u8]) -> Result<T, Bad> {
    read(json, Ok::<T, Problem>).map_err(|wrong| bad(kind, json, wrong))
}

/// Why an object cannot be understood.
#[derive(Debug)]
pub(crate) enum Wrong {
    Json(serde_json::Error),
    Object(Problem),
}

/// Reads what a kind's object is on the wire, and makes of it what is kept.
pub(crate) fn read<'a, W: Deserialize<'a>, T>(
    json: &'a [u8],
    convert: impl FnOnce(W) -> Result<T, Problem>,
) -> Result<T, Wrong> {
    let mut from = serde_json::Deserializer::from_slice(json);
    let wire = map(&mut from).and_then(|wire| from.end().map(|()| wire)).map_err(Wrong::Json)?;
    convert(wire).map_err(Wrong::Object)
}

fn bad(kind: Kind, json: &[u8], wrong: Wrong) -> Bad {
    let key = identify(json).map(|(_, mut name)| {
        name.namespace = kind.complete_namespace(Some(&name.namespace)).into();
        Key { kind, name }
    });
    let problem = match wrong {
        Wrong::Object(problem) => problem,
        Wrong::Json(error) => {
            let (field, why, action) = explain(json, &error);
            Problem::new(Code::ObjectUnreadable, key.clone(), &field, &why, action)
        }
    };
    Bad { key: key.map(Box::new), problem: Box::new(problem) }
}
