//! A cluster in one thread, by a seed: an API server whose objects change at random and whose
//! streams break, a kernel whose writes fail at any position, grace periods that come late, a daemon
//! that dies in the middle of a batch; and after every single operation a judge.
//!
//! - Each probe gets what is right for the objects before the change or after it, never a third
//!   (Services, slices and nodes that change together may be seen one kind after the other).
//! - After quiescence the tables are those of a compile from scratch, and nothing has leaked.
//! - The same seed gives the same batches.
//!
//! The judge is the reference of `proxy/tests`, which shares nothing with what it judges. A failure
//! names its seed: `TOWPATH_SIM_SEED=17 cargo test --release --test sim` plays that one only;
//! `TOWPATH_SIM_SEEDS=5000` plays more than usual.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../proxy/tests/reference/answers.rs"]
mod answers;
#[path = "sim/daemon.rs"]
mod daemon;
#[path = "sim/judge.rs"]
mod judge;
#[path = "../proxy/tests/reference/kernel.rs"]
mod kernel;
#[path = "sim/server.rs"]
mod server;
#[path = "sim/told.rs"]
mod told;
#[path = "../proxy/tests/reference/world.rs"]
mod world;

use std::{collections::BTreeMap, env};

use answers::Branches;
use daemon::{Daemon, Fault};
use judge::Judge;
use server::Server;
use told::Told;
use towpath_image::{Batch, Capacities, FakeKernel, KernelError, MapName, ServiceOp};
use world::Random;

/// Things that happen in one run.
const STEPS: usize = 70;
const SEEDS: u64 = 40;

/// How often each thing happened: what never happens proves nothing.
#[derive(Default)]
struct Happened(BTreeMap<&'static str, u64>);

impl Happened {
    fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

/// One run: everything in it follows from the seed.
struct Sim {
    random: Random,
    server: Server,
    daemon: Daemon,
    told: Told,
    judge: Judge,
    /// Maps too small for everything: then only what fits is judged.
    cramped: bool,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let cramped = random.chance(4);
        let roomy = Capacities { frontends: 400, services: 200, backends: 400, node_addresses: 50 };
        let small = Capacities { frontends: 90, services: 75, backends: 14, node_addresses: 50 };
        let mut sim = Self {
            server: Server::default(),
            daemon: Daemon::new(FakeKernel::new(if cramped { small } else { roomy })),
            told: Told::default(),
            judge: Judge::new(seed),
            random,
            cramped,
        };
        sim.server.add_ballast();
        sim.server.break_streams(&mut sim.random);
        sim
    }

    fn step(&mut self, happened: &mut Happened, branches: &mut Branches) {
        match self.random.below(24) {
            0..=9 => self.server.change(&mut self.random),
            10..=16 => self.hear(happened),
            17 => {
                happened.note("streams break");
                self.server.break_streams(&mut self.random);
            }
            18 => {
                happened.note("a list lacks most");
                self.server.half_empty_list();
            }
            19 => {
                happened.note("most is deleted");
                self.server.lose_ballast(&mut self.random);
            }
            20 => {
                happened.note("an object is unreadable");
                self.server.garble(&mut self.random);
            }
            21 => self.daemon.now += 100 * self.random.below(40) as u64,
            22 => self.daemon.late_grace(&mut self.random),
            _ => {
                self.hear(happened);
                let dies_after = self.random.below(5);
                if self.daemon.turn(Fault::Dies(dies_after)) {
                    happened.note("death in the middle of a batch");
                }
                self.judge_states(branches);
                self.restart(happened);
            }
        }
        self.turn(happened, branches);
    }

    /// Some of what the server said arrives.
    fn hear(&mut self, happened: &mut Happened) {
        for _ in 0..=self.random.below(self.server.waiting() + 1) {
            let Some(event) = self.server.next() else { return };
            let expects_brake = self.told.would_brake(&event);
            let relist = self.daemon.store.feed(event.clone());
            self.judge.brake(expects_brake, relist.as_ref());
            self.told.hear(event, relist.is_some());
            if let Some(relist) = relist {
                happened.note("brake");
                self.server.list(relist.0.kind);
            }
        }
    }

    fn turn(&mut self, happened: &mut Happened, branches: &mut Branches) {
        let fault = if self.random.chance(6) {
            let map = [MapName::FRONTENDS, MapName::SERVICES, MapName::BACKENDS];
            let map = map[self.random.below(3)];
            let failure = if self.random.chance(2) {
                KernelError::Full { map, capacity: 1 }
            } else {
                KernelError::System { map, what: "writing".into(), cause: "ordered".into() }
            };
            Fault::Fails(self.random.below(10), failure)
        } else {
            Fault::None
        };
        self.judge.learn(&self.told, self.daemon.synced(), branches);
        if self.daemon.turn(fault) {
            happened.note("a write fails");
        }
        if self.daemon.layout.refused().count() > 0 {
            happened.note("a Service does not fit");
        }
        self.judge(branches);
    }

    fn judge_states(&mut self, branches: &mut Branches) {
        self.judge.learn(&self.told, self.daemon.synced(), branches);
        let history = self.daemon.history();
        if !self.cramped {
            self.judge.every_state(&history);
        }
    }

    fn judge(&mut self, branches: &mut Branches) {
        self.judge_states(branches);
        if self.daemon.synced() && !self.daemon.layout.pending() {
            self.judge.settled(self.daemon.image());
        }
    }

    /// Another daemon takes over; the server lists everything to it, kind by kind.
    fn restart(&mut self, happened: &mut Happened) {
        happened.note("restart");
        self.daemon.restart();
        self.told = Told::default();
        self.server.break_streams(&mut self.random);
    }

    /// Faults end, everything is heard, time goes by.
    fn quiesce(&mut self, happened: &mut Happened, branches: &mut Branches) {
        while self.server.waiting() > 0 {
            self.hear(happened);
        }
        for _ in 0..8 {
            self.judge.learn(&self.told, self.daemon.synced(), branches);
            self.daemon.turn(Fault::None);
            self.judge(branches);
            self.daemon.rest();
        }
    }
}

/// Plays one seed to its end; answers every batch that was written.
fn play(seed: u64, happened: &mut Happened, branches: &mut Branches) -> Vec<Batch<ServiceOp>> {
    let mut sim = Sim::new(seed);
    for _ in 0..STEPS {
        sim.step(happened, branches);
    }
    // What was unreadable is mended, and nothing is on its way any more.
    sim.server.mend();
    sim.server.break_streams(&mut sim.random);
    sim.quiesce(happened, branches);
    if !sim.cramped {
        assert!(!sim.daemon.layout.pending(), "seed {seed}: something is never written");
        sim.judge.equals_scratch(&sim.server.objects, &sim.daemon);
    }
    // Everything goes: all the room must be there again, in one piece.
    sim.server.clear();
    sim.quiesce(happened, branches);
    sim.judge.equals_scratch(&sim.server.objects, &sim.daemon);
    sim.server.fill(sim.daemon.image().capacities.backends);
    sim.quiesce(happened, branches);
    assert_eq!(sim.daemon.layout.refused().count(), 0, "seed {seed}: slots have leaked");
    sim.judge.equals_scratch(&sim.server.objects, &sim.daemon);
    sim.daemon.batches
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap());
    if let Some(seed) = number("TOWPATH_SIM_SEED") {
        return seed..=seed;
    }
    1..=number("TOWPATH_SIM_SEEDS").unwrap_or(SEEDS)
}

