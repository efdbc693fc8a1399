//! A layout and its kernel, and records apart from the layout's of when each slot was left.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use towpath_image::{
    Batch, Capacities, Image as _, ServiceImage, ServiceOp,
    datapath::{
        Addr, BackendRecord, Empty, FrontendKey, FrontendKind, FrontendWord, NodeAddressValue,
        SetWord,
    },
};
use towpath_model::{Event, ObjectName, Store, Synced, service::Cidr};
use towpath_proxy::{
    FrontendTarget, Layout, NEEDS, PlanDelta, PlannedRecord, PlannedSet, ProxyConfig, ServicePlan,
};

use crate::pipeline::Pipeline;

/// What one Service wants: the last bytes of its backends, affinity, and how many frontends.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Want {
    pub(crate) cluster: BTreeSet<u8>,
    pub(crate) local: BTreeSet<u8>,
    pub(crate) affinity: Option<u32>,
    pub(crate) frontends: u8,
    /// Last bytes of addresses that source ranges let in.
    pub(crate) ranges: BTreeSet<u8>,
}

/// With `cluster` backends of its own, no affinity and one frontend.
pub(crate) fn want(cluster: impl IntoIterator<Item = u8>) -> Want {
    Want { cluster: cluster.into_iter().collect(), frontends: 1, ..Want::default() }
}

/// Every kind was listed.
pub(crate) fn synced() -> Synced {
    let mut store = Store::new("n0");
    for stream in NEEDS {
        store.feed(Event::InitDone(stream));
    }
    store.view().synced(&NEEDS).unwrap()
}

pub(crate) fn backend(last: u8) -> BackendRecord {
    BackendRecord::new(Addr::from(Ipv4Addr::new(10, 0, 0, last)), 8080)
}

fn range(last: u8) -> Cidr {
    Cidr { base: Ipv4Addr::new(172, 16, 0, last).into(), prefix: 32 }
}

pub(crate) fn key(identity: u64, number: u8) -> FrontendKey {
    let service = u8::try_from(identity).unwrap();
    FrontendKey::vip(Addr::from(Ipv4Addr::new(10, 96, number, service)), 80, 6)
}

fn set(backends: &BTreeSet<u8>) -> PlannedSet {
    let mut backends: Vec<_> = backends.iter().copied().map(backend).collect();
    backends.sort_unstable_by_key(BackendRecord::order);
    PlannedSet { backends: backends.into(), empty: Empty::Refuse, used: true }
}

pub(crate) struct Fixture {
    pipeline: Pipeline,
    /// On a clock that no restart stops.
    pub(crate) now: u64,
    wanted: BTreeMap<u64, Want>,
    delta: PlanDelta,
    /// When the present daemon was started.
    started: u64,
    /// Beginning of the newest grace period that is over.
    graced: u64,
    slot_left: BTreeMap<u32, u64>,
    index_left: BTreeMap<u32, u64>,
    damaged: bool,
    /// How often slots were used again.
    pub(crate) used_again: usize,
}

impl Fixture {
    pub(crate) fn new(capacities: Capacities) -> Self {
        Self {
            pipeline: Pipeline::new(capacities, ServicePlan::new(ProxyConfig::default())),
            now: 1,
            wanted: BTreeMap::new(),
            delta: PlanDelta::default(),
            started: 0,
            graced: 0,
            slot_left: BTreeMap::new(),
            index_left: BTreeMap::new(),
            damaged: false,
            used_again: 0,
        }
    }

    pub(crate) const fn layout(&self) -> &Layout {
        &self.pipeline.layout
    }

    pub(crate) const fn layout_mut(&mut self) -> &mut Layout {
        &mut self.pipeline.layout
    }

    /// What the maps hold.
    pub(crate) const fn image(&self) -> &ServiceImage {
        &self.pipeline.kernel.image
    }

    /// The same, to be written to behind the layout's back.
    pub(crate) const fn image_mut(&mut self) -> &mut ServiceImage {
        &mut self.pipeline.kernel.image
    }

    /// Notes what a Service wants; nothing is written before the next [`Self::turn`].
    pub(crate) fn want(&mut self, identity: u64, want: Option<Want>) {
        let old = match want.clone() {
            Some(want) => self.wanted.insert(identity, want),
            None => self.wanted.remove(&identity),
        };
        for number in 0..old.map_or(0, |old| old.frontends) {
            self.delta.frontends.insert(key(identity, number), None);
        }
        let record = want.map(|want| {
            for number in 0..want.frontends {
                let target = FrontendTarget { identity, flags: 0 };
                self.delta.frontends.insert(key(identity, number), Some(target));
            }
            PlannedRecord {
                identity,
                owner: ObjectName::new("d", &format!("s{identity}")),
                affinity_seconds: want.affinity,
                sets: [set(&want.cluster), set(&want.local)],
                source_ranges: want.ranges.iter().map(|last| range(*last)).collect(),
            }
        });
        self.delta.records.insert(identity, record);
    }

