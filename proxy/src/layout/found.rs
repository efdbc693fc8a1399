//! What a restart found in the kernel and no plan has spoken of yet, and whether it may go.
//!
//! A daemon that starts cannot compare its first lists with others: what the kernel holds is all it
//! knows of before. Found is what was there and is not claimed, down to sets that had endpoints and
//! whose Service has none now. Once claimed, a thing is an ordinary one: its removal is news.

use std::collections::{BTreeMap, BTreeSet};

use towpath_image::{
    ServiceImage,
    datapath::{Addr, BackendRecord, Empty, FrontendKey, FrontendKind},
};
use towpath_model::{Kind, ObjectName, Removals};

use super::Layout;
use crate::{claims::node_port_of, plan::PlanDelta, planned::PlannedRecord};

/// What of the things found stays for now. The default: nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hold {
    /// Everything: the lists are doubted.
    pub everything: bool,
    /// Frontends and records that no plan claims: a Service is there and cannot be read. What the
    /// kernel holds does not say whose it is, so this cannot be narrowed down to that Service.
    pub services: bool,
    /// Node addresses that no plan claims: a Node is there and cannot be read.
    pub nodes: bool,
    /// Sets of these Services that would be emptied: a slice of theirs cannot be read.
    pub sets_of: BTreeSet<ObjectName>,
}

impl Hold {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What was found and no plan has spoken of: what goes unless it is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Frontends that no plan claims.
    pub frontends: Removals<FrontendKey>,
    /// Records (by identity) that have endpoints in the kernel and none, or no Service, in the plan.
    pub sets: Removals<u64>,
    /// Node addresses that no plan claims.
    pub addresses: Removals<Addr>,
    /// Records (by identity) that no plan claims, with endpoints or without.
    pub records: BTreeSet<u64>,
}

impl Found {
    fn nothing() -> Self {
        Self {
            frontends: Removals::default(),
            sets: Removals::default(),
            addresses: Removals::default(),
            records: BTreeSet::new(),
        }
    }

    fn all(layout: &Layout) -> Self {
        let ServiceImage { frontends, services, node_addresses, .. } = &layout.mirror;
        let filled = |index: &u32| {
            services.get(index).is_some_and(|record| record.sets.iter().any(|w| w.count() > 0))
        };
        Self {
            frontends: Removals::of_all(frontends.keys().copied()),
            sets: Removals::of_all(
                layout.books.in_force().filter(|(_, index)| filled(index)).map(|(id, _)| id),
            ),
            addresses: Removals::of_all(node_addresses.keys().copied()),
            records: layout.books.in_force().map(|(identity, _)| identity).collect(),
        }
    }

    /// What a plan speaks of is no longer merely found.
    fn claim(&mut self, delta: &PlanDelta) {
        for key in delta.frontends.keys() {
            self.frontends.gone.remove(key);
        }
        for (identity, record) in &delta.records {
            self.records.remove(identity);
            if record.as_ref().is_none_or(has_endpoints) {
                self.sets.gone.remove(identity);
            }
        }
        for addr in delta.node_addresses.keys() {
            self.addresses.gone.remove(addr);
        }
    }

    /// Kinds to list again because so much would go that no earlier list, which lacked `agreed`, had
    /// lacked. A set is lost with its Service's slices or with the Service, whose frontends go too.
    #[must_use]
    pub fn suspicious(&self, agreed: Option<&Self>) -> BTreeSet<Kind> {
        let sorts = [
            (Kind::Service, self.frontends.suspicious(agreed.map(|found| &found.frontends))),
            (Kind::EndpointSlice, self.sets.suspicious(agreed.map(|found| &found.sets))),
            (Kind::Node, self.addresses.suspicious(agreed.map(|found| &found.addresses))),
        ];
        sorts.into_iter().filter(|(_, suspicious)| *suspicious).map(|(kind, _)| kind).collect()
    }
}

/// Does the Service have any endpoint that counts, though perhaps none for this set?
fn has_endpoints(record: &PlannedRecord) -> bool {
    let mut used = record.sets.iter().filter(|set| set.used);
    used.any(|set| !set.backends.is_empty() || set.empty == Empty::Leave)
}

