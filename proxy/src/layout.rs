//! Plan changes -> an ordered [`Batch`]: the publish protocol of DESIGN section 4.
//!
//! The layout keeps a mirror of what the kernel holds, operation by operation, and what is wanted.
//! A batch is the difference, in the one order that is safe at every prefix:
//!
//! 1. records that nothing has led to for a grace period and a second are cleared, their source ranges
//!    with them
//! 2. node addresses that go (what leads through them is gone at once, not changed first)
//! 3. backends, into free slots
//! 4. source ranges of records, and these, at free indices
//! 5. set words of records in use: each flips one set, old to new; a set that is used no more stays
//! 6. frontends that come or flip: remote nodes' own, the others, guards last, so that no port is
//!    refused before it is there
//! 7. frontends that go; guards first
//! 8. node addresses that come: everything they lead to is there
//!
//! 2 and 7 need [`Synced`], and what a restart found may be held ([`Hold`]). A record that nothing leads to any more stays whole while it rests: a
//! program that read the frontend before that was flipped or removed has yet to read the record, and
//! must find the old answer. Once it is cleared its index and its slots are free at once: so what is
//! unused in the maps of a daemon that died has rested, too. After a failure the mirror is exactly
//! what was carried out; everything else is rebuilt from it.

mod books;
mod found;
mod place;
mod steps;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use towpath_image::{
    Applied, Batch, Image as _, Millis, ServiceImage, ServiceOp,
    datapath::{Addr, FrontendKey, NodeAddressValue},
};
use towpath_model::{ObjectName, Synced};

use books::Books;

use crate::{
    plan::PlanDelta,
    planned::{FrontendTarget, PlannedRecord},
};

pub use found::{Found, Hold};

/// A Service that did not fit; its state before is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The Service.
    pub service: ObjectName,
    /// Why, and what to do.
    pub why: String,
}

/// What the kernel holds, what it should hold, and where there is room.
#[derive(Clone, Debug)]
pub struct Layout {
    mirror: ServiceImage,
    books: Books,

    records: BTreeMap<u64, PlannedRecord>,
    /// Whose the records are that are in force and no longer wanted: they stay while their Service
    /// is refused.
    former: BTreeMap<u64, ObjectName>,
    frontends: BTreeMap<FrontendKey, FrontendTarget>,
    node_addresses: BTreeMap<Addr, NodeAddressValue>,

    /// Indices that have source ranges and no record: left by a daemon that died half way.
    stray_ranges: BTreeSet<u32>,

    dirty_records: BTreeSet<u64>,
    dirty_frontends: BTreeSet<FrontendKey>,
    dirty_node_addresses: BTreeSet<Addr>,
    /// Frontends of a record, for when its index changes; a handful each. A guard counts among those
    /// of the first port of its family.
    keys_of: BTreeMap<u64, Vec<FrontendKey>>,
    /// Services whose records did not fit at the last turn.
    refused: BTreeMap<ObjectName, Refused>,
    /// What was found at the start and no plan has spoken of; `None` before the first plan.
    found: Option<Found>,
    hold: Hold,
    held: found::Held,
}

impl Layout {
    /// Takes over what the kernel holds. Everything in it stays in force until a plan says
    /// otherwise; what contradicts itself is replaced at the first opportunity.
    #[must_use]
    pub fn adopt(image: ServiceImage) -> Self {
        let mut layout = Self {
            books: Books::open(&image),
            records: BTreeMap::new(),
            former: BTreeMap::new(),
            frontends: BTreeMap::new(),
            node_addresses: BTreeMap::new(),
            stray_ranges: BTreeSet::new(),
            dirty_records: BTreeSet::new(),
            dirty_frontends: BTreeSet::new(),
            dirty_node_addresses: BTreeSet::new(),
            keys_of: BTreeMap::new(),
            refused: BTreeMap::new(),
            found: None,
            hold: Hold::default(),
            held: found::Held::default(),
            mirror: image,
        };
        layout.mark_all();
        layout
    }

