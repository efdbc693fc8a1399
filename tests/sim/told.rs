//! What the daemon was told so far: the plainest store there can be.

use std::collections::{BTreeMap, BTreeSet};

use towpath_model::{Event, Kind, Object, ObjectName, Stream};

use crate::world::World;

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) world: World,
    /// Kinds being listed, and the names seen.
    listing: BTreeMap<Kind, BTreeSet<ObjectName>>,
    listed: BTreeSet<Kind>,
    /// The last list of Services lacked too much.
    braked: bool,
}

impl Told {
    fn names(&self, kind: Kind) -> Vec<ObjectName> {
        match kind {
            Kind::Service => self.world.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.world.slices.keys().cloned().collect(),
            Kind::Node => self.world.nodes.keys().cloned().collect(),
        }
    }

    /// Names that end with this list.
    fn lacking(&self, kind: Kind) -> Vec<ObjectName> {
        let Some(seen) = self.listing.get(&kind) else { return Vec::new() };
        self.names(kind).into_iter().filter(|name| !seen.contains(name)).collect()
    }

    /// Must this event end in the request for a second list? `None`: there was one before.
    pub(crate) fn would_brake(&self, event: &Event) -> Option<bool> {
        let Event::InitDone(Stream { kind, .. }) = event else { return Some(false) };
        if self.braked && *kind == Kind::Service {
            return None;
        }
        let (gone, all) = (self.lacking(*kind).len(), self.names(*kind).len());
        Some(self.listed.contains(kind) && gone >= 50 && gone * 100 > all * 30)
    }

    pub(crate) fn hear(&mut self, event: Event, braked: bool) {
        match event {
            Event::Init(Stream { kind, .. }) => {
                self.listing.insert(kind, BTreeSet::new());
            }
            Event::Apply(object) => {
                self.saw(object.key().kind, object.key().name);
                match object {
                    Object::Service(new) => {
                        self.world.services.insert(new.meta.name.clone(), new);
                    }
                    Object::EndpointSlice(new) => {
                        self.world.slices.insert(new.meta.name.clone(), new);
                    }
                    Object::Node(new) => {
                        self.world.nodes.insert(new.meta.name.clone(), new);
                    }
                }
            }
            // Its last good version stays in force.
            Event::Bad(key, _) => self.saw(key.kind, key.name),
            Event::Delete(kind, name) => self.remove(kind, &name),
            Event::InitDone(Stream { kind, .. }) => {
                let gone = self.lacking(kind);
                self.listing.remove(&kind);
                self.listed.insert(kind);
                if kind == Kind::Service {
                    self.braked = braked;
                }
                if !braked {
                    gone.iter().for_each(|name| self.remove(kind, name));
                }
            }
            Event::Absent(_) | Event::End(_) | Event::Local(_) => {}
        }
    }

    fn saw(&mut self, kind: Kind, name: ObjectName) {
        if let Some(seen) = self.listing.get_mut(&kind) {
            seen.insert(name);
        }
    }

    fn remove(&mut self, kind: Kind, name: &ObjectName) {
        match kind {
            Kind::Service => drop(self.world.services.remove(name)),
            Kind::EndpointSlice => drop(self.world.slices.remove(name)),
            Kind::Node => drop(self.world.nodes.remove(name)),
        }
    }
}