    pub(crate) fn want_node_address(&mut self, last: u8, node: Option<u64>) {
        let addr = Addr::from(Ipv4Addr::new(192, 168, 0, last));
        let value = node.map(|node| NodeAddressValue { node, flags: 0, reserved: 0 });
        self.delta.node_addresses.insert(addr, value);
    }

    /// Lays out and applies; checks every operation against the book. Answers the batch.
    #[track_caller]
    pub(crate) fn turn(
        &mut self,
        synced: Option<&Synced>,
        fail_after: Option<usize>,
    ) -> Batch<ServiceOp> {
        let delta = std::mem::take(&mut self.delta);
        self.pipeline.now = self.now - self.started;
        if let Some(after) = fail_after {
            self.pipeline.fail_after(after);
        }
        let mut book = self.pipeline.kernel.image.clone();
        let (batch, applied) = self.pipeline.write(&delta, synced);
        self.pipeline.kernel.fail_after = None;
        for op in batch.ops.iter().take(applied.done) {
            if self.damaged {
                continue;
            }
            self.check(&book, op);
            let before = Reach::of(&book);
            book.apply(op).unwrap();
            let now = Reach::of(&book);
            self.slot_left.retain(|slot, _| !now.slots.contains(slot));
            self.index_left.retain(|index, _| !now.indices.contains(index));
            self.slot_left.extend(before.slots.difference(&now.slots).map(|s| (*s, self.now)));
            self.index_left.extend(before.indices.difference(&now.indices).map(|i| (*i, self.now)));
        }
        self.now += 1;
        batch
    }

    /// A grace period that began at `began`, on this clock, is over.
    pub(crate) fn grace(&mut self, began: u64) {
        self.graced = self.graced.max(began);
        self.pipeline.layout.graced(began.saturating_sub(self.started));
    }

    /// Turns until nothing is left to do, with all the time in the world.
    pub(crate) fn calm_down(&mut self) {
        for _ in 0..6 {
            self.turn(Some(&synced()), None);
            self.now += 1;
            self.grace(self.now);
            self.now += 1_000;
        }
    }

    /// The daemon died; the next one starts its clock at 1 and is told everything.
    pub(crate) fn restart(&mut self) {
        self.started = self.now;
        self.now += 1;
        self.pipeline.layout = Layout::adopt(self.pipeline.kernel.image.clone());
        self.tell_everything();
    }

    /// The audit found something: the daemon looks at the maps again.
    pub(crate) fn readopt(&mut self) {
        self.pipeline.layout.readopt(self.pipeline.kernel.image.clone(), self.now);
        self.tell_everything();
    }

    /// From here on it is not judged whether a damaged image is overwritten on the way to order.
    pub(crate) fn forget_history(&mut self) {
        self.damaged = true;
    }

    fn tell_everything(&mut self) {
        self.delta = PlanDelta::default();
        for (identity, want) in self.wanted.clone() {
            self.want(identity, Some(want));
        }
    }

    /// Is this in force, exactly and completely?
    #[track_caller]
    pub(crate) fn assert_all_in_force(&self) {
        let image = &self.pipeline.kernel.image;
        slots(image);
        let keys = self.wanted.iter().flat_map(|(i, w)| (0..w.frontends).map(|n| key(*i, n)));
        assert_eq!(image.frontends.keys().copied().collect::<BTreeSet<_>>(), keys.collect());
        for (identity, want) in &self.wanted {
            self.assert_in_force(*identity, want);
        }
        let found: Vec<u64> = image.services.values().map(|record| record.identity).collect();
        assert_eq!(found.len(), self.wanted.len(), "one record each: {found:?}");
        let ranges: usize = self.wanted.values().map(|want| want.ranges.len()).sum();
        assert_eq!(image.source_ranges.len(), ranges, "no other ranges");
    }

