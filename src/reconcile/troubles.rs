//! Everything that is wrong with objects, kept current by what changed: `status` and metrics must not
//! walk the cluster to find the few that have a problem.

use std::{collections::BTreeMap, sync::Arc};

use towpath_model::{Change, Changes, Kind, Meta, ObjectName, Problem};
use towpath_proxy::PlannedService;

type ByName = BTreeMap<ObjectName, Box<[Problem]>>;

/// Problems by the object that has them; an object without any has no entry.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    read: BTreeMap<Kind, ByName>,
    planned: ByName,
}

impl Troubles {
    /// What was read around in changed objects.
    pub(super) fn read(&mut self, changes: &Changes) {
        self.of_kind(Kind::Service, &changes.services, |object| &object.meta);
        self.of_kind(Kind::EndpointSlice, &changes.slices, |object| &object.meta);
        self.of_kind(Kind::Node, &changes.nodes, |object| &object.meta);
    }

    fn of_kind<T>(&mut self, kind: Kind, changes: &[Change<T>], meta: impl Fn(&T) -> &Meta) {
        let known = self.read.entry(kind).or_default();
        for change in changes {
            let object: Option<&Arc<T>> = change.new.as_ref();
            put(known, &change.name, object.map_or(&[][..], |object| &meta(object).problems));
        }
    }

    /// What was found wrong with a Service when it was planned.
    pub(super) fn planned(&mut self, name: &ObjectName, service: Option<&PlannedService>) {
        put(&mut self.planned, name, service.map_or(&[][..], |service| &service.problems));
    }

    /// What is wrong with one Service.
    pub(super) fn of_service(&self, name: &ObjectName) -> impl Iterator<Item = &Problem> {
        let read = self.read.get(&Kind::Service).and_then(|known| known.get(name));
        read.into_iter().chain(self.planned.get(name)).flatten()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Problem> {
        let read = self.read.values().flat_map(BTreeMap::values);
        read.chain(self.planned.values()).flatten()
    }
}

fn put(known: &mut ByName, name: &ObjectName, problems: &[Problem]) {
    if problems.is_empty() {
        known.remove(name);
    } else {
        known.insert(name.clone(), problems.into());
    }
}
