//! What a cluster would say of the documents: known kinds, addresses given, slices made.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use towpath_model::{
    Event, Key, Kind, Object, ObjectName, Problem, Stream, decode,
    synth::{Allocator, slices},
    unknown_fields,
    wire::pod::{Pod, decode_pod},
};

use super::{
    ManifestSettings,
    files::{Files, problem},
    kinds, names, state,
};

/// What was published.
pub(super) struct World {
    allocator: Allocator,
    run_dir: PathBuf,
    node_name: String,
    /// What is to be said of all this.
    wanted: BTreeSet<Stream>,
    published: BTreeMap<Key, Object>,
    /// Objects whose newest version cannot be read.
    bad: BTreeMap<Key, Problem>,
    problems: Vec<Problem>,
}

/// The documents by kind.
#[derive(Default)]
struct Sorted {
    services: Vec<Value>,
    slices: Vec<Value>,
    nodes: Vec<Value>,
    pods: Vec<Pod>,
    /// Of kinds that are said as they are written.
    others: Vec<(Kind, Value)>,
    seen: BTreeSet<(String, String)>,
}

impl World {
    pub(super) fn new(settings: &ManifestSettings) -> Self {
        let kept = state::load(&settings.run_dir);
        Self {
            allocator: Allocator::new(&settings.cluster_ip_ranges, kept),
            run_dir: settings.run_dir.clone(),
            node_name: settings.node_name.clone(),
            wanted: BTreeSet::new(),
            published: BTreeMap::new(),
            bad: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    /// How many objects of each kind are published.
    pub(super) fn counts(&self) -> BTreeMap<Kind, usize> {
        let mut counts = BTreeMap::new();
        for key in self.published.keys() {
            *counts.entry(key.kind).or_insert(0) += 1;
        }
        counts
    }

    /// Makes the files' world the current one; answers what is different.
    pub(super) fn update(&mut self, files: &Files) -> Vec<Event> {
        let mut problems = Vec::new();
        let mut sorted = Sorted::default();
        for (path, document) in files.documents() {
            sorted.take(path, document, &mut problems);
        }
        let filled = self.allocator.fill_all(&mut sorted.services);
        problems.extend(filled.problems);
        state::save(&self.run_dir, self.allocator.kept());
        if sorted.nodes.is_empty() {
            // This node exists: its addresses come from its devices.
            sorted.nodes.push(json!({ "metadata": { "name": self.node_name } }));
        }
        let made = made_slices(&sorted);
        let mut events = Vec::new();
        let mut current = BTreeMap::new();
        let mut unread = BTreeMap::new();
        let services = sorted.services.iter().map(|json| (Kind::Service, json));
        let written = sorted.slices.iter().chain(&made).map(|json| (Kind::EndpointSlice, json));
        let nodes = sorted.nodes.iter().map(|json| (Kind::Node, json));
        let others = sorted.others.iter().map(|(kind, json)| (*kind, json));
        for (kind, json) in services.chain(written).chain(nodes).chain(others) {
            let read = decode(kind, json.to_string().as_bytes());
            let read = read.map_err(|bad| (bad.key, bad.problem)).and_then(|object| {
                let key = object.key();
                match filled.refused.get(&key.name).filter(|_| kind == Kind::Service) {
                    Some(refused) => Err((Some(Box::new(key)), Box::new(refused.clone()))),
                    None => Ok(object),
                }
            });
            match read {
                Ok(object) => {
                    current.insert(object.key(), object);
                }
                Err((key, problem)) => {
                    let Some(key) = key else {
                        problems.push(*problem);
                        continue;
                    };
                    // Its last good version stays in force.
                    if let Some(last) = self.published.get(&key) {
                        current.insert((*key).clone(), last.clone());
                    }
                    unread.insert(*key, *problem);
                }
            }
        }
        current.retain(|_, object| self.wants(object));
        unread.retain(|key, _| self.may_want(key));
        for key in self.published.keys().filter(|key| !current.contains_key(key)) {
            events.push(Event::Delete(key.kind, key.name.clone()));
        }
        // Also what is again as it was published: the store still has the problem of what was between.
        let mended = |key: &Key| self.bad.contains_key(key) && !unread.contains_key(key);
        let differs = |(key, object): &(&Key, &Object)| {
            self.published.get(key) != Some(object) || mended(key)
        };
        events.extend(current.iter().filter(differs).map(|(_, o)| Event::Apply(o.clone())));
        let news = unread.iter().filter(|(key, problem)| self.bad.get(*key) != Some(*problem));
        events.extend(news.map(|(key, problem)| Event::Bad(key.clone(), problem.clone())));
        // Gone, without ever having been good: its problem goes with it.
        let gone = |key: &&Key| !unread.contains_key(*key) && !current.contains_key(*key);
        let ended = self.bad.keys().filter(gone).filter(|key| !self.published.contains_key(*key));
        events.extend(ended.map(|key| Event::Delete(key.kind, key.name.clone())));
        self.published = current;
        self.bad = unread;
        self.problems = problems;
        events
    }

    /// From now on these streams are said; what is different with that is in their lists.
    pub(super) fn want(&mut self, wanted: &BTreeSet<Stream>, files: &Files) {
        self.wanted.clone_from(wanted);
        self.update(files);
    }

    fn wants(&self, object: &Object) -> bool {
        self.wanted.iter().any(|stream| self.covers(stream, object))
    }

    fn may_want(&self, key: &Key) -> bool {
        self.wanted.iter().any(|stream| may_cover(stream, key))
    }

    fn covers(&self, stream: &Stream, object: &Object) -> bool {
        let here = Some(object.node() == Some(&*self.node_name));
        stream.kind == object.kind() && stream.scope.covers(&object.meta().name, here) == Some(true)
    }

    /// Every stream of a kind that is wanted, as full lists.
    pub(super) fn lists_of(&self, kind: Kind) -> Vec<Event> {
        let of_kind = self.wanted.iter().filter(|stream| stream.kind == kind);
        of_kind.flat_map(|stream| self.list(stream)).collect()
    }

    /// One stream, as a full list.
    pub(super) fn list(&self, stream: &Stream) -> Vec<Event> {
        let objects = self.published.values().filter(|object| self.covers(stream, object));
        let mut events = vec![Event::Init(stream.clone())];
        events.extend(objects.map(|object| Event::Apply(object.clone())));
        let bad = self.bad.iter().filter(|(key, _)| may_cover(stream, key));
        events.extend(bad.map(|(key, problem)| Event::Bad(key.clone(), problem.clone())));
        events.push(Event::InitDone(stream.clone()));
        events
    }
}

impl Sorted {
    fn take(&mut self, path: &Path, document: &Value, problems: &mut Vec<Problem>) {
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        let kind = Kind::of_name(document["kind"].as_str().unwrap_or_default());
        let namespaced = kind.is_none_or(|kind| kind.row().namespaced);
        let namespace = match document["metadata"]["namespace"].as_str() {
            _ if !namespaced => "",
            None | Some("") => "default",
            Some(namespace) => namespace,
        };
        let full = ObjectName::new(namespace, name).to_string();
        let called = match &*full {
            _ if name.is_empty() => "an object without a name".to_owned(),
            full => names::shown(full),
        };
        let kind = match kinds::read_as(document, &called) {
            Ok(Some(kind)) => kind,
            Ok(None) => return,
            Err(wrong) => {
                problems.push(problem(path, &wrong.why, &wrong.action));
                return;
            }
        };
        if let Some(wrong) = names::wrong(kind, namespace, name, &called) {
            problems.push(problem(path, &wrong.why, &wrong.action));
            return;
        }
        if !self.seen.insert((kind.to_owned(), full.clone())) {
            let why = format!("{kind} {full} was in an earlier file already; that one is in force");
            problems.push(problem(path, &why, "keep one of the two"));
            return;
        }
        // A slip of the pen harms nothing else of the object, and is said.
        problems.extend(unknown_fields(kind, document));
        let mut document = document.clone();
        if let Some(metadata) = document["metadata"].as_object_mut() {
            if namespaced {
                metadata.insert("namespace".to_owned(), namespace.into());
            }
            // Of a cluster that it was copied from. Here the last that was written is the newest.
            metadata.remove("resourceVersion");
        }
        match kind {
            "Service" => {
                if has_no_ports(&document) {
                    let why = format!("Service {full} has no ports: nothing of it is served");
                    problems.push(problem(path, &why, "give it spec.ports, or clusterIP: None"));
                }
                self.services.push(document);
            }
            "EndpointSlice" => self.slices.push(document),
            "Node" => self.nodes.push(document),
            "Pod" => match decode_pod(document.to_string().as_bytes()) {
                Ok(pod) => {
                    problems.extend(pod.problems.iter().cloned());
                    self.pods.push(pod);
                }
                Err(wrong) => {
                    let why = format!("Pod {full}: {}", wrong.why);
                    problems.push(problem(path, &why, &wrong.action));
                }
            },
            other => self.others.extend(Kind::of_name(other).map(|kind| (kind, document))),
        }
    }
}

fn may_cover(stream: &Stream, key: &Key) -> bool {
    stream.kind == key.kind && stream.scope.covers(&key.name, None) != Some(false)
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

/// Slices of Services with a selector; a Service whose slices are written by hand gets none.
fn made_slices(sorted: &Sorted) -> Vec<Value> {
    let owner = |slice: &Value| {
        let label = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str()?;
        Some(format!("{}/{label}", slice["metadata"]["namespace"].as_str()?))
    };
    let by_hand: BTreeSet<String> = sorted.slices.iter().filter_map(owner).collect();
    let zone = |node: &str| {
        let found = sorted.nodes.iter().find(|n| n["metadata"]["name"] == node)?;
        Some(found["metadata"]["labels"]["topology.kubernetes.io/zone"].as_str()?.to_owned())
    };
    let mut made = Vec::new();
    for service in &sorted.services {
        let metadata = &service["metadata"];
        let name = |field: &str| metadata[field].as_str().unwrap_or_default();
        if by_hand.contains(&format!("{}/{}", name("namespace"), name("name"))) {
            continue;
        }
        match slices(service, &sorted.pods, zone) {
            Ok(slices) => made.extend(slices),
            // The Service itself cannot be read: that is said when it is decoded.
            Err(unread) => drop(unread),
        }
    }
    made
}
