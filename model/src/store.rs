//! Events in, views and changes out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    Change, Changes, EndpointSlice, Event, Key, Kind, Node, NodeFact, Object, ObjectName, Problem,
    Relist, Service, View, brake::is_suspicious, wire::SERVICE_LABEL,
};

/// The current state, indexed.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) own_node: ObjectName,
    pub(crate) services: BTreeMap<ObjectName, Arc<Service>>,
    pub(crate) slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    /// Sorted; most Services have one slice or two, for which a set would be large.
    pub(crate) slices_by_service: BTreeMap<ObjectName, Vec<ObjectName>>,
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
    /// Objects whose newest version could not be understood.
    bad: BTreeMap<Key, Problem>,
    /// Changes with every change of `bad`.
    bad_version: u64,
    /// Kinds whose last list would have removed too much, and what that was.
    braked: BTreeMap<Kind, BTreeSet<ObjectName>>,
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
            bad: BTreeMap::new(),
            bad_version: 0,
            braked: BTreeMap::new(),
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
                self.mend(&key);
                self.put(object);
            }
            Event::Bad(key, problem) => {
                if let Some(seen) = self.listing.get_mut(&key.kind) {
                    seen.insert(key.name.clone());
                }
                let kept = self.has(&key);
                // A slice that never named a Service was understood, and is nothing.
                let said = kept || *problem.field != *SERVICE_LABEL;
                let problem = if said { problem.in_force(kept) } else { problem };
                self.bad.insert(key, problem);
                self.bad_version += 1;
            }
            Event::Delete(kind, name) => {
                self.mend(&Key { kind, name: name.clone() });
                self.remove(kind, &name);
            }
            Event::InitDone(kind) => return self.end_list(kind),
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

    /// Everything that is wrong with objects: those that could not be understood, and what was
    /// read around in the others.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let services = self.tables.services.values().flat_map(|object| &object.meta.problems);
        let slices = self.tables.slices.values().flat_map(|object| &object.meta.problems);
        let nodes = self.tables.nodes.values().flat_map(|object| &object.meta.problems);
        self.bad.values().chain(services).chain(slices).chain(nodes)
    }

    /// Objects that could not be understood.
    pub fn bad(&self) -> impl Iterator<Item = &Problem> {
        self.bad.values()
    }

    /// Stays the same while [`Self::bad`] and [`Self::unread`] do.
    #[must_use]
    pub const fn bad_version(&self) -> u64 {
        self.bad_version
    }

    fn mend(&mut self, key: &Key) {
        self.bad_version += u64::from(self.bad.remove(key).is_some());
    }

    /// Objects that could never be understood since the start: of those no version is in force here. A
    /// slice that names no Service was understood: it has no part in any.
    pub fn unread(&self) -> impl Iterator<Item = &Key> {
        let unread = self.bad.iter().filter(|(_, problem)| *problem.field != *SERVICE_LABEL);
        unread.map(|(key, _)| key).filter(|key| !self.has(key))
    }

    /// Is a version of it in force?
    fn has(&self, Key { kind, name }: &Key) -> bool {
        match kind {
            Kind::Service => self.tables.services.contains_key(name),
            Kind::EndpointSlice => self.tables.slices.contains_key(name),
            Kind::Node => self.tables.nodes.contains_key(name),
        }
    }

    /// Kinds whose last list waits for a second one, and how many objects it would remove.
    pub fn braked(&self) -> impl Iterator<Item = (Kind, usize)> {
        self.braked.iter().map(|(kind, names)| (*kind, names.len()))
    }

    /// A list is complete: what it did not have is gone, unless that is suspiciously much and no
    /// list said so before. A second list agrees when it adds little to what the first one lacked.
    fn end_list(&mut self, kind: Kind) -> Option<Relist> {
        let Some(seen) = self.listing.remove(&kind) else {
            self.listed.insert(kind);
            return None;
        };
        let names = self.names(kind);
        let objects = names.len();
        let gone: BTreeSet<_> = names.into_iter().filter(|name| !seen.contains(name)).collect();
        let held = self.braked.remove(&kind).unwrap_or_default();
        let unheard_of = gone.difference(&held).count();
        if is_suspicious(unheard_of, objects) && self.listed.contains(&kind) {
            self.braked.insert(kind, gone);
            return Some(Relist(kind));
        }
        for name in &gone {
            self.remove(kind, name);
        }
        self.bad.retain(|key, _| key.kind != kind || seen.contains(&key.name));
        self.bad_version += 1;
        self.listed.insert(kind);
        None
    }

    fn names(&self, kind: Kind) -> Vec<ObjectName> {
        match kind {
            Kind::Service => self.tables.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.tables.slices.keys().cloned().collect(),
            Kind::Node => self.tables.nodes.keys().cloned().collect(),
        }
    }

    /// An object that is already kept like this stays: a relist costs no second copy of everything.
    fn put(&mut self, object: Object) {
        match object {
            Object::Service(new) => {
                put_into(&mut self.tables.services, &mut self.old_services, &new.meta.name, &new);
            }
            Object::EndpointSlice(new) => {
                self.index(&new);
                put_into(&mut self.tables.slices, &mut self.old_slices, &new.meta.name, &new);
            }
            Object::Node(new) => {
                put_into(&mut self.tables.nodes, &mut self.old_nodes, &new.meta.name, &new);
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

    /// Before the slice is kept: it may have belonged to another Service.
    fn index(&mut self, new: &EndpointSlice) {
        let name = &new.meta.name;
        if self.tables.slices.get(name).is_some_and(|old| old.service == new.service) {
            return;
        }
        self.unindex(name);
        let names = self.tables.slices_by_service.entry(new.service.clone());
        let names = names.or_insert_with(|| Vec::with_capacity(1));
        if let Err(at) = names.binary_search(name) {
            names.insert(at, name.clone());
        }
    }

    fn unindex(&mut self, name: &ObjectName) {
        let Some(old) = self.tables.slices.get(name) else { return };
        if let Some(names) = self.tables.slices_by_service.get_mut(&old.service) {
            names.retain(|known| known != name);
            if names.is_empty() {
                self.tables.slices_by_service.remove(&old.service);
            }
        }
    }
}

/// Keeps an object and remembers what it replaces; one that is kept like this already stays.
fn put_into<T: PartialEq>(
    now: &mut BTreeMap<ObjectName, Arc<T>>,
    old: &mut BTreeMap<ObjectName, Option<Arc<T>>>,
    name: &ObjectName,
    new: &Arc<T>,
) {
    match now.get_mut(name) {
        Some(kept) if **kept == **new => {}
        Some(kept) => {
            let before = std::mem::replace(kept, Arc::clone(new));
            old.entry(name.clone()).or_insert(Some(before));
        }
        None => {
            now.insert(name.clone(), Arc::clone(new));
            old.entry(name.clone()).or_insert(None);
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

#[cfg(test)]
mod tests;
