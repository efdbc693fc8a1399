//! Events in, views and changes out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    Change, Changes, EndpointSlice, Event, Kind, Node, NodeFact, Object, ObjectName, Relist,
    Service, View,
};

/// The current state, indexed.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) own_node: ObjectName,
    pub(crate) services: BTreeMap<ObjectName, Arc<Service>>,
    pub(crate) slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    pub(crate) slices_by_service: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
    pub(crate) nodes: BTreeMap<ObjectName, Arc<Node>>,
    pub(crate) local_addresses: Vec<IpAddr>,
}

/// Keeps what the sources said.
#[derive(Debug)]
pub struct Store {
    tables: Tables,
    /// First-seen old versions since the last commit, per kind.
    old_services: BTreeMap<ObjectName, Option<Arc<Service>>>,
    old_slices: BTreeMap<ObjectName, Option<Arc<EndpointSlice>>>,
    old_nodes: BTreeMap<ObjectName, Option<Arc<Node>>>,
    local_changed: bool,
    /// Kinds being listed, and what was seen so far.
    listing: BTreeMap<Kind, BTreeSet<ObjectName>>,
    listed: BTreeSet<Kind>,
    was_synced: bool,
}

impl Store {
    /// For the node of this name.
    #[must_use]
    pub fn new(own_node: &str) -> Self {
        Self {
            tables: Tables {
                own_node: ObjectName::new("", own_node),
                services: BTreeMap::new(),
                slices: BTreeMap::new(),
                slices_by_service: BTreeMap::new(),
                nodes: BTreeMap::new(),
                local_addresses: Vec::new(),
            },
            old_services: BTreeMap::new(),
            old_slices: BTreeMap::new(),
            old_nodes: BTreeMap::new(),
            local_changed: false,
            listing: BTreeMap::new(),
            listed: BTreeSet::new(),
            was_synced: false,
        }
    }

    /// Takes one event. An answer asks the source of that kind to list it again.
    pub fn feed(&mut self, event: Event) -> Option<Relist> {
        match event {
            Event::Init(kind) => {
                self.listing.insert(kind, BTreeSet::new());
            }
            Event::Apply(object) => {
                let key = object.key();
                if let Some(seen) = self.listing.get_mut(&key.kind) {
                    seen.insert(key.name.clone());
                }
                self.put(object);
            }
            Event::Bad(key, _problem) => {
                if let Some(seen) = self.listing.get_mut(&key.kind) {
                    seen.insert(key.name);
                }
            }
            Event::Delete(kind, name) => self.remove(kind, &name),
            Event::InitDone(kind) => {
                if let Some(seen) = self.listing.remove(&kind) {
                    for name in self.names(kind) {
                        if !seen.contains(&name) {
                            self.remove(kind, &name);
                        }
                    }
                }
                self.listed.insert(kind);
            }
            Event::Local(NodeFact::Addresses(addresses)) => {
                self.local_changed |= self.tables.local_addresses != addresses;
                self.tables.local_addresses = addresses;
            }
        }
        None
    }

    /// Everything fed so far, and what it changed since the last commit.
    pub fn commit(&mut self) -> (View<'_>, Changes) {
        let synced = self.listed.len() == Kind::ALL.len();
        let changes = Changes {
            services: coalesce(&mut self.old_services, &self.tables.services),
            slices: coalesce(&mut self.old_slices, &self.tables.slices),
            nodes: coalesce(&mut self.old_nodes, &self.tables.nodes),
            local: std::mem::take(&mut self.local_changed),
            synced: synced && !self.was_synced,
        };
        self.was_synced = synced;
        (View { tables: &self.tables, synced }, changes)
    }

    /// The picture as of now, without taking changes.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View { tables: &self.tables, synced: self.listed.len() == Kind::ALL.len() }
    }

    fn names(&self, kind: Kind) -> Vec<ObjectName> {
        match kind {
            Kind::Service => self.tables.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.tables.slices.keys().cloned().collect(),
            Kind::Node => self.tables.nodes.keys().cloned().collect(),
        }
    }

    fn put(&mut self, object: Object) {
        let name = object.meta().name.clone();
        match object {
            Object::Service(new) => {
                let old = self.tables.services.insert(name.clone(), new);
                self.old_services.entry(name).or_insert(old);
            }
            Object::EndpointSlice(new) => {
                self.unindex(&name);
                self.tables
                    .slices_by_service
                    .entry(new.service.clone())
                    .or_default()
                    .insert(name.clone());
                let old = self.tables.slices.insert(name.clone(), new);
                self.old_slices.entry(name).or_insert(old);
            }
            Object::Node(new) => {
                let old = self.tables.nodes.insert(name.clone(), new);
                self.old_nodes.entry(name).or_insert(old);
            }
        }
    }

    fn remove(&mut self, kind: Kind, name: &ObjectName) {
        match kind {
            Kind::Service => {
                if let Some(old) = self.tables.services.remove(name) {
                    self.old_services.entry(name.clone()).or_insert(Some(old));
                }
            }
            Kind::EndpointSlice => {
                self.unindex(name);
                if let Some(old) = self.tables.slices.remove(name) {
                    self.old_slices.entry(name.clone()).or_insert(Some(old));
                }
            }
            Kind::Node => {
                if let Some(old) = self.tables.nodes.remove(name) {
                    self.old_nodes.entry(name.clone()).or_insert(Some(old));
                }
            }
        }
    }

    fn unindex(&mut self, name: &ObjectName) {
        let Some(old) = self.tables.slices.get(name) else { return };
        if let Some(names) = self.tables.slices_by_service.get_mut(&old.service) {
            names.remove(name);
            if names.is_empty() {
                self.tables.slices_by_service.remove(&old.service);
            }
        }
    }
}

fn coalesce<T: PartialEq>(
    old: &mut BTreeMap<ObjectName, Option<Arc<T>>>,
    now: &BTreeMap<ObjectName, Arc<T>>,
) -> Vec<Change<T>> {
    std::mem::take(old)
        .into_iter()
        .map(|(name, old)| {
            let new = now.get(&name).cloned();
            Change { name, old, new }
        })
        .filter(|change| change.old != change.new)
        .collect()
}
