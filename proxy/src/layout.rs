//! Plan changes -> an ordered [`Batch`]: the publish protocol of DESIGN section 4.
//!
//! The layout keeps a mirror of what the kernel holds, operation by operation, and what is wanted.
//! A batch is the difference, in the one order that is safe at every prefix:
//!
//! 1. records that nothing has led to for a grace period and a second are cleared
//! 2. node addresses that go (what leads through them is gone at once, not changed first)
//! 3. backends, into free slots
//! 4. records, at free indices
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

mod adopt;
mod found;
mod place;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use towpath_image::{
    Applied, Batch, Image, Op,
    datapath::{Addr, FrontendKey, NodeAddressValue},
};
use towpath_model::{ObjectName, Synced};

use crate::{
    extents::FreeExtents,
    indices::FreeIndices,
    plan::PlanDelta,
    planned::{FrontendTarget, PlannedRecord},
    retired::{Retired, Retiree},
};

pub use found::{Found, Hold, Part};

/// Milliseconds of the daemon's monotonic clock.
pub type Millis = u64;

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
    mirror: Image,
    /// Index of each record in force.
    index_of: BTreeMap<u64, u32>,
    /// Indices that are not in force, but that something still leads to; or that nobody has looked
    /// at yet. With whether their slots are theirs; those of a record that was never trusted count
    /// as room.
    orphans: BTreeMap<u32, bool>,
    /// Epoch of the word published last. One count for all records: an extent that is used again
    /// never makes the same word again (but for the wrap after 65,536 publications).
    epoch: u16,
    /// How many frontends lead to an index.
    references: BTreeMap<u32, u32>,
    extents: FreeExtents,
    indices: FreeIndices,
    retired: Retired,

    records: BTreeMap<u64, PlannedRecord>,
    /// Whose the records are that are in force and no longer wanted: they stay while their Service
    /// is refused.
    former: BTreeMap<u64, ObjectName>,
    frontends: BTreeMap<FrontendKey, FrontendTarget>,
    node_addresses: BTreeMap<Addr, NodeAddressValue>,

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
    /// What the batch under way takes out of force.
    leaving: Vec<Retiree>,
}

impl Layout {
    /// Takes over what the kernel holds. Everything in it stays in force until a plan says
    /// otherwise; what contradicts itself is replaced at the first opportunity.
    #[must_use]
    pub fn adopt(image: Image) -> Self {
        adopt::adopt(image)
    }

    /// The next batch: what `delta` changed, and what could not be carried out before.
    pub fn lay_out(&mut self, delta: &PlanDelta, synced: Option<&Synced>, now: Millis) -> Batch {
        self.claim_found(delta);
        self.want(delta);
        let rested = self.retired.rested(now);
        write::write(self, rested, synced.is_some())
    }

    /// Notes how far the batch came.
    pub fn settle(&mut self, batch: &Batch, applied: &Applied, now: Millis) {
        for op in batch.ops.iter().take(applied.done) {
            self.count_references(op);
            if self.mirror.apply(op).is_err() {
                debug_assert!(false, "the kernel did what its mirror cannot: {op:?}");
            }
        }
        let leaving = std::mem::take(&mut self.leaving);
        if applied.done == batch.ops.len() {
            for what in leaving {
                self.retired.add(what, now);
            }
            return;
        }
        self.rebuild(now);
    }

    /// A grace period that began at `began` is over: every program that ran then has ended.
    pub fn graced(&mut self, began: Millis) {
        self.retired.graced(began);
    }

    /// Does anything wait for a grace period?
    #[must_use]
    pub fn wants_grace(&self) -> bool {
        self.retired.wants_grace()
    }

    /// Has a record rested long enough to be cleared? Nobody waits for it, but its index and its
    /// slots are not free before.
    #[must_use]
    pub fn has_rested(&self, now: Millis) -> bool {
        self.retired.has_rested_index(now)
    }

    /// Is there anything that a next batch would carry out, and that somebody waits for?
    #[must_use]
    pub fn pending(&self) -> bool {
        !(self.dirty_records.is_empty()
            && self.dirty_frontends.is_empty()
            && self.dirty_node_addresses.is_empty())
    }

    /// Services of which something stays as it was found ([`Hold`]), and why. Nobody need try again, and
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
        let free = self.extents.total() + self.retired.slots_rested(now);
        u64::from(self.mirror.capacities.backends).saturating_sub(free)
    }

    /// What the kernel must hold now: the audit compares it with what it does hold.
    #[must_use]
    pub const fn image(&self) -> &Image {
        &self.mirror
    }

    /// Index of a record in force.
    #[must_use]
    pub fn index_of(&self, identity: u64) -> Option<u32> {
        self.index_of.get(&identity).copied()
    }

    /// Something went wrong here or wrote to the maps: adopt what is there, and forget what was
    /// wanted. The next delta must be everything.
    pub fn readopt(&mut self, image: Image, now: Millis) {
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
                if (other || delta.handed_over.contains(identity))
                    && let Some(index) = self.index_of.remove(identity)
                {
                    self.orphans.insert(index, true);
                }
                self.former.remove(identity);
            } else if let Some(gone) = self.records.remove(identity)
                && self.index_of.contains_key(identity)
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
    fn count_references(&mut self, op: &Op) {
        let (key, new) = match op {
            Op::PutFrontend { key, word } => (key, Some(*word)),
            Op::DeleteFrontend { key } => (key, None),
            _ => return,
        };
        let old = self.mirror.frontends.get(key).copied();
        adopt::count(&mut self.references, key, old, -1);
        adopt::count(&mut self.references, key, new, 1);
    }

    /// All bookkeeping anew from the mirror, everything wanted to be compared again.
    fn rebuild(&mut self, now: Millis) {
        let mut fresh = Self::adopt(std::mem::take(&mut self.mirror));
        fresh.retired.restamp(now);
        fresh.epoch = self.epoch;
        fresh.records = std::mem::take(&mut self.records);
        fresh.former = std::mem::take(&mut self.former);
        fresh.frontends = std::mem::take(&mut self.frontends);
        fresh.node_addresses = std::mem::take(&mut self.node_addresses);
        fresh.keys_of = std::mem::take(&mut self.keys_of);
        fresh.refused = std::mem::take(&mut self.refused);
        fresh.found = self.found.take();
        fresh.hold = std::mem::take(&mut self.hold);
        fresh.dirty_records.extend(fresh.records.keys());
        fresh.dirty_frontends.extend(fresh.frontends.keys());
        fresh.dirty_node_addresses.extend(fresh.node_addresses.keys());
        *self = fresh;
    }
}
