//! Who owns an identity that records of more than one Service have.
//!
//! Identities are hashes of names that tenants choose. Two Services with one identity must never
//! share a record: the older one keeps it, the others are withheld as a whole until it is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use towpath_model::{Code, Key, Kind, ObjectName, Problem};

use crate::planned::PlannedService;

/// A Service; the order decides: the older one, then the name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Claimant {
    created: Arc<str>,
    name: ObjectName,
}

/// All identities by owner.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Identities {
    owners: BTreeMap<u64, Arc<Claimant>>,
    /// Who else has them; practically always empty.
    rivals: BTreeMap<u64, BTreeSet<Arc<Claimant>>>,
}

impl Identities {
    /// Replaces one Service's identities; answers which other Services may now own what they did
    /// not, or the other way round.
    pub(crate) fn replace(
        &mut self,
        old: Option<&PlannedService>,
        new: Option<&PlannedService>,
    ) -> BTreeSet<ObjectName> {
        let mut touched = BTreeSet::new();
        let before = old.map(|service| (claimant(service), identities(service)));
        let after = new.map(|service| (claimant(service), identities(service)));
        if before == after {
            return touched;
        }
        if let Some((claimant, identities)) = before {
            identities
                .iter()
                .for_each(|identity| self.withdraw(*identity, &claimant, &mut touched));
        }
        if let Some((claimant, identities)) = after {
            let claimant = Arc::new(claimant);
            identities.iter().for_each(|identity| self.claim(*identity, &claimant, &mut touched));
        }
        touched
    }

    /// The older Service that has an identity of this one, or this one itself when two of its own
    /// records have one.
    pub(crate) fn withheld_by(&self, service: &PlannedService) -> Option<ObjectName> {
        let identities = identities(service);
        if identities.len() < records(service).count() {
            return Some(service.name.clone());
        }
        if self.rivals.is_empty() {
            return None;
        }
        let owners = identities.iter().filter_map(|identity| self.owners.get(identity));
        owners.map(|owner| &owner.name).find(|owner| **owner != service.name).cloned()
    }

    fn claim(
        &mut self,
        identity: u64,
        claimant: &Arc<Claimant>,
        touched: &mut BTreeSet<ObjectName>,
    ) {
        let Some(owner) = self.owners.get_mut(&identity) else {
            self.owners.insert(identity, Arc::clone(claimant));
            return;
        };
        let rivals = self.rivals.entry(identity).or_default();
        touched.extend(rivals.iter().map(|rival| rival.name.clone()));
        touched.insert(owner.name.clone());
        if claimant < owner {
            rivals.insert(std::mem::replace(owner, Arc::clone(claimant)));
        } else {
            rivals.insert(Arc::clone(claimant));
        }
    }

    fn withdraw(&mut self, identity: u64, claimant: &Claimant, touched: &mut BTreeSet<ObjectName>) {
        let Some(rivals) = self.rivals.get_mut(&identity) else {
            self.owners.remove(&identity);
            return;
        };
        touched.extend(rivals.iter().map(|rival| rival.name.clone()));
        if self.owners.get(&identity).is_some_and(|owner| **owner == *claimant) {
            if let Some(next) = rivals.pop_first() {
                self.owners.insert(identity, next);
            }
        } else {
            rivals.remove(claimant);
        }
        if rivals.is_empty() {
            self.rivals.remove(&identity);
        }
    }
}

/// What a withheld Service is told.
pub(crate) fn problem(service: &ObjectName, owner: &ObjectName) -> Problem {
    Problem::new(
        Code::IdentityTaken,
        Some(Key { kind: Kind::Service, name: service.clone() }),
        "metadata.name",
        &format!(
            "the name of one of its ports has the same hash as a port of Service {owner}; it is not \
             served, so that neither is harmed"
        ),
        "give the Service or its ports other names",
    )
}

/// Cuts every identity to its lowest bits, so that different names have the same.
pub(crate) fn shorten(service: &mut PlannedService, bits: u32) {
    let mask = u64::MAX >> u64::BITS.saturating_sub(bits).min(u64::BITS - 1);
    // 0 marks an unused record.
    let cut = |identity: &mut u64| *identity = (*identity & mask).max(1);
    for port in &mut service.ports {
        cut(&mut port.record.identity);
        port.per_node.iter_mut().for_each(|(_, record)| cut(&mut record.identity));
        port.frontends.iter_mut().for_each(|frontend| cut(&mut frontend.identity));
    }
    let led = service.guards.iter_mut().filter(|guard| guard.identity != 0);
    led.for_each(|guard| cut(&mut guard.identity));
}

fn claimant(service: &PlannedService) -> Claimant {
    Claimant { created: Arc::clone(&service.created), name: service.name.clone() }
}

fn records(service: &PlannedService) -> impl Iterator<Item = u64> {
    service.ports.iter().flat_map(|port| port.records()).map(|record| record.identity)
}

fn identities(service: &PlannedService) -> BTreeSet<u64> {
    records(service).collect()
}