#[test]
fn every_seed_ends_well() {
    let (mut happened, mut branches) = (Happened::default(), Branches::default());
    for seed in seeds() {
        play(seed, &mut happened, &mut branches);
    }
    println!("{:?}", happened.0);
    if seeds().count() > 500 {
        branches.assert_all_were_taken();
    }
    let all = [
        "streams break",
        "a list lacks most",
        "most is deleted",
        "an object is unreadable",
        "brake",
        "a write fails",
        "a Service does not fit",
        "restart",
        "death in the middle of a batch",
    ];
    let all = if seeds().count() < 10 { &all[..0] } else { &all[..] };
    let never: Vec<_> = all.iter().filter(|what| !happened.0.contains_key(*what)).collect();
    assert!(never.is_empty(), "{never:?} of {:?}", happened.0);
}

#[test]
fn the_same_seed_gives_the_same_batches() {
    for seed in 1_000..1_004 {
        let mut runs =
            [(); 2].map(|()| play(seed, &mut Happened::default(), &mut Branches::default()));
        let [one, other] = &mut runs;
        assert!(!one.is_empty());
        assert_eq!(one, other, "seed {seed}");
    }
}

/// A judge that never says no proves nothing: a kernel that carries batches out backwards must be
/// found out.
#[test]
fn writes_in_the_wrong_order_are_found_out() {
    let found_out = (1..13).filter(|seed| {
        let played = std::panic::catch_unwind(|| {
            let mut sim = Sim::new(*seed);
            sim.daemon.backwards = true;
            let (mut happened, mut branches) = (Happened::default(), Branches::default());
            for _ in 0..STEPS {
                sim.step(&mut happened, &mut branches);
            }
        });
        let said = played.err().and_then(|panic| panic.downcast::<String>().ok());
        said.is_some_and(|text| text.contains("passes through"))
    });
    assert!(found_out.count() > 3);
}
