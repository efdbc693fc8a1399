//! Follows the objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use towpath_model::{Changes, Kind, ObjectName, Problem, Stream, View};

use crate::{
    Settings, Snapshot,
    name::label,
    records::{self, Records},
    reverse::Pointer,
    snapshot::{Presence, Zone},
};

/// What must be listed before there is a snapshot.
pub const NEEDS: [Stream; 3] =
    [Stream::all(Kind::Service), Stream::all(Kind::EndpointSlice), Stream::all(Kind::Namespace)];

/// The zone, kept up with the objects. Work of an update: proportional to the Services that changed.
#[derive(Clone, Debug)]
pub struct Zones {
    pub(crate) now: Snapshot,
    problems: BTreeMap<ObjectName, Vec<Problem>>,
    planned: bool,
}

impl Zones {
    /// Without a record; `None` when the domain is too long to have names below it.
    #[must_use]
    pub fn new(settings: Settings) -> Option<Self> {
        let zone = Arc::new(Zone::new(settings)?);
        let now = Snapshot::empty(zone);
        Some(Self { now, problems: BTreeMap::new(), planned: false })
    }

    /// As things are now.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.now
    }

    /// What is wrong with Services.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    /// Takes changes in; at the first call everything in the view is new. `unix`: seconds since 1970,
    /// for the serial. Answers the Services whose records may be different.
    pub fn update(
        &mut self,
        view: &View<'_>,
        changes: &Changes,
        unix: u32,
    ) -> BTreeSet<ObjectName> {
        let first = !std::mem::replace(&mut self.planned, true);
        let touched = if first { everything(view) } else { touched(changes) };
        self.namespaces(view, changes, first);
        for name in &touched {
            self.service(view, name);
        }
        let blocks = first || !changes.service_cidrs.is_empty();
        if blocks {
            let blocks = view.service_cidrs().flat_map(|block| block.cidrs.iter().copied());
            self.now.blocks = blocks.collect();
        }
        if blocks || !touched.is_empty() || !changes.namespaces.is_empty() {
            self.now.serial = unix;
        }
        touched
    }

    fn namespaces(&mut self, view: &View<'_>, changes: &Changes, first: bool) {
        let mut set = |name: &str, object| {
            if let Some(label) = label(name) {
                self.presence(&label, |presence| presence.object = object);
            }
        };
        if first {
            view.namespaces().for_each(|namespace| set(&namespace.meta.name.name, true));
        }
        for change in &changes.namespaces {
            set(&change.name.name, change.new.is_some());
        }
    }

    /// Changes why a namespace exists; with no reason left it is gone.
    pub(crate) fn presence(&mut self, label: &[u8], change: impl FnOnce(&mut Presence)) {
        let namespaces = &mut self.now.namespaces;
        let mut presence = namespaces.get(label).copied().unwrap_or_default();
        change(&mut presence);
        if presence == Presence::default() {
            namespaces.remove_mut(label);
        } else {
            namespaces.insert_mut(label.into(), presence);
        }
    }

    /// Compiles a Service anew.
    fn service(&mut self, view: &View<'_>, name: &ObjectName) {
        let mut found = Vec::new();
        let records = view.service(name).and_then(|service| {
            let settings = &self.now.zone.settings;
            records::compile(settings, service, view.slices_of(name), &mut found)
        });
        if found.is_empty() {
            self.problems.remove(name);
        } else {
            self.problems.insert(name.clone(), found);
        }
        if let Some(key) = Settings::key(name) {
            self.replace(key, records);
        }
    }

    /// Puts the records of a Service in the place of those that it had.
    pub(crate) fn replace(&mut self, key: Box<[u8]>, records: Option<Records>) {
        let old = self.now.services.get(&key).cloned();
        if old.as_deref() == records.as_ref() {
            return;
        }
        let new = records.map(Arc::new);
        self.reverse(&key, old.as_deref(), new.as_ref());
        let (had, has) = (u32::from(old.is_some()), u32::from(new.is_some()));
        // The key's second label.
        let name = key.first().map_or(0, |length| usize::from(*length) + 1);
        if let Some(namespace) = key.get(name..).map(Box::<[u8]>::from) {
            self.presence(&namespace, |p| p.services = p.services + has - had);
        }
        match new {
            Some(new) => self.now.services.insert_mut(key, new),
            None => {
                self.now.services.remove_mut(&key);
            }
        }
    }

    /// Brings the names of a Service's addresses up to date.
    fn reverse(&mut self, key: &[u8], old: Option<&Records>, new: Option<&Arc<Records>>) {
        let mut pointers: BTreeMap<_, Vec<Pointer>> = BTreeMap::new();
        for (address, _) in old.into_iter().flat_map(Records::reverse) {
            pointers.entry(address).or_default();
        }
        for (new, (address, host)) in
            new.iter().flat_map(|new| new.reverse().map(move |of| (new, of)))
        {
            let pointer = Pointer { records: Arc::clone(new), host };
            pointers.entry(address).or_default().push(pointer);
        }
        for (address, mut all) in pointers {
            let known = self.now.reverse.get(&address).map_or(&[][..], |known| known);
            all.extend(known.iter().filter(|pointer| *pointer.records.key != *key).cloned());
            all.sort_by(|a, b| {
                let place = |p: &Pointer| (p.rank(), p.records.key.clone(), p.host);
                place(a).cmp(&place(b))
            });
            if all.is_empty() {
                self.now.reverse.remove_mut(&address);
            } else {
                self.now.reverse.insert_mut(address, all.into());
            }
        }
    }
}

fn everything(view: &View<'_>) -> BTreeSet<ObjectName> {
    view.services().map(|service| service.meta.name.clone()).collect()
}

/// Services that changed, or whose slices did.
fn touched(changes: &Changes) -> BTreeSet<ObjectName> {
    let services = changes.services.iter().map(|change| &change.name);
    let slices = changes.slices.iter().flat_map(|change| [&change.old, &change.new]);
    services.chain(slices.flatten().map(|slice| &slice.service)).cloned().collect()
}
