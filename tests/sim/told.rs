//! What the daemon was told so far: the plainest store there can be.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::{Kind, Name, Said, World};

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) world: World,
    /// Kinds being listed, and the names seen.
    listing: BTreeMap<Kind, BTreeSet<Name>>,
    listed: BTreeSet<Kind>,
    /// The last list of Services lacked too much.
    braked: bool,
}

impl Told {
    /// Nothing yet.
    pub(crate) fn new(host_only: bool) -> Self {
        Self { world: World::new(host_only), ..Self::default() }
    }

    /// Names that end with this list.
    fn lacking(&self, kind: Kind) -> Vec<Name> {
        let Some(seen) = self.listing.get(&kind) else { return Vec::new() };
        self.world.names(kind).into_iter().filter(|name| !seen.contains(name)).collect()
    }

    /// Does another list begin of a kind of which one was complete?
    pub(crate) fn lists_again(&self, said: &Said) -> bool {
        matches!(said, Said::Begin(Kind::Service) if self.listed.contains(&Kind::Service))
    }

    /// Must this end in the request for a second list? `None`: there was one before.
    pub(crate) fn would_brake(&self, said: &Said) -> Option<bool> {
        let Said::End(kind) = said else { return Some(false) };
        if self.braked && *kind == Kind::Service {
            return None;
        }
        let (gone, all) = (self.lacking(*kind).len(), self.world.names(*kind).len());
        Some(self.listed.contains(kind) && gone >= 50 && gone * 100 > all * 30)
    }

    pub(crate) fn receive(&mut self, said: Said, braked: bool) {
        match said {
            Said::Begin(kind) => {
                self.listing.insert(kind, BTreeSet::new());
            }
            Said::Exists(kind, json) => {
                self.saw(kind, crate::facts::name(&json));
                self.world.put(kind, json);
            }
            // Its last good version stays in force.
            Said::Garbled(kind, name) => self.saw(kind, name),
            Said::Gone(kind, name) => self.world.remove(kind, &name),
            Said::End(kind) => {
                let gone = self.lacking(kind);
                self.listing.remove(&kind);
                self.listed.insert(kind);
                if kind == Kind::Service {
                    self.braked = braked;
                }
                if !braked {
                    gone.iter().for_each(|name| self.world.remove(kind, name));
                }
            }
            Said::Addresses(addresses) => self.world.own_addresses = addresses,
        }
    }

    fn saw(&mut self, kind: Kind, name: Name) {
        if let Some(seen) = self.listing.get_mut(&kind) {
            seen.insert(name);
        }
    }
}
