//! Objects, versions, and what happened lately.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use towpath_model::ROWS;

/// Happenings that a watch can go on from.
const LOG: usize = 50_000;

/// What happened to an object.
#[derive(Clone, Debug)]
pub(super) struct Happening {
    pub(super) version: u64,
    pub(super) resource: &'static str,
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub(super) what: &'static str,
    /// `namespace/name`.
    pub(super) key: String,
    pub(super) json: Bytes,
}

#[derive(Debug, Default)]
struct Inner {
    version: u64,
    /// By resource, then `namespace/name`. The JSON is kept as it is sent.
    objects: BTreeMap<&'static str, BTreeMap<String, Bytes>>,
    log: VecDeque<Happening>,
    /// Happenings before this version are forgotten.
    oldest: u64,
}

/// Everything there is.
#[derive(Debug)]
pub(crate) struct Objects {
    inner: Mutex<Inner>,
    latest: watch::Sender<u64>,
}

/// A kind that is kept here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource {
    pub(super) kind: &'static str,
    /// As in paths, such as `pods`.
    pub(super) plural: &'static str,
    pub(super) api_version: &'static str,
}

/// What daemons write and never watch.
const WRITTEN: [Resource; 1] =
    [Resource { kind: "Lease", plural: "leases", api_version: "coordination.k8s.io/v1" }];

fn resources() -> impl Iterator<Item = Resource> {
    let watched = ROWS.iter().map(|row| Resource {
        kind: row.name,
        plural: row.plural,
        api_version: row.api_version,
    });
    watched.chain(WRITTEN)
}

/// What is known about a resource, such as `pods`.
pub(super) fn resource(plural: &str) -> Option<Resource> {
    resources().find(|resource| resource.plural == plural)
}

/// Why an object was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("{0}")]
    Bad(String),
    #[error("not found")]
    Absent,
    #[error("already exists")]
    Exists,
    #[error("the object has been modified; please apply your changes to the latest version")]
    Modified,
}

/// What a write may meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meets {
    /// Whatever there is: as a test puts things.
    Anything,
    /// Nothing: POST.
    Nothing,
    /// The version that the object names, if it names one: PUT.
    Version,
}

impl Objects {
    pub(crate) fn new() -> Self {
        let inner = Inner { version: 1, ..Inner::default() };
        Self { inner: Mutex::new(inner), latest: watch::Sender::new(1) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, object: Value) -> Result<()> {
        Ok(self.write(object, Meets::Anything).map(drop)?)
    }

    /// Keeps an object, and answers it as it is kept.
    pub(super) fn write(&self, mut object: Value, meets: Meets) -> Result<Bytes, Refusal> {
        let bad = |why: &str| Refusal::Bad(why.to_owned());
        let kind = object["kind"].as_str().ok_or_else(|| bad("an object without a kind"))?;
        let known = resources().find(|resource| resource.kind == kind);
        let Some(Resource { plural, api_version, .. }) = known else {
            return Err(Refusal::Bad(format!("{kind} is not kept here")));
        };
        object["apiVersion"] = api_version.into();
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().ok_or_else(|| bad("an object without a name"))?;
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        let key = format!("{namespace}/{name}");
        let mut inner = self.lock();
        let kept = inner.object(plural, &key);
        match (meets, &kept, metadata["resourceVersion"].as_str()) {
            (Meets::Nothing, Some(_), _) => return Err(Refusal::Exists),
            (Meets::Version, None, Some(_)) => return Err(Refusal::Absent),
            (Meets::Version, Some(kept), Some(version)) if !is_at(kept, version) => {
                return Err(Refusal::Modified);
            }
            _ => {}
        }
        // `status` is a subresource of its own: a write of the rest leaves it alone.
        if plural == "ingresses"
            && object["status"].is_null()
            && let Some(mut kept) = kept
            && !kept["status"].is_null()
        {
            object["status"] = kept["status"].take();
        }
        let (json, version) = inner.keep(plural, key, object)?;
        drop(inner);
        self.latest.send_replace(version);
        Ok(json)
    }

    /// Merges a patch into an object's status, and into nothing else (RFC 7386).
    pub(super) fn patch_status(
        &self,
        plural: &str,
        key: String,
        patch: &Value,
    ) -> Result<Bytes, Refusal> {
        let resource = resource(plural).ok_or(Refusal::Absent)?;
        let mut inner = self.lock();
        let mut object = inner.object(resource.plural, &key).ok_or(Refusal::Absent)?;
        if let Some(version) = patch["metadata"]["resourceVersion"].as_str()
            && !is_at(&object, version)
        {
            return Err(Refusal::Modified);
        }
        let before = object["status"].clone();
        merge(&mut object["status"], &patch["status"]);
        if object["status"] == before {
            // As the API server: what changes nothing is no new version.
            return serde_json::to_vec(&object).map(Bytes::from).map_err(unwritable);
        }
        let (json, version) = inner.keep(resource.plural, key, object)?;
        drop(inner);
        self.latest.send_replace(version);
        Ok(json)
    }

    pub(crate) fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let key = format!("{namespace}/{name}");
        let mut inner = self.lock();
        let found = inner.objects.iter_mut().find(|(known, _)| **known == resource);
        let Some((resource, json)) = found.and_then(|(r, all)| Some((*r, all.remove(&key)?)))
        else {
            return;
        };
        inner.version += 1;
        let version = inner.version;
        inner.happened(Happening { version, resource, what: "DELETED", key, json });
        drop(inner);
        self.latest.send_replace(version);
    }

