//! Events in, views and changes out.

mod pool;
mod streams;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Bound,
    sync::Arc,
};

use crate::{
    Changes, Event, Key, Kind, Kinds, NodeDevices, NodeFact, Object, ObjectName, PodDevice,
    Problem, Relist, Scope, Stream, View, brake::Removals, kinds::Tables, wire::SERVICE_LABEL,
};

pub(crate) use pool::Pool;
use streams::{Listing, Streams};
use table::is_older;
pub(crate) use table::{AnyTable, Kept, Table, kept_by_meta};

/// Keeps what the sources said.
///
/// Streams of a kind may overlap: an object is kept once, whichever of them brought it, and a complete
/// list speaks for its whole scope. One stream is behind another: what is older than what is known is not
/// taken. Only a complete list may go back to older versions: those of a cluster that was restored from a
/// backup are.
#[derive(Debug)]
pub struct Store {
    pub(crate) own_node: ObjectName,
    pub(crate) local_addresses: Vec<IpAddr>,
    pub(crate) answers_dns: Option<ObjectName>,
    pub(crate) pod_devices: Arc<[PodDevice]>,
    pub(crate) node_devices: Option<Arc<NodeDevices>>,
    pub(crate) tables: Tables,
    local_changed: bool,
    devices_changed: bool,
    node_devices_changed: bool,
    streams: Streams,
    /// Objects whose newest version could not be understood.
    pub(crate) bad: BTreeMap<Key, Problem>,
    /// Kinds with a change of `bad` since the last commit.
    unreadable: Kinds,
    /// Streams whose list ended since the last commit.
    ended: BTreeSet<Stream>,
    /// Streams to list again, which is asked for with the next events: a list brings some itself.
    owed: BTreeSet<Stream>,
}

impl Store {
    /// For the node of this name.
    #[must_use]
    pub fn new(own_node: &str) -> Self {
        Self {
            own_node: ObjectName::new("", own_node),
            local_addresses: Vec::new(),
            answers_dns: None,
            pod_devices: Arc::default(),
            node_devices: None,
            tables: Tables::default(),
            local_changed: false,
            devices_changed: false,
            node_devices_changed: false,
            streams: Streams::default(),
            bad: BTreeMap::new(),
            unreadable: Kinds::default(),
            ended: BTreeSet::new(),
            owed: BTreeSet::new(),
        }
    }

    /// Takes one event. An answer asks the source of that stream to list it again.
    pub fn feed(&mut self, event: Event) -> Option<Relist> {
        let mut relist = None;
        match event {
            Event::Init(stream) => {
                self.owed.remove(&stream);
                self.streams.begin(stream);
            }
            Event::Apply(object) => self.apply(object),
            Event::Bad(key, problem) => self.cannot_read(key, problem),
            Event::Delete(kind, name) => {
                let key = Key { kind, name };
                self.mend(&key);
                self.remove(&key);
            }
            Event::InitDone(stream) => relist = self.end_list(&stream),
            Event::Absent(kind) => relist = self.absent(kind),
            Event::End(stream) => self.end(&stream),
            Event::Local(NodeFact::Addresses(addresses)) => {
                self.local_changed |= self.local_addresses != addresses;
                self.local_addresses = addresses;
            }
            Event::Local(NodeFact::AnswersDns(service)) => {
                self.local_changed |= self.answers_dns != service;
                self.answers_dns = service;
            }
            Event::Local(NodeFact::PodDevices(devices)) => {
                self.devices_changed |= self.pod_devices != devices;
                self.pod_devices = devices;
            }
            Event::Local(NodeFact::NodeDevices(devices)) => {
                let devices = Some(devices);
                self.node_devices_changed |= self.node_devices != devices;
                self.node_devices = devices;
            }
        }
        relist.or_else(|| self.owed.pop_first().map(Relist))
    }

    /// Everything fed so far, and what it changed since the last commit.
    pub fn commit(&mut self) -> (View<'_>, Changes) {
        let mut changes = self.tables.changes(std::mem::take(&mut self.local_changed));
        changes.devices = std::mem::take(&mut self.devices_changed);
        changes.node_devices = std::mem::take(&mut self.node_devices_changed);
        changes.listed = std::mem::take(&mut self.ended);
        changes.unreadable = std::mem::take(&mut self.unreadable);
        (self.view(), changes)
    }