    /// The next batch: what `delta` changed, and what could not be carried out before.
    pub fn lay_out(
        &mut self,
        delta: &PlanDelta,
        synced: Option<&Synced>,
        now: Millis,
    ) -> Batch<ServiceOp> {
        self.claim_found(delta);
        self.want(delta);
        write::write(self, synced.is_some(), now)
    }

    /// Notes how far the batch came.
    pub fn settle(&mut self, batch: &Batch<ServiceOp>, applied: &Applied, now: Millis) {
        for op in batch.ops.iter().take(applied.done) {
            self.count_references(op);
            if self.mirror.apply(op).is_err() {
                debug_assert!(false, "the kernel did what its mirror cannot: {op:?}");
            }
        }
        if applied.done == batch.ops.len() {
            self.books.settle(now);
        } else {
            self.rebuild(now);
        }
    }

    /// A grace period that began at `began` is over: every program that ran then has ended.
    pub fn graced(&mut self, began: Millis) {
        self.books.graced(began);
    }

    /// Does anything wait for a grace period?
    #[must_use]
    pub fn wants_grace(&self) -> bool {
        self.books.wants_grace()
    }

    /// Has a record rested long enough to be cleared? No change waits for it, but its index and its
    /// slots are not free before.
    #[must_use]
    pub fn has_rested(&self, now: Millis) -> bool {
        self.books.has_rested_index(now)
    }

    /// Is there anything that a next batch would carry out, and that a change waits for?
    #[must_use]
    pub fn pending(&self) -> bool {
        !(self.dirty_records.is_empty()
            && self.dirty_frontends.is_empty()
            && self.dirty_node_addresses.is_empty())
    }

    /// Services of which something stays as it was found ([`Hold`]), and why. There is nothing to try again, and
    /// nothing is full.
    pub fn kept(&self) -> impl Iterator<Item = (&ObjectName, &'static str)> {
        self.held.services.iter().map(|(service, why)| (service, *why))
    }

