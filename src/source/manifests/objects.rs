//! The documents as objects: read with the API's defaults and types, each or why it cannot be.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;
use towpath_model::{
    Bad, Key, Kind, Object, ObjectName, Problem, decode,
    synth::{Written, default_slice},
    unknown_fields,
    wire::pod::{Pod, decode_pod},
};

use super::{files::problem, kinds, names};

/// What was read.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) services: Vec<Written>,
    /// Slices that are written by hand, and objects of kinds that are kept as they are written.
    pub(super) others: Vec<Object>,
    pub(super) pods: BTreeMap<ObjectName, Pod>,
    /// Services that have slices written by hand, good or bad.
    pub(super) by_hand: BTreeSet<ObjectName>,
    /// Objects that cannot be read.
    pub(super) unread: BTreeMap<Key, Problem>,
    /// Pods that cannot be read.
    pub(super) unread_pods: BTreeMap<ObjectName, Problem>,
    pub(super) problems: Vec<Problem>,
    seen: BTreeSet<(&'static str, ObjectName)>,
}

impl Objects {
    /// Reads one document.
    pub(super) fn take(&mut self, path: &Path, document: &Value) {
        let meta = &document["metadata"];
        let name = meta["name"].as_str().unwrap_or_default();
        let of_row = Kind::of_name(document["kind"].as_str().unwrap_or_default());
        let namespaced = of_row.is_none_or(|kind| kind.row().namespaced);
        let namespace = match meta["namespace"].as_str() {
            _ if !namespaced => "",
            None | Some("") => "default",
            Some(namespace) => namespace,
        };
        let full = ObjectName::new(namespace, name);
        let called = match name {
            "" => "an object without a name".to_owned(),
            _ => names::shown(&full.to_string()),
        };
        let kind = match kinds::read_as(document, &called) {
            Ok(Some(kind)) => kind,
            Ok(None) => return,
            Err(wrong) => {
                self.problems.push(problem(path, &wrong.why, &wrong.action));
                return;
            }
        };
        // A name that is no text is none: what it would be called may be another's.
        let text = |value: &Value| value.is_null() || value.is_string();
        let named = !name.is_empty() && text(&meta["namespace"]);
        if named {
            if let Some(wrong) = names::wrong(kind, namespace, name, &called) {
                self.problems.push(problem(path, &wrong.why, &wrong.action));
                return;
            }
            if !self.seen.insert((kind, full.clone())) {
                let why =
                    format!("{kind} {full} was in an earlier file already; that one is in force");
                self.problems.push(problem(path, &why, "keep one of the two"));
                return;
            }
        }
        // A slip of the pen harms nothing else of the object, and is said.
        self.problems.extend(unknown_fields(kind, document));
        let mut document = document.clone();
        if let Some(metadata) = document["metadata"].as_object_mut() {
            if named && namespaced {
                metadata.insert("namespace".to_owned(), namespace.into());
            }
            // Of a cluster that it was copied from. Here the last that was written is the newest.
            metadata.remove("resourceVersion");
        }
        match self.read(kind, &mut document) {
            Ok(()) if kind == "Service" && has_no_ports(&document) => {
                let why = format!("Service {full} has no ports: nothing of it is served");
                self.problems.push(problem(path, &why, "give it spec.ports, or clusterIP: None"));
            }
            Ok(()) => {}
            Err(Bad { key: Some(key), problem }) if named => {
                self.unread.insert(*key, *problem);
            }
            Err(Bad { problem, .. }) if named => {
                self.unread_pods.insert(full, *problem);
            }
            Err(Bad { problem: wrong, .. }) => {
                let why = format!("{kind}: {}: {}; it has no effect", wrong.field, wrong.why);
                self.problems.push(problem(path, &why, &wrong.action));
            }
        }
    }

    fn read(&mut self, kind: &str, document: &mut Value) -> Result<(), Bad> {
        let of_kind = |kind, document: &Value| decode(kind, document.to_string().as_bytes());
        match kind {
            "Service" => {
                self.services.push(Written::read(document.to_string().as_bytes())?);
            }
            "EndpointSlice" => {
                let meta = &document["metadata"];
                let label = meta["labels"]["kubernetes.io/service-name"].as_str();
                let namespace = meta["namespace"].as_str().unwrap_or_default();
                self.by_hand.extend(label.map(|label| ObjectName::new(namespace, label)));
                default_slice(document);
                self.others.push(of_kind(Kind::EndpointSlice, document)?);
            }
            "Pod" => {
                let read = decode_pod(document.to_string().as_bytes());
                let pod = read.map_err(|wrong| Bad { key: None, problem: Box::new(wrong) })?;
                self.problems.extend(pod.problems.iter().cloned());
                self.pods.insert(pod.name.clone(), pod);
                self.others.push(of_kind(Kind::Pod, document)?);
            }
            other => {
                if let Some(kind) = Kind::of_name(other) {
                    self.others.push(of_kind(kind, document)?);
                }
            }
        }
        Ok(())
    }
}

/// An API server refuses it, but of Services that have no address of their own.
fn has_no_ports(service: &Value) -> bool {
    let spec = &service["spec"];
    let addressed = spec["type"] != "ExternalName" && spec["clusterIP"] != "None";
    let ports = spec["ports"].as_array();
    spec.is_object()
        && addressed
        && (spec["ports"].is_null() || ports.is_some_and(|ports| ports.is_empty()))
}
