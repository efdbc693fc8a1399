//! Where everything is in the maps, and in which order it is written.
//!
//! A change has two phases. *Make*: rows for new classes and rulesets; the addresses' classes on the
//! side that no pod reads; then each pod's words, one store for each direction, so that each pod's
//! packets are judged by the old policies or by the new ones, never by some of both. *Clean*, after a
//! grace period: the side that no pod reads any more follows, and what has no reader is deleted; its
//! numbers rest before they are given out again. A change of addresses alone, under the same rulesets,
//! needs no flip: each address changes with one write.

mod adopt;
mod clean;
mod found;
mod make;
mod numbers;
mod ports;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use towpath_image::{
    Applied, Batch, MapName, Millis, PolicyImage, PolicyOp, Retired,
    datapath::policy::{BlockKey, Side},
};
use towpath_model::ObjectName;

pub use self::found::Opens;
use self::numbers::{Number, Numbers};
use crate::{Allowed, PolicyDelta, PolicyPlan, Ruleset, Signature};

/// Which pod each device belongs to, by interface index.
pub type Bindings = BTreeMap<u32, ObjectName>;

/// Why a change was not laid out. What was in force before stays; a pod that is new is not bound, and
/// so closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// What is full.
    pub map: MapName,
    /// How much it holds.
    pub capacity: u32,
}

/// A pod as it is laid out: another address is another slot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct PodKey {
    name: ObjectName,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

/// What isolates a pod.
type Isolated = (Option<Arc<Ruleset>>, Option<Arc<Ruleset>>);

/// The maps, as they are or will be when every operation that was given out is done.
#[derive(Clone, Debug)]
pub struct PolicyLayout {
    image: PolicyImage,
    /// The side that pods read.
    side: Side,
    signatures: BTreeMap<Signature, u16>,
    rulesets: BTreeMap<Arc<Ruleset>, (u32, u32)>,
    rows: BTreeMap<Allowed, u32>,
    pods: BTreeMap<PodKey, (u32, Isolated)>,
    /// The blocks wanted, by class.
    blocks: BTreeMap<BlockKey, u16>,
    numbers: Numbers,
    retired: Retired<Number>,
    /// Numbers that nothing leads to when the batch at hand is written.
    leaving: Vec<Number>,
    /// Addresses that were not laid out yet.
    touched: BTreeSet<IpAddr>,
    /// Pods or blocks were not laid out yet.
    stale: bool,
    blocks_stale: bool,
    /// Addresses of which the two sides differ, or which are on their way out.
    split: BTreeSet<IpAddr>,
    /// Operations that were given out and not done.
    undone: Vec<PolicyOp>,
    clean: Clean,
    /// Numbers in the maps whose meaning an earlier daemon knew.
    foreign: bool,
    generation: u32,
}

/// Is there something to clean up, and may it be?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Clean {
    Nothing,
    /// When the batch is written.
    Later,
    /// When a grace period that began after this is over.
    Since(Millis),
    Now,
}

impl PolicyLayout {
    /// The next operations, in the one safe order; and why a change is not among them. Nothing is
    /// given out while earlier operations fail, or while a grace period is waited for.
    pub fn lay_out(
        &mut self,
        plan: &PolicyPlan,
        delta: PolicyDelta,
        bindings: &Bindings,
        now: Millis,
    ) -> (Batch<PolicyOp>, Option<Refused>) {
        let mut delta = delta;
        self.touched.append(&mut delta.peers);
        self.stale |= delta.pods || delta.blocks;
        self.blocks_stale |= delta.blocks;
        for number in self.retired.rested(now) {
            self.numbers.give(number);
        }
        if !self.undone.is_empty() {
            return (Batch { ops: self.undone.clone() }, None);
        }
        let mut ops = Vec::new();
        match self.clean {
            Clean::Now => self.clean_up(&mut ops),
            Clean::Nothing => {}
            Clean::Later | Clean::Since(_) => return (Batch { ops }, None),
        }
        let refused = match self.is_stale(plan) {
            true => self.make(plan, &mut ops).err(),
            false => None,
        };
        // What an earlier daemon left is bound until this one has laid out its pods: a first change that
        // is refused closes none of them.
        if !self.foreign {
            self.bind(bindings, &mut ops);
        }
        if ops.is_empty() && self.clean == Clean::Later {
            self.clean = Clean::Since(now);
        }
        self.undone.clone_from(&ops);
        (Batch { ops }, refused)
    }

    fn is_stale(&self, plan: &PolicyPlan) -> bool {
        self.foreign
            || self.stale
            || !self.touched.is_empty()
            || plan.any_policy() != self.is_closed()
    }

    /// Takes note of how far a batch came. `written`: the time after it.
    pub fn settle(&mut self, batch: &Batch<PolicyOp>, applied: &Applied, written: Millis) {
        let done = applied.done.min(batch.ops.len()).min(self.undone.len());
        self.undone.drain(..done);
        if !self.undone.is_empty() {
            return;
        }
        for number in self.leaving.drain(..) {
            self.retired.add(number, written);
        }
        if self.clean == Clean::Later {
            self.clean = Clean::Since(written);
        }
    }

    /// A grace period that began at `began` is over.
    pub fn graced(&mut self, began: Millis) {
        self.retired.graced(began);
        if matches!(self.clean, Clean::Since(written) if written < began) {
            self.clean = Clean::Now;
        }
    }

    /// Does anything wait for a grace period?
    #[must_use]
    pub fn wants_grace(&self) -> bool {
        matches!(self.clean, Clean::Since(_)) || self.retired.wants_grace()
    }

    /// Is there something to give out, should [`Self::lay_out`] be asked?
    #[must_use]
    pub fn is_due(&self, now: Millis) -> bool {
        self.clean == Clean::Now
            || !self.undone.is_empty()
            || self.retired.over(now).next().is_some()
    }

    /// What the maps hold when all that was given out is done.
    #[must_use]
    pub const fn image(&self) -> &PolicyImage {
        &self.image
    }

    /// Is everything done that was given out?
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.undone.is_empty()
    }

    /// The slot of a pod of this node.
    #[must_use]
    pub fn slot(&self, name: &ObjectName) -> Option<u32> {
        let first = PodKey { name: name.clone(), v4: None, v6: None };
        let mut from = self.pods.range(first..);
        from.next().filter(|(key, _)| key.name == *name).map(|(_, (slot, _))| *slot)
    }

    fn put(&mut self, op: PolicyOp, ops: &mut Vec<PolicyOp>) {
        use towpath_image::Image;
        let fits = self.image.apply(&op);
        debug_assert!(fits.is_ok(), "room was counted before: {fits:?}");
        ops.push(op);
    }
}