    pub(crate) fn expire(&self) {
        let mut inner = self.lock();
        inner.log.clear();
        inner.version += 1;
        inner.oldest = inner.version;
    }

    /// Everything of a resource, and the version that this is.
    pub(super) fn list(&self, resource: &str) -> (Vec<(String, Bytes)>, u64) {
        let inner = self.lock();
        let all = inner.objects.get(resource).into_iter().flatten();
        (all.map(|(key, json)| (key.clone(), json.clone())).collect(), inner.version)
    }

    pub(super) fn get(&self, resource: &str, key: &str) -> Option<Value> {
        self.lock().object(resource, key)
    }

    /// What happened to a resource after `version`; `None`: that is forgotten.
    pub(super) fn since(&self, resource: &str, version: u64) -> Option<(Vec<Happening>, u64)> {
        let inner = self.lock();
        if version < inner.oldest {
            return None;
        }
        let first = inner.log.partition_point(|happening| happening.version <= version);
        let news = inner.log.iter().skip(first).filter(|h| h.resource == resource);
        Some((news.cloned().collect(), inner.version))
    }

    /// Tells of new versions.
    pub(super) fn latest(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }
}

fn is_at(object: &Value, version: &str) -> bool {
    object["metadata"]["resourceVersion"].as_str() == Some(version)
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn unwritable(error: serde_json::Error) -> Refusal {
    Refusal::Bad(error.to_string())
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    for (name, value) in patch {
        if value.is_null() {
            if let Some(fields) = into.as_object_mut() {
                fields.remove(name);
            }
        } else {
            merge(&mut into[name], value);
        }
    }
}

impl Inner {
    fn object(&self, plural: &str, key: &str) -> Option<Value> {
        serde_json::from_slice(self.objects.get(plural)?.get(key)?).ok()
    }

    /// Keeps an object as the next version, and says so to who watches.
    fn keep(
        &mut self,
        resource: &'static str,
        key: String,
        mut object: Value,
    ) -> Result<(Bytes, u64), Refusal> {
        let version = self.version + 1;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let json = Bytes::from(serde_json::to_vec(&object).map_err(unwritable)?);
        self.version = version;
        let known = self.objects.entry(resource).or_default().insert(key.clone(), json.clone());
        let what = if known.is_some() { "MODIFIED" } else { "ADDED" };
        self.happened(Happening { version, resource, what, key, json: json.clone() });
        Ok((json, version))
    }

    fn happened(&mut self, happening: Happening) {
        if self.log.len() == LOG
            && let Some(forgotten) = self.log.pop_front()
        {
            self.oldest = forgotten.version;
        }
        self.log.push_back(happening);
    }
}