    #[track_caller]
    pub(crate) fn assert_in_force(&self, identity: u64, want: &Want) {
        let image = &self.pipeline.kernel.image;
        let index = self.pipeline.layout.index_of(identity).unwrap();
        let record = image.services[&index];
        assert_eq!(record.identity, identity);
        assert_eq!(
            (record.flags, record.affinity_seconds, record.source_ranges, record.reserved),
            (u32::from(want.affinity.is_some()), want.affinity.unwrap_or(0), 0, [0; 7]),
            "record {identity}"
        );
        for (word, wanted) in record.sets.into_iter().zip([&want.cluster, &want.local]) {
            let found: BTreeSet<IpAddr> =
                image.extent(word).iter().map(|b| IpAddr::from(b.addr)).collect();
            let wanted = wanted.iter().map(|last| IpAddr::from(backend(*last).addr)).collect();
            assert_eq!(found, wanted, "a set of {identity}");
            assert!(image.extent(word).is_sorted_by_key(BackendRecord::order), "binary search");
        }
        let found: BTreeSet<Addr> = image.ranges(index).map(|key| key.addr).collect();
        let wanted = want.ranges.iter().map(|last| Addr::from(range(*last).base)).collect();
        assert_eq!(found, wanted, "source ranges of {identity}");
        for number in 0..want.frontends {
            let key = key(identity, number);
            assert_eq!(image.frontends[&key], FrontendWord::new(&key, index, 0));
        }
    }

    /// Nothing in force is overwritten, and what was in force rests first.
    #[track_caller]
    fn check(&mut self, before: &ServiceImage, op: &ServiceOp) {
        match op {
            ServiceOp::WriteBackends { base, records } => {
                let live = slots(before);
                for slot in (*base..).take(records.len()) {
                    assert!(!live.contains(&slot), "slot {slot} is in force: {op:?}");
                    if let Some(left) = self.slot_left.get(&slot).copied() {
                        self.used_again += 1;
                        self.assert_rested("slot", slot, left);
                    }
                }
            }
            ServiceOp::WriteService { index, record } if record.identity != 0 => {
                assert!(!indices(before).contains(index), "index {index} is in force: {op:?}");
                if let Some(left) = self.index_left.get(index).copied() {
                    self.assert_rested("index", *index, left);
                }
            }
            ServiceOp::WriteService { index, .. } => {
                let mut leading = before.frontends.iter().filter(|(k, _)| !is_guard(k));
                assert!(leading.all(|(_, word)| word.service() != *index), "cleared: {op:?}");
                // A program that read the frontend before it went must not find nothing here.
                if let Some(left) = self.index_left.get(index).copied() {
                    self.assert_rested("cleared index", *index, left);
                }
            }
            ServiceOp::PutRange { key } | ServiceOp::DeleteRange { key } => {
                assert!(!indices(before).contains(&key.service), "it is in force: {op:?}");
            }
            _ => {}
        }
    }

    #[track_caller]
    fn assert_rested(&self, what: &str, number: u32, left: u64) {
        assert!(self.graced > left, "{what} {number} left at {left}, grace {}", self.graced);
        assert!(self.now >= left + 1_000, "{what} {number} left at {left}, now {}", self.now);
    }
}

fn is_guard(key: &FrontendKey) -> bool {
    key.kind() == Some(FrontendKind::Guard)
}

/// Slots of every record; no two extents may overlap.
#[track_caller]
fn slots(image: &ServiceImage) -> BTreeSet<u32> {
    let mut slots = BTreeSet::new();
    for word in image.services.values().flat_map(|record| record.sets) {
        for slot in (word.base()..).take(usize::from(SetWord::count(word))) {
            assert!(slots.insert(slot), "slot {slot} is in two extents");
        }
    }
    slots
}

/// What a program that begins now can come to.
struct Reach {
    indices: BTreeSet<u32>,
    slots: BTreeSet<u32>,
}

impl Reach {
    fn of(image: &ServiceImage) -> Self {
        let leading = image.frontends.iter().filter(|(key, _)| !is_guard(key));
        let indices: BTreeSet<u32> = leading.map(|(_, word)| word.service()).collect();
        let records = indices.iter().filter_map(|index| image.services.get(index));
        let words = records.flat_map(|record| record.sets);
        let slots = words.flat_map(|w| (w.base()..).take(usize::from(w.count()))).collect();
        Self { indices, slots }
    }
}

/// Indices that have a record or that a frontend leads to.
fn indices(image: &ServiceImage) -> BTreeSet<u32> {
    let leading = image.frontends.iter().filter(|(key, _)| !is_guard(key));
    leading.map(|(_, word)| word.service()).chain(image.services.keys().copied()).collect()
}
