//! What is right.

use std::collections::{BTreeMap, BTreeSet};

use towpath_image::{
    Capacities, FakeKernel, ServiceImage,
    datapath::{BackendRecord, FrontendKey, FrontendKind, NodeAddressValue, SetChoice},
};
use towpath_model::{Event, Object, Relist};
use towpath_proxy::NEEDS;

use crate::{
    answers::{self, Answer, Branches},
    daemon::{Daemon, Fault},
    kernel::ask,
    told::Told,
    world::{Probe, World},
};

type Answers = BTreeMap<Probe, Answer>;

pub(crate) struct Judge {
    seed: u64,
    /// Objects since everything was last in force, and what is right for them; the last are now's.
    right: Vec<(World, Answers)>,
    steps: usize,
}

impl Judge {
    pub(crate) fn new(seed: u64) -> Self {
        // Before anything is known nothing is translated.
        let nothing = World::probes().map(|probe| (probe, Answer::NotAService)).collect();
        Self { seed, right: vec![(World::default(), nothing)], steps: 0 }
    }

    /// From now on this is right too.
    pub(crate) fn learn(&mut self, told: &Told, synced: bool, branches: &mut Branches) {
        self.steps += 1;
        if !synced {
            return;
        }
        let probes = World::probes();
        let now: Answers =
            probes.map(|p| (p, answers::answer(&told.world, &p, branches))).collect();
        if self.right.last().is_none_or(|(_, last)| *last != now) {
            self.right.push((copy(&told.world, &told.world, &told.world), now));
        }
    }

    /// After every operation each probe is right for objects of before or of now.
    pub(crate) fn every_state(&self, states: &[ServiceImage]) {
        for (number, image) in states.iter().enumerate() {
            for probe in World::probes() {
                let got = ask(image, &probe);
                assert!(
                    self.right.iter().any(|(_, right)| right[&probe] == got)
                        || self.right_on_the_way(&probe, &got),
                    "seed {}, step {}, operation {number}: {probe:?} passes through {got:?}; right \
                     are {:?}",
                    self.seed,
                    self.steps,
                    self.right.iter().map(|(_, right)| &right[&probe]).collect::<Vec<_>>()
                );
            }
        }
    }

    /// A Service, its slices and a node that change together may be seen one after the other, as a
    /// daemon shows them that hears of them one after the other.
    fn right_on_the_way(&self, probe: &Probe, got: &Answer) -> bool {
        let mut unused = Branches::default();
        let worlds = || self.right.iter().map(|(world, _)| world);
        worlds().any(|services| {
            worlds().any(|slices| {
                worlds().any(|nodes| {
                    let mixed = copy(services, slices, nodes);
                    answers::answer(&mixed, probe, &mut unused) == *got
                })
            })
        })
    }

    /// Nothing waits to be written: only the newest is right.
    pub(crate) fn settled(&mut self, image: &ServiceImage) {
        self.right.drain(..self.right.len() - 1);
        for (probe, right) in &self.right[0].1 {
            let got = ask(image, probe);
            let (seed, steps) = (self.seed, self.steps);
            assert_eq!(got, *right, "seed {seed}, step {steps}: {probe:?} (right: reference)");
        }
    }

    /// `expected`: `None` when a list before this one was held back already.
    pub(crate) fn brake(&self, expected: Option<bool>, relist: Option<&Relist>) {
        if let Some(expected) = expected {
            let (seed, steps) = (self.seed, self.steps);
            assert_eq!(relist.is_some(), expected, "seed {seed}, step {steps}: brake");
        }
    }

    /// The daemon's tables are those of one that began with these objects.
    pub(crate) fn equals_scratch(&self, objects: &World, daemon: &Daemon) {
        let capacities = daemon.image().capacities;
        let scratch = compile(objects, capacities);
        assert_eq!(
            Tables::of(daemon.image()),
            Tables::of(scratch.image()),
            "seed {} (right: from scratch)",
            self.seed
        );
        let differences = daemon.plan.differences(&daemon.store.view());
        assert_eq!(differences, Vec::<String>::new(), "seed {}", self.seed);
    }
}

fn copy(services: &World, slices: &World, nodes: &World) -> World {
    World {
        services: services.services.clone(),
        slices: slices.slices.clone(),
        nodes: nodes.nodes.clone(),
    }
}

fn compile(objects: &World, capacities: Capacities) -> Daemon {
    let mut daemon = Daemon::new(FakeKernel::new(capacities));
    let services = objects.services.values().cloned().map(Object::Service);
    let slices = objects.slices.values().cloned().map(Object::EndpointSlice);
    let nodes = objects.nodes.values().cloned().map(Object::Node);
    for object in services.chain(slices).chain(nodes) {
        daemon.store.feed(Event::Apply(object));
    }
    for stream in NEEDS {
        daemon.store.feed(Event::InitDone(stream));
    }
    daemon.turn(Fault::None);
    daemon
}

/// Flags, affinity, and the sets that something leads to: backends, and what emptiness means.
type Record = (u32, u32, Vec<(SetChoice, Vec<BackendRecord>, u64)>);

/// Tables without the numbers that depend on history: indices, slots, epochs.
#[derive(PartialEq, Eq, Debug)]
struct Tables {
    frontends: BTreeMap<FrontendKey, (u64, u8)>,
    guards: BTreeSet<FrontendKey>,
    records: BTreeMap<u64, Record>,
    node_addresses: BTreeMap<towpath_image::datapath::Addr, NodeAddressValue>,
}

impl Tables {
    fn of(image: &ServiceImage) -> Self {
        let is_guard = |key: &FrontendKey| key.kind() == Some(FrontendKind::Guard);
        let mut used: BTreeMap<u32, BTreeSet<SetChoice>> = BTreeMap::new();
        let mut frontends = BTreeMap::new();
        for (key, word) in image.frontends.iter().filter(|(key, _)| !is_guard(key)) {
            used.entry(word.service()).or_default().insert(word.set());
            let identity = image.services[&word.service()].identity;
            assert!(word.fits(key));
            frontends.insert(*key, (identity, word.flags()));
        }
        let record = |(index, record): (&u32, &towpath_image::datapath::ServiceRecord)| {
            let sets = used.get(index).into_iter().flatten().map(|choice| {
                let word = record.set(*choice);
                // Of an empty set its meaning counts.
                let empty = if word.count() == 0 { u64::from(word.base()) } else { 2 };
                (*choice, image.extent(word).to_vec(), empty)
            });
            (record.identity, (record.flags, record.affinity_seconds, sets.collect()))
        };
        Self {
            frontends,
            guards: image.frontends.keys().filter(|key| is_guard(key)).copied().collect(),
            records: image.services.iter().map(record).collect(),
            node_addresses: image.node_addresses.clone(),
        }
    }
}
