//! Ingress.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{
    map::{Texts, map, map_or_null, maps_or_null},
    meta::{Notes, WireMeta, shown},
    status::LoadBalancer,
};
use crate::{
    Ingress, Kind, Problem,
    ingress::{ANNOTATION_PREFIX, Backend, BackendPort, Path, PathType, Published, Rule, Tls},
};

/// Rules, their paths and hosts of one Ingress: far more than people write, and together less than a
/// request of the API server may hold.
const ENTRIES_MAX: usize = 20_000;
/// As much as the API server lets all annotations of an object have together: one that was cut would say something
/// else than what was written.
const ANNOTATION_MAX: usize = 256 << 10;
/// Of what other programs publish; one entry more than is ever wanted tells the two apart.
const PUBLISHED_MAX: usize = 1_000;
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireIngress {
    #[serde(deserialize_with = "map")]
    metadata: WireMeta<Texts, Annotations>,
    #[serde(deserialize_with = "map_or_null")]
    spec: Option<Spec>,
    #[serde(deserialize_with = "map_or_null")]
    status: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "map_or_null")]
    load_balancer: Option<LoadBalancer<WirePublished>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WirePublished {
    hostname: Option<Box<str>>,
    ip: Option<Box<str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    ingress_class_name: Option<Box<str>>,
    #[serde(deserialize_with = "map_or_null")]
    default_backend: Option<WireBackend>,
    #[serde(deserialize_with = "maps_or_null")]
    rules: Option<Vec<WireRule>>,
    #[serde(deserialize_with = "maps_or_null")]
    tls: Option<Vec<WireTls>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireRule {
    host: Option<Box<str>>,
    #[serde(deserialize_with = "map_or_null")]
    http: Option<Http>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Http {
    #[serde(deserialize_with = "maps_or_null")]
    paths: Option<Vec<WirePath>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WirePath {
    path: Option<Box<str>>,
    path_type: Option<String>,
    #[serde(deserialize_with = "map_or_null")]
    backend: Option<WireBackend>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireBackend {
    #[serde(deserialize_with = "map_or_null")]
    service: Option<WireService>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireService {
    name: Option<Box<str>>,
    #[serde(deserialize_with = "map_or_null")]
    port: Option<WirePort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WirePort {
    name: Option<Box<str>>,
    number: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireTls {
    hosts: Option<Vec<Box<str>>>,
    secret_name: Option<Box<str>>,
}

/// The annotations of Ingress controllers; what other tools noted is skipped.
#[derive(Debug, Default)]
struct Annotations {
    class: Option<Box<str>>,
    others: Vec<(Box<str>, Box<str>)>,
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Only;
        impl<'de> Visitor<'de> for Only {
            type Value = Annotations;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut found = Annotations::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name == CLASS_ANNOTATION {
                        found.class = Some(map.next_value()?);
                    } else if let Some(name) = name.strip_prefix(ANNOTATION_PREFIX) {
                        let value: String = map.next_value()?;
                        let end = value.floor_char_boundary(ANNOTATION_MAX);
                        let kept = value.get(..end).unwrap_or_default();
                        found.others.push((name.into(), kept.into()));
                    } else {
                        let IgnoredAny = map.next_value()?;
                    }
                }
                Ok(found)
            }
        }
        from.deserialize_map(Only)
    }
}

pub(crate) fn convert(wire: WireIngress) -> Result<Ingress, Problem> {
    let WireIngress { mut metadata, spec, status } = wire;
    let mut notes = Notes::begin(Kind::Ingress, &metadata)?;
    let spec = spec.unwrap_or_default();
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    // Of a name that is written twice, the last one counts, as in every JSON reader.
    annotations.others.reverse();
    annotations.others.sort_by(|(one, _), (other, _)| one.cmp(other));
    annotations.others.dedup_by(|(one, _), (other, _)| one == other);
    let default_backend =
        spec.default_backend.map(|wire| backend(Some(wire), "spec.defaultBackend", &mut notes));
    let mut room = ENTRIES_MAX;
    let rules = rules(spec.rules.unwrap_or_default(), &mut room, &mut notes);
    let tls = tls(spec.tls.unwrap_or_default(), &mut room, &mut notes);
    Ok(Ingress {
        class: spec.ingress_class_name.filter(|name| !name.is_empty()),
        class_annotation: annotations.class,
        annotations: annotations.others.into(),
        default_backend,
        rules,
        tls,
        published: published(status),
        meta: notes.finish(metadata),
    })
}

fn published(status: Option<Status>) -> Box<[Published]> {
    let wire = status.and_then(|it| it.load_balancer).and_then(|it| it.ingress);
    let entry = |it: WirePublished| Published {
        hostname: it.hostname.unwrap_or_default(),
        ip: it.ip.unwrap_or_default(),
    };
    let mut all: Vec<_> = wire.into_iter().flatten().take(PUBLISHED_MAX).map(entry).collect();
    all.sort();
    all.into()
}

fn rules(wire: Vec<WireRule>, room: &mut usize, notes: &mut Notes) -> Box<[Rule]> {
    let mut rules = Vec::with_capacity(wire.len().min(ENTRIES_MAX));
    for (at, rule) in wire.into_iter().enumerate() {
        let paths = rule.http.and_then(|http| http.paths).unwrap_or_default();
        if !takes(room, paths.len(), &format!("spec.rules[{at}]"), notes) {
            break;
        }
        let mut kept = Vec::with_capacity(paths.len());
        for (number, path) in paths.into_iter().enumerate() {
            let field = |name: &str| format!("spec.rules[{at}].http.paths[{number}].{name}");
            let path_type = path_type(path.path_type.as_deref(), &field, notes);
            // Left out, requests would fall to a wider path, and past a restriction of this one.
            let (path_type, backend) = match path_type {
                Some(known) => (known, backend(path.backend, &field("backend"), notes)),
                None => (PathType::Prefix, Backend::Other),
            };
            kept.push(Path { path: path.path.unwrap_or_default(), path_type, backend });
        }
        rules.push(Rule { host: rule.host.unwrap_or_default(), paths: kept.into() });
    }
    rules.into()
}

/// The API wants it; manifests may lack it, and are read as the API's default of old.
fn path_type(
    text: Option<&str>,
    field: &impl Fn(&str) -> String,
    notes: &mut Notes,
) -> Option<PathType> {
    match text {
        Some("Exact") => Some(PathType::Exact),
        Some("Prefix") => Some(PathType::Prefix),
        Some("ImplementationSpecific") => Some(PathType::ImplementationSpecific),
        None | Some("") => {
            let action = "write Exact or Prefix: an API server refuses the Ingress without it";
            let why = "absent; it is served as ImplementationSpecific";
            notes.note(&field("pathType"), why, action);
            Some(PathType::ImplementationSpecific)
        }
        Some(other) => {
            let why = format!(
                "unknown type {:?}: requests of the path, and below it, are answered with 503",
                shown(other)
            );
            notes.note(&field("pathType"), &why, "use Exact, Prefix or ImplementationSpecific");
            None
        }
    }
}

fn backend(wire: Option<WireBackend>, field: &str, notes: &mut Notes) -> Backend {
    let Some(service) = wire.and_then(|wire| wire.service) else {
        let why = "it names no Service: requests are answered with 503";
        notes.note(field, why, "name a Service and a port of it");
        return Backend::Other;
    };
    let Some(name) = service.name.filter(|name| !name.is_empty()) else {
        let why = "without a name: requests are answered with 503";
        notes.note(&format!("{field}.service.name"), why, "name a Service");
        return Backend::Other;
    };
    let port = service.port.unwrap_or_default();
    let port = match (port.name.filter(|name| !name.is_empty()), port.number) {
        (Some(name), _) => Some(BackendPort::Name(name)),
        (None, number) => notes
            .port(&format!("{field}.service.port.number"), number.unwrap_or(0))
            .map(BackendPort::Number),
    };
    port.map_or(Backend::Other, |port| Backend::Service { name, port })
}

fn tls(wire: Vec<WireTls>, room: &mut usize, notes: &mut Notes) -> Box<[Tls]> {
    let mut all = Vec::with_capacity(wire.len().min(ENTRIES_MAX));
    for (at, entry) in wire.into_iter().enumerate() {
        let hosts = entry.hosts.unwrap_or_default();
        if !takes(room, hosts.len(), &format!("spec.tls[{at}]"), notes) {
            break;
        }
        let secret = entry.secret_name.filter(|name| !name.is_empty());
        all.push(Tls { hosts: hosts.into(), secret });
    }
    all.into()
}

/// Is there room for an entry with so many in it?
fn takes(room: &mut usize, entries: usize, field: &str, notes: &mut Notes) -> bool {
    let left = room.checked_sub(entries.saturating_add(1));
    if left.is_none() {
        let why =
            format!("more than {ENTRIES_MAX} rules, paths and hosts; from here on none is read");
        notes.note(field, &why, "split the Ingress into several");
    }
    *room = left.unwrap_or(0);
    left.is_some()
}
