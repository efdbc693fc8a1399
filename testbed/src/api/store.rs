//! Objects, versions, and what happened lately.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use towpath_model::{Kind, ROWS, Row};

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

/// What is known about a resource, such as `pods`.
pub(super) fn row(resource: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.plural == resource)
}

impl Objects {
    pub(crate) fn new() -> Self {
        let inner = Inner { version: 1, ..Inner::default() };
        Self { inner: Mutex::new(inner), latest: watch::Sender::new(1) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, mut object: Value) -> Result<()> {
        let kind = object["kind"].as_str().context("an object without a kind")?;
        let Some(kind) = Kind::of_name(kind) else { bail!("{kind} is not kept here") };
        let resource = kind.row().plural;
        object["apiVersion"] = kind.row().api_version.into();
        let name = object["metadata"]["name"].as_str().context("an object without a name")?;
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let key = format!("{namespace}/{name}");
        let mut inner = self.lock();
        inner.version += 1;
        let version = inner.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        let json = Bytes::from(serde_json::to_vec(&object)?);
        let known = inner.objects.entry(resource).or_default().insert(key.clone(), json.clone());
        let what = if known.is_some() { "MODIFIED" } else { "ADDED" };
        inner.happened(Happening { version, resource, what, key, json });
        drop(inner);
        self.latest.send_replace(version);
        Ok(())
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

impl Inner {
    fn happened(&mut self, happening: Happening) {
        if self.log.len() == LOG
            && let Some(forgotten) = self.log.pop_front()
        {
            self.oldest = forgotten.version;
        }
        self.log.push_back(happening);
    }
}