    /// The picture as of now, without taking changes.
    #[must_use]
    pub const fn view(&self) -> View<'_> {
        View { store: self }
    }

    /// Everything that is wrong with objects: those that could not be understood, and what was
    /// read around in the others.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let tables = crate::ROWS.iter().map(|row| self.tables.of(row.kind));
        self.bad.values().chain(tables.flat_map(AnyTable::problems))
    }

    /// Objects that could not be understood.
    pub fn bad(&self) -> impl Iterator<Item = &Problem> {
        self.bad.values()
    }

    pub(crate) fn unread_after(&self, key: Option<&Key>) -> impl Iterator<Item = &Key> + use<'_> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let unread = self
            .bad
            .range((from, Bound::Unbounded))
            .filter(|(_, problem)| *problem.field != *SERVICE_LABEL);
        let is_kept = |key: &Key| self.tables.of(key.kind).kept(&key.name).is_some();
        unread.map(|(key, _)| key).filter(move |key| !is_kept(key))
    }

    /// Streams whose last list waits for a second one, and how many objects it would remove.
    pub fn braked(&self) -> impl Iterator<Item = (&Stream, usize)> {
        self.streams.iter().filter_map(|(stream, progress)| {
            progress.braked.as_ref().map(|removals| (stream, removals.gone.len()))
        })
    }

    /// Is a list of this stream asked for because its last one would remove too much?
    #[must_use]
    pub fn doubts(&self, stream: &Stream) -> bool {
        self.braked().any(|(braked, _)| braked == stream)
            || self.streams.doubts_absence(stream.kind)
    }

    pub(crate) fn listed(&self, stream: &Stream) -> bool {
        self.streams.listed(stream)
    }

    fn apply(&mut self, object: Object) {
        let (kind, name) = (object.kind(), object.name().clone());
        let here = Some(object.node() == Some(&*self.own_node.name));
        let is_older = self.streams.overlap(kind)
            && self.tables.of(kind).kept(&name).is_some_and(|kept| is_older(object.kept(), kept));
        for listing in self.streams.listings(kind, &name, here) {
            listing.seen.insert(name.clone());
            if is_older {
                listing.older.insert(name.clone(), object.clone());
            } else {
                listing.older.remove(&name);
            }
        }
        if !is_older {
            self.mend(&Key { kind, name });
            self.tables.put(object);
        }
    }

    fn cannot_read(&mut self, key: Key, problem: Problem) {
        let here = self.runs_here(&key);
        for listing in self.streams.listings(key.kind, &key.name, here) {
            listing.seen.insert(key.name.clone());
            // What a list had of it is older than this.
            listing.older.remove(&key.name);
        }
        let kept = self.tables.of(key.kind).kept(&key.name).is_some();
        // A slice that never named a Service was understood, and is nothing.
        let said = kept || *problem.field != *SERVICE_LABEL;
        let problem = if said { problem.in_force(kept) } else { problem };
        let kind = key.kind;
        // The same again, as with every list, is no news.
        if self.bad.get(&key) != Some(&problem) {
            self.bad.insert(key, problem);
            self.unreadable = self.unreadable.with(kind);
        }
    }

    fn remove(&mut self, key: &Key) {
        let here = self.runs_here(key);
        for listing in self.streams.listings(key.kind, &key.name, here) {
            listing.older.remove(&key.name);
        }
        self.tables.of_mut(key.kind).remove(&key.name);
    }

    fn mend(&mut self, key: &Key) {
        if self.bad.remove(key).is_some() {
            self.unreadable = self.unreadable.with(key.kind);
        }
    }

    fn runs_here(&self, key: &Key) -> Option<bool> {
        let kept = self.tables.of(key.kind).kept(&key.name)?;
        Some(kept.node() == Some(&*self.own_node.name))
    }

    /// A list is complete: what it did not have is gone, unless that is suspiciously much and no
    /// list said so before. A second list agrees when it adds little to what the first one lacked.
    fn end_list(&mut self, stream: &Stream) -> Option<Relist> {
        let kind = stream.kind;
        self.ended.insert(stream.clone());
        let progress = self.streams.listed_now(stream);
        let was_listed = std::mem::replace(&mut progress.listed, true);
        let Listing { seen, older } = progress.listing.take()?;
        let names = self.tables.of(kind).covered(&stream.scope, &self.own_node.name);
        let of = names.len();
        let gone = names.into_iter().filter(|name| !seen.contains(name)).collect();
        let removals = Removals { gone, of };
        let earlier = progress.braked.take();
        let gone = if removals.suspicious(earlier.as_ref()) && was_listed {
            progress.braked = Some(removals);
            None
        } else {
            Some(removals.gone)
        };
        for object in older.into_values() {
            self.mend(&Key { kind, name: object.name().clone() });
            self.tables.put(object);
        }
        let Some(gone) = gone else { return Some(Relist(stream.clone())) };
        self.forget_bad(kind, |store, key| {
            // Where its node cannot be read, it may be another stream's.
            let covered = stream.scope.covers(&key.name, store.runs_here(key));
            !seen.contains(&key.name)
                && covered.unwrap_or_else(|| !store.streams.cover_by_name(key))
        });
        for name in gone {
            self.remove(&Key { kind, name });
        }
        None
    }

    /// The stream is no more, and with it what no other one brings. Of the rest, what it said may have been
    /// behind, and it does not catch up any more: the others are listed again.
    fn end(&mut self, stream: &Stream) {
        let kind = stream.kind;
        self.owed.remove(stream);
        self.owed.extend(self.streams.end(stream));
        let only_of_it = |store: &Self, key: &Key| {
            let here = store.runs_here(key);
            stream.scope.covers(&key.name, here) != Some(false) && !store.streams.cover(key, here)
        };
        for name in self.tables.of(kind).covered(&stream.scope, &self.own_node.name) {
            let key = Key { kind, name };
            if only_of_it(self, &key) {
                self.remove(&key);
            }
        }
        self.forget_bad(kind, only_of_it);
    }

    /// The server does not know the kind.
    fn absent(&mut self, kind: Kind) -> Option<Relist> {
        let empty = self.tables.of(kind).is_empty();
        if let Err(doubted) = self.streams.absent(kind, empty) {
            return doubted.map(Relist);
        }
        for name in self.tables.of(kind).covered(&Scope::All, "") {
            self.tables.of_mut(kind).remove(&name);
        }
        self.forget_bad(kind, |_, _| true);
        None
    }

    fn forget_bad(&mut self, kind: Kind, is_gone: impl Fn(&Self, &Key) -> bool) {
        let of_kind = self.bad.keys().filter(|key| key.kind == kind);
        let gone: Vec<Key> = of_kind.filter(|key| is_gone(self, key)).cloned().collect();
        for key in &gone {
            self.mend(key);
        }
    }
}

#[cfg(test)]
mod tests;
