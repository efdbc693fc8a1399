//! What is right.

use std::collections::{BTreeMap, BTreeSet};

use towpath_image::{
    Capacities, FakeKernel, ServiceImage,
    datapath::{BackendRecord, FrontendKey, FrontendKind, NodeAddressValue, SetChoice},
};

use crate::{
    answers::{self, Branches, Right},
    daemon::{Daemon, Fault},
    facts::Facts,
    kernel::ask,
    question::{Answer, Probe, When},
    told::Told,
    world::{Kind, Random, World},
};

/// To each probe.
type Answers = Vec<Right>;

pub(crate) struct Judge {
    seed: u64,
    steps: usize,
    /// One half of all: over many seeds all are asked, and each run takes half the time.
    probes: Vec<Probe>,
    /// What was read last, and of which objects.
    world: World,
    /// What is right for the objects since everything was last in force; the last is now's.
    right: Vec<Answers>,
    /// What was told since then, each part once; the last are now's.
    services: Vec<Facts>,
    slices: Vec<Facts>,
    zones: Vec<Facts>,
    addresses: Vec<Facts>,
}

impl Judge {
    pub(crate) fn new(seed: u64, host_only: bool) -> Self {
        // Before anything is known nothing is translated.
        let world = World::new(host_only);
        let facts = Facts::read(&world);
        let mut random = Random::new(seed);
        let probes: Vec<Probe> = World::probes().filter(|_| random.chance(2)).collect();
        let right = vec![answers_to(&probes, &facts, &mut Branches::default())];
        let [services, slices, zones, addresses] = [(); 4].map(|()| vec![facts.clone()]);
        Self { seed, steps: 0, probes, world, right, services, slices, zones, addresses }
    }

    /// From now on this is right too.
    pub(crate) fn learn(&mut self, told: &Told, synced: bool, branches: &mut Branches) {
        self.steps += 1;
        if !synced {
            return;
        }
        let world = told.world.clone();
        let same = |kind| world.has_same(kind, &self.world);
        let [services, slices, nodes] = Kind::ALL.map(same);
        let addresses = nodes && world.own_addresses == self.world.own_addresses;
        if services && slices && addresses {
            return;
        }
        let facts = Facts::read(&world);
        self.world = world;
        let now = answers_to(&self.probes, &facts, branches);
        if self.right.last() != Some(&now) {
            self.right.push(now);
        }
        for (parts, same) in [
            (&mut self.services, services),
            (&mut self.slices, slices),
            (&mut self.zones, nodes),
            (&mut self.addresses, addresses),
        ] {
            if !same {
                parts.push(facts.clone());
            }
        }
    }

    /// After every operation each probe is right for objects of before or of now. `holds`: records
    /// that were found at the start stay whole, and with them how long a client keeps its backend and
    /// whether an empty set is empty on this node only.
    pub(crate) fn every_state(&self, states: &[ServiceImage], holds: bool) {
        // Most answers are those of the state before.
        let mut known: Vec<Vec<Answer>> = vec![Vec::new(); self.probes.len()];
        for (number, image) in states.iter().enumerate() {
            for ((at, probe), known) in self.probes.iter().enumerate().zip(&mut known) {
                let got = ask(image, probe);
                if known.contains(&got) {
                    continue;
                }
                assert!(
                    self.right.iter().any(|right| right[at].allows(&got))
                        || self.right_on_the_way(probe, &got)
                        || (holds
                            && as_held(&got).iter().any(|got| self.right_on_the_way(probe, got))),
                    "seed {}, step {}, operation {number}: {probe:?} passes through {got:?}; right \
                     are {:?}",
                    self.seed,
                    self.steps,
                    self.right.iter().map(|right| &right[at]).collect::<Vec<_>>()
                );
                known.push(got);
            }
        }
    }

    /// A Service, its slices, this node's zone and the addresses of nodes that change together may be
    /// seen one after the other, as a daemon shows them that hears of them one after the other.
    fn right_on_the_way(&self, probe: &Probe, got: &Answer) -> bool {
        let mut unused = Branches::default();
        self.services.iter().any(|services| {
            self.slices.iter().any(|slices| {
                self.zones.iter().any(|zone| {
                    self.addresses.iter().any(|addresses| {
                        let mixed = Facts::mixed(services, slices, zone, addresses);
                        answers::answer(&mixed, probe, &mut unused).allows(got)
                    })
                })
            })
        })
    }

    /// Nothing waits to be written: only the newest is right.
    pub(crate) fn settled(&mut self, image: &ServiceImage) {
        self.right.drain(..self.right.len() - 1);
        let parts = [&mut self.services, &mut self.slices, &mut self.zones, &mut self.addresses];
        for part in parts {
            part.drain(..part.len() - 1);
        }
        for (probe, right) in self.probes.iter().zip(&self.right[0]) {
            let got = ask(image, probe);
            let (seed, steps) = (self.seed, self.steps);
            assert!(
                right.allows(&got),
                "seed {seed}, step {steps}: {probe:?} gets {got:?}; reference: {right:?}"
            );
        }
    }

    /// `expected`: `None` when a list before this one was held back already.
    pub(crate) fn brake(&self, expected: Option<bool>, braked: bool) {
        if let Some(expected) = expected {
            let (seed, steps) = (self.seed, self.steps);
            assert_eq!(braked, expected, "seed {seed}, step {steps}: brake");
        }
    }

    /// The daemon's tables are those of one that began with these objects.
    pub(crate) fn equals_scratch(&self, objects: &World, daemon: &Daemon) {
        let capacities = daemon.image().capacities;
        let scratch = compile(objects, capacities);
        let (held, right) = (Tables::of(&daemon.image()), Tables::of(&scratch.image()));
        let seed = self.seed;
        assert_eq!(held.frontends, right.frontends, "seed {seed} (right: from scratch)");
        assert_eq!(held.records, right.records, "seed {seed} (right: from scratch)");
        assert!(held == right, "seed {seed}: {held:?}; from scratch: {right:?}");
        assert_eq!(daemon.plan_differences(), Vec::<String>::new(), "seed {}", self.seed);
    }
}

/// The same backends, kept for as long as any Service of these objects says; none, for either reason.
fn as_held(answer: &Answer) -> Vec<Answer> {
    match answer {
        Answer::OneOf(backends, _) => [None, Some(1), Some(30), Some(10_800), Some(86_400)]
            .map(|seconds| Answer::OneOf(backends.clone(), seconds))
            .to_vec(),
        Answer::NoLocalEndpoint => [When::AtOnce, When::Later].map(Answer::NoEndpoint).to_vec(),
        _ => Vec::new(),
    }
}

fn answers_to(probes: &[Probe], facts: &Facts, branches: &mut Branches) -> Answers {
    probes.iter().map(|probe| answers::answer(facts, probe, branches)).collect()
}

fn compile(objects: &World, capacities: Capacities) -> Daemon {
    let mut daemon = Daemon::new(FakeKernel::new(capacities));
    for said in objects.everything() {
        daemon.ingest(said.event());
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