/// Kept by the hold: work that is put off, and that no change waits for.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) records: BTreeSet<u64>,
    pub(super) frontends: BTreeSet<FrontendKey>,
    pub(super) addresses: BTreeSet<Addr>,
    /// Whose sets are among the records, and why.
    pub(super) services: BTreeMap<ObjectName, &'static str>,
}

impl Layout {
    /// What would go, of what was found, if this were told now.
    #[must_use]
    pub fn found(&self, delta: &PlanDelta) -> Found {
        let mut found = self.found.clone().unwrap_or_else(|| Found::all(self));
        found.claim(delta);
        found
    }

    /// Says what stays from now on; the next batch removes the rest. What was let go of once is not
    /// found again.
    pub fn set_hold(&mut self, hold: Hold) {
        self.hold = hold;
    }

    /// What stays.
    #[must_use]
    pub const fn hold(&self) -> &Hold {
        &self.hold
    }

    /// How many frontends stay in force only because they are held.
    #[must_use]
    pub fn held_frontends(&self) -> usize {
        let keeps = |key: &&FrontendKey| self.keeps_frontend(key);
        self.held.frontends.iter().filter(keeps).count()
    }

    /// The backends of records that are held.
    pub fn held_backends(&self) -> impl Iterator<Item = &BackendRecord> {
        let indices =
            self.held.records.iter().filter_map(|identity| self.books.index_of(*identity));
        let records = indices.filter_map(|index| self.mirror.services.get(&index));
        records.flat_map(|record| record.sets).flat_map(|word| self.mirror.extent(word))
    }

    /// Notes what a plan speaks of, and takes up again what was put off.
    pub(super) fn claim_found(&mut self, delta: &PlanDelta) {
        let held = std::mem::take(&mut self.held);
        self.dirty_records.extend(held.records);
        self.dirty_frontends.extend(held.frontends);
        self.dirty_node_addresses.extend(held.addresses);
        if self.hold.is_nothing() {
            self.found = Some(Found::nothing());
            return;
        }
        let mut found = self.found.take().unwrap_or_else(|| Found::all(self));
        found.claim(delta);
        self.found = Some(found);
    }

    pub(super) fn keeps_record(&self, identity: u64) -> bool {
        let found = self.found.as_ref().is_some_and(|found| found.records.contains(&identity));
        found && (self.hold.everything || self.hold.services)
    }

    /// Why the sets of a record that was found must not be emptied. Other ports and families of its
    /// Service go on: what cannot be read harms only itself.
    pub(super) fn keeps_set(&self, wanted: &PlannedRecord) -> Option<&'static str> {
        let sets = self.found.as_ref().map(|found| &found.sets.gone);
        let is_found = sets.is_some_and(|sets| sets.contains(&wanted.identity));
        if !is_found || self.books.index_of(wanted.identity).is_none() {
            return None;
        }
        if self.hold.everything {
            return Some(
                "the first list after the start has no endpoint of a port: it stays as the kernel has \
                 it until a second list agrees",
            );
        }
        self.hold.sets_of.contains(&wanted.owner).then_some(
            "an EndpointSlice of it cannot be read and no other has an endpoint of a port: that port \
             stays as the start found it in the kernel until the slice can be read or is deleted",
        )
    }

    pub(super) fn keeps_frontend(&self, key: &FrontendKey) -> bool {
        let found = self.found.as_ref().is_some_and(|found| found.frontends.gone.contains(key));
        found && (self.hold.everything || self.hold.services || self.is_of_unread_slices(key))
    }

    /// A remote node's own nodePort goes when that node's endpoints do.
    fn is_of_unread_slices(&self, key: &FrontendKey) -> bool {
        if self.hold.sets_of.is_empty() || key.kind() != Some(FrontendKind::NodeLocal) {
            return false;
        }
        let owner = node_port_of(key).and_then(|node_port| self.owner_of(&node_port));
        owner.is_some_and(|owner| self.hold.sets_of.contains(owner))
    }

    pub(super) fn keeps_address(&self, addr: &Addr) -> bool {
        let found = self.found.as_ref().is_some_and(|found| found.addresses.gone.contains(addr));
        found && (self.hold.everything || self.hold.nodes)
    }
}