    /// Services that do not fit, one entry each.
    pub fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.refused.values()
    }

    /// Addresses of nodes that NODE_ADDRESSES has no room for: NodePorts are not reached there.
    #[must_use]
    pub fn addresses_without_room(&self) -> usize {
        let waits = |addr: &&Addr| {
            self.node_addresses.contains_key(addr) && !self.mirror.node_addresses.contains_key(addr)
        };
        let full =
            self.mirror.node_addresses.len() >= self.mirror.capacities.node_addresses as usize;
        if full { self.dirty_node_addresses.iter().filter(waits).count() } else { 0 }
    }

    /// Slots of BACKENDS that could not be used at this time: in force, or at rest.
    #[must_use]
    pub fn backends_used(&self, now: Millis) -> u64 {
        let capacity = u64::from(self.mirror.capacities.backends);
        capacity.saturating_sub(self.books.free_slots(now))
    }

    /// What the kernel must hold now: the audit compares it with what it does hold.
    #[must_use]
    pub const fn image(&self) -> &ServiceImage {
        &self.mirror
    }

    /// Index of a record in force.
    #[must_use]
    pub fn index_of(&self, identity: u64) -> Option<u32> {
        self.books.index_of(identity)
    }

    /// Something went wrong here or wrote to the maps: adopt what is there, and forget what was
    /// wanted. The next delta must be everything.
    pub fn readopt(&mut self, image: ServiceImage, now: Millis) {
        self.mirror = image;
        self.records.clear();
        self.former.clear();
        self.frontends.clear();
        self.node_addresses.clear();
        self.keys_of.clear();
        self.rebuild(now);
    }

    /// Whose frontend this shall be; `None` for the guard of a Service without ports.
    fn owner_of(&self, key: &FrontendKey) -> Option<&ObjectName> {
        let target = self.frontends.get(key)?;
        Some(&self.records.get(&target.identity)?.owner)
    }

    /// Whose record is at this index.
    fn owner_at(&self, index: u32) -> Option<&ObjectName> {
        let identity = self.mirror.services.get(&index)?.identity;
        let wanted = self.records.get(&identity).map(|record| &record.owner);
        wanted.or_else(|| self.former.get(&identity))
    }

    /// New frontends that FRONTENDS has room for.
    fn frontend_room(&self) -> usize {
        let capacity = self.mirror.capacities.frontends as usize;
        capacity.saturating_sub(self.mirror.frontends.len())
    }

    /// Shall this be the frontend of a Service that was refused?
    fn is_refused(&self, key: &FrontendKey) -> bool {
        !self.refused.is_empty()
            && self.owner_of(key).is_some_and(|owner| self.refused.contains_key(owner))
    }

    fn want(&mut self, delta: &PlanDelta) {
        for (identity, record) in &delta.records {
            if let Some(record) = record {
                let former = self.former.get(identity).cloned();
                let before = self.records.insert(*identity, record.clone());
                // An identity that went over to another port or Service (two names with one hash): the
                // record of the first one stays as it is until nothing leads there.
                let owner = before.map(|before| before.owner).or(former);
                let other = owner.is_some_and(|owner| owner != record.owner);
                if other || delta.handed_over.contains(identity) {
                    self.books.abandon(*identity);
                }
                self.former.remove(identity);
            } else if let Some(gone) = self.records.remove(identity)
                && self.books.index_of(*identity).is_some()
            {
                self.former.insert(*identity, gone.owner);
            }
            self.dirty_records.insert(*identity);
        }
        for (key, target) in &delta.frontends {
            let old = match target {
                Some(target) => self.frontends.insert(*key, *target),
                None => self.frontends.remove(key),
            };
            if let Some(old) = old
                && let Some(keys) = self.keys_of.get_mut(&old.identity)
            {
                keys.retain(|known| known != key);
                if keys.is_empty() {
                    self.keys_of.remove(&old.identity);
                }
            }
            if let Some(target) = target.filter(|target| target.identity != 0) {
                self.keys_of
                    .entry(target.identity)
                    .or_insert_with(|| Vec::with_capacity(1))
                    .push(*key);
            }
            self.dirty_frontends.insert(*key);
        }
        for (addr, value) in &delta.node_addresses {
            match value {
                Some(value) => self.node_addresses.insert(*addr, *value),
                None => self.node_addresses.remove(addr),
            };
            self.dirty_node_addresses.insert(*addr);
        }
    }

    /// Keeps the number of frontends per index, ahead of the mirror's own change.
    fn count_references(&mut self, op: &ServiceOp) {
        let (key, new) = match op {
            ServiceOp::PutFrontend { key, word } => (key, Some(*word)),
            ServiceOp::DeleteFrontend { key } => (key, None),
            _ => return,
        };
        let old = self.mirror.frontends.get(key).copied();
        self.books.redirect(key, old, new);
    }

    /// All bookkeeping anew from the mirror, everything wanted to be compared again.
    fn rebuild(&mut self, now: Millis) {
        self.books.reopen(&self.mirror, now);
        self.held = found::Held::default();
        self.mark_all();
    }

    /// Everything that is wanted or in force is to be compared.
    fn mark_all(&mut self) {
        let in_force = self.books.in_force().map(|(identity, _)| identity);
        let ranges = self.mirror.source_ranges.iter().map(|key| key.service);
        let stray = ranges.filter(|index| !self.mirror.services.contains_key(index));
        self.stray_ranges = stray.collect();
        self.dirty_records = in_force.chain(self.records.keys().copied()).collect();
        let frontends = self.mirror.frontends.keys().chain(self.frontends.keys());
        self.dirty_frontends = frontends.copied().collect();
        let addresses = self.mirror.node_addresses.keys().chain(self.node_addresses.keys());
        self.dirty_node_addresses = addresses.copied().collect();
    }
}
