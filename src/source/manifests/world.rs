//! What a cluster would say of the documents: known kinds, addresses given, slices made.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use serde_json::{Value, json};
use towpath_model::{
    Event, Key, Kind, Object, ObjectName, Problem, Stream, decode,
    service::Cidr,
    synth::{Allocations, Allocator, Written, slices},
    wire::pod::Pod,
};

use super::{ManifestSettings, files::Files, objects::Objects, state};

/// What was published.
pub(super) struct World {
    allocator: Allocator,
    /// Where allocations are kept; `None`: nowhere.
    run_dir: Option<PathBuf>,
    node_name: String,
    /// What is to be said of all this.
    wanted: BTreeSet<Stream>,
    /// Services as they were last accepted, and Pods as they could last be read.
    services: BTreeMap<ObjectName, Written>,
    pods: BTreeMap<ObjectName, Pod>,
    published: BTreeMap<Key, Object>,
    /// Objects whose newest version cannot be read.
    bad: BTreeMap<Key, Problem>,
    problems: Vec<Problem>,
}

impl World {
    pub(super) fn new(settings: &ManifestSettings) -> Self {
        let kept = state::load(&settings.run_dir);
        let allocator = Allocator::new(&settings.cluster_ip_ranges, kept);
        Self::with(allocator, &settings.node_name, Some(settings.run_dir.clone()))
    }

    /// That leaves nothing behind.
    pub(super) fn passing(cluster_ip_ranges: &[Cidr], node_name: &str) -> Self {
        Self::with(Allocator::new(cluster_ip_ranges, Allocations::default()), node_name, None)
    }

    fn with(allocator: Allocator, node_name: &str, run_dir: Option<PathBuf>) -> Self {
        Self {
            allocator,
            run_dir,
            node_name: node_name.to_owned(),
            wanted: BTreeSet::new(),
            services: BTreeMap::new(),
            pods: BTreeMap::new(),
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
        let mut read = Objects::default();
        for (path, document) in files.documents() {
            read.take(path, document);
        }
        let (mut current, mut unread) = self.accept(&mut read);
        let mut events = Vec::new();
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
        self.problems = read.problems;
        events
    }

    /// From now on these streams are said; what is different with that is in their lists.
    pub(super) fn want(&mut self, wanted: &BTreeSet<Stream>, files: &Files) {
        self.wanted.clone_from(wanted);
        self.update(files);
    }

    /// What is in force from now on, and what is wrong with objects of which it is no new version:
    /// they stay as they were last accepted, with what belongs to them, slices included.
    fn accept(&mut self, read: &mut Objects) -> (BTreeMap<Key, Object>, BTreeMap<Key, Problem>) {
        let is_service = |key: &&Key| key.kind == Kind::Service;
        let unread = read.unread.keys().filter(is_service).map(|key| key.name.clone()).collect();
        let filled = self.allocator.fill_all(&mut read.services, &unread);
        if let Some(run_dir) = &self.run_dir {
            state::save(run_dir, self.allocator.kept());
        }
        read.problems.extend(filled.problems);
        let mut unread = std::mem::take(&mut read.unread);
        read.services.retain(|written| !filled.refused.contains_key(written.name()));
        let refused = filled.refused.into_iter();
        unread.extend(refused.map(|(name, problem)| (Key { kind: Kind::Service, name }, problem)));

        let new = read.services.drain(..).map(|written| (written.name().clone(), written));
        let mut services: BTreeMap<ObjectName, Written> = new.collect();
        let bad = unread.keys().filter(is_service);
        services.extend(bad.filter_map(|key| self.services.remove_entry(&key.name)));
        self.services = services;
        for (name, wrong) in std::mem::take(&mut read.unread_pods) {
            let last = self.pods.remove_entry(&name);
            let key = Key { kind: Kind::Pod, name };
            let wrong = Problem { about: Some(key.clone()), ..wrong };
            if self.may_want(&key) {
                unread.insert(key, wrong);
            } else {
                read.problems.push(wrong.in_force(last.is_some()));
            }
            read.pods.extend(last);
        }
        self.pods = std::mem::take(&mut read.pods);

        let last = unread.keys().filter_map(|key| self.published.get_key_value(key));
        let mut current: BTreeMap<Key, Object> =
            last.map(|(key, object)| (key.clone(), object.clone())).collect();
        let services = self.services.values().map(|w| Object::Service(Arc::clone(&w.service)));
        let objects = services.chain(read.others.drain(..));
        current.extend(objects.map(|object| (object.key(), object)));
        let is_node = |key: &Key| key.kind == Kind::Node;
        let nodes = current.keys().chain(unread.keys()).any(is_node);
        let own = (!nodes).then(|| json!({ "metadata": { "name": self.node_name } }));
        // Without a Node written by hand this node exists: its addresses come from its devices.
        let own = own.map(|own| (Kind::Node, own));
        let made = self.made_slices(&read.by_hand, &current);
        let made = made.into_iter().map(|slice| (Kind::EndpointSlice, slice)).chain(own);
        for (kind, json) in made {
            match decode(kind, json.to_string().as_bytes()) {
                Ok(object) => drop(current.insert(object.key(), object)),
                Err(bad) => read.problems.push(*bad.problem),
            }
        }
        (current, unread)
    }

    /// The slice controller's part: slices of Services with a selector; a Service whose slices are
    /// written by hand gets none.
    fn made_slices(
        &self,
        by_hand: &BTreeSet<ObjectName>,
        objects: &BTreeMap<Key, Object>,
    ) -> Vec<Value> {
        let zone = |node: &str| {
            let name = ObjectName::new("", node);
            let Object::Node(node) = objects.get(&Key { kind: Kind::Node, name })? else {
                return None;
            };
            node.zone.as_deref().map(str::to_owned)
        };
        let made = self.services.values().filter(|written| !by_hand.contains(written.name()));
        made.flat_map(|written| slices(written, self.pods.values(), zone)).collect()
    }

    fn wants(&self, object: &Object) -> bool {
        self.wanted.iter().any(|stream| self.covers(stream, object))
    }

    fn may_want(&self, key: &Key) -> bool {
        self.wanted.iter().any(|stream| may_cover(stream, key))
    }

    fn covers(&self, stream: &Stream, object: &Object) -> bool {
        let here = Some(object.node() == Some(&*self.node_name));
        stream.kind == object.kind() && stream.scope.covers(object.name(), here) == Some(true)
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

fn may_cover(stream: &Stream, key: &Key) -> bool {
    stream.kind == key.kind && stream.scope.covers(&key.name, None) != Some(false)
}
