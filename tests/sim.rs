//! A cluster in one thread, by a seed: an API server whose objects change at random and whose
//! streams break, a kernel whose writes fail at any position, grace periods that come late, a daemon
//! that dies in the middle of a batch; and after every single operation a judge. What runs is the
//! daemon's loop itself (`towpath::reconcile::State` with the areas of `towpath::agent`), with a clock
//! that goes on with every operation.
//!
//! - Each probe gets what is right for the objects before the change or after it, never a third
//!   (Services, slices and nodes that change together may be seen one kind after the other).
//! - What a program that was held up has yet to read is not used again before it has ended.
//! - What a start finds in the kernel stays while its object exists: when the first lists lack most,
//!   and when the object cannot be read.
//! - What is changed behind the daemon's back is found by an audit and repaired; a program that was
//!   detached comes back.
//! - After quiescence the tables are those of a compile from scratch, and nothing has leaked.
//! - The same seed gives the same batches.
//!
//! The judge is the reference of `proxy/tests`, which reads the same JSON with code of its own. A failure
//! names its seed: `cargo xtask sim --seeds 1 --from SEED` plays that one only; `--seeds 5000` plays more
//! than usual, on every core.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../proxy/tests/reference/answers.rs"]
mod answers;
#[path = "sim/daemon.rs"]
mod daemon;
#[path = "../proxy/tests/reference/facts.rs"]
mod facts;
#[path = "sim/judge.rs"]
mod judge;
#[path = "sim/kept.rs"]
mod kept;
#[path = "../proxy/tests/reference/kernel.rs"]
mod kernel;
#[path = "../proxy/tests/reference/question.rs"]
mod question;
#[path = "sim/readers.rs"]
mod readers;
#[path = "sim/server.rs"]
mod server;
#[path = "daemon/start.rs"]
mod start;
#[path = "sim/told.rs"]
mod told;
#[path = "../proxy/tests/reference/world.rs"]
mod world;

use std::{collections::BTreeMap, env};

use answers::Branches;
use daemon::{Daemon, Fault};
use judge::Judge;
use kept::Kept;
use server::Server;
use told::Told;
use towpath_image::{
    Batch, Capacities, FakeKernel, KernelError, MapName, ServiceOp, datapath::ConfigRecord,
};
use world::{Kind, Random};

/// Things that happen in one run.
const STEPS: usize = 70;
const SEEDS: u64 = 32;
/// The daemon looks at its programs this often.
const HEALED_WITHIN_MS: u64 = 10_000;
/// The daemon waits this long at most before it tries a write again.
const LONGEST_WAIT_MS: u64 = 31_000;

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
    /// What the last start found and must not lose.
    kept: Kept,
    /// The lists that a start waits for were complete in a turn.
    judged: bool,
    /// Something was kept when all was judged last.
    held: bool,
    /// Maps too small for everything: then only what fits is judged.
    cramped: bool,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let cramped = random.chance(4);
        let roomy = Capacities { frontends: 600, services: 400, backends: 400, node_addresses: 50 };
        let small = Capacities { frontends: 90, services: 75, backends: 14, node_addresses: 50 };
        let host_only = random.chance(8);
        let mut kernel = FakeKernel::new(if cramped { small } else { roomy });
        kernel.image.config.flags = if host_only { ConfigRecord::HOST_ONLY } else { 0 };
        let mut sim = Self {
            server: Server::new(host_only),
            daemon: Daemon::new(kernel),
            told: Told::new(host_only),
            judge: Judge::new(seed, host_only),
            kept: Kept::default(),
            judged: false,
            held: false,
            random,
            cramped,
        };
        sim.server.add_ballast();
        sim.server.break_streams(&mut sim.random);
        sim
    }

    fn step(&mut self, happened: &mut Happened, branches: &mut Branches) {
        match self.random.below(29) {
            0..=9 => self.server.change(&mut self.random),
            10..=16 => self.receive(happened),
            17 => {
                happened.note("streams break");
                self.server.break_streams(&mut self.random);
            }
            18 => {
                happened.note("a list lacks most");
                self.server.half_empty_list();
                self.kept = Kept::default();
            }
            19 => {
                happened.note("most is deleted");
                self.server.lose_ballast(&mut self.random);
                self.kept = Kept::default();
            }
            20 => {
                happened.note("an object is unreadable");
                self.server.garble(&mut self.random);
            }
            21 => self.daemon.pass(100 * self.random.below(40) as u64),
            22 => {
                happened.note("late grace");
                self.daemon.late_grace(&mut self.random);
            }
            23 => self.overtake_a_grace(happened, branches),
            24 | 25 => self.daemon.begin_reader(&mut self.random),
            26 => self.damage(happened),
            27 => self.detach(happened),
            _ => {
                self.receive(happened);
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
    fn receive(&mut self, happened: &mut Happened) {
        for _ in 0..=self.random.below(self.server.waiting() + 1) {
            let Some(said) = self.server.next() else { return };
            if self.told.lists_again(&said) && !self.judged {
                // The first list and half of another, in one turn: what both lack may be little.
                self.kept = Kept::default();
            }
            let expects_brake = self.told.would_brake(&said);
            self.daemon.ingest(said.event());
            let relist = self.daemon.relist();
            self.judge.brake(expects_brake, relist.is_some());
            self.told.receive(said, relist.is_some());
            if let Some(relist) = relist {
                happened.note("brake");
                self.server.list(Kind::asked(relist));
            }
        }
    }

    /// A turn may doubt the first lists after a start.
    fn answer_relists(&mut self, happened: &mut Happened) {
        while let Some(relist) = self.daemon.relist() {
            happened.note("the first list is doubted");
            self.server.list(Kind::asked(relist));
        }
    }

    /// Something else writes to the maps; an audit finds it, and the daemon repairs it.
    fn damage(&mut self, happened: &mut Happened) {
        if self.cramped || !self.daemon.is_settled() || self.daemon.holds() {
            return;
        }
        let image = self.daemon.image();
        let key = image.frontends.keys().nth(self.random.below(image.frontends.len().max(1)));
        let record = image.services.iter().nth(self.random.below(image.services.len().max(1)));
        let damage = match (key, record) {
            (Some(key), _) if self.random.chance(2) => ServiceOp::DeleteFrontend { key: *key },
            (_, Some((index, record))) => {
                let record = towpath_image::datapath::ServiceRecord {
                    affinity_seconds: record.affinity_seconds + 1,
                    ..*record
                };
                ServiceOp::WriteService { index: *index, record }
            }
            _ => return,
        };
        happened.note("the maps are damaged");
        towpath_image::Image::apply(&mut self.daemon.maps().fake.image, &damage).unwrap();
        let differences = self.daemon.differences();
        assert!(!differences.is_empty(), "an audit does not find {damage:?}");
        self.daemon.audited(differences);
        for _ in 0..4 {
            self.daemon.turn(Fault::None);
            self.daemon.pass(1_500);
        }
        assert_eq!(self.daemon.differences(), Vec::<String>::new(), "after {damage:?}");
        // What was seen on the way was damaged.
        drop(self.daemon.history());
    }

    /// A grace period begins, then programs that it does not wait for, then what they read is retired:
    /// the end of that grace period proves nothing of them.
    fn overtake_a_grace(&mut self, happened: &mut Happened, branches: &mut Branches) {
        self.daemon.begin_grace(&mut self.random);
        self.change_much(happened, branches);
        for _ in 0..3 {
            self.daemon.begin_reader(&mut self.random);
        }
        self.change_much(happened, branches);
        happened.note("late grace");
        self.daemon.late_grace(&mut self.random);
        self.daemon.pass(1_100);
        self.change_much(happened, branches);
    }

    fn change_much(&mut self, happened: &mut Happened, branches: &mut Branches) {
        for _ in 0..4 {
            self.server.change(&mut self.random);
        }
        self.receive(happened);
        self.turn(happened, branches);
    }

    /// A program is detached from outside; it is back soon.
    fn detach(&mut self, happened: &mut Happened) {
        happened.note("a program is detached");
        self.daemon.detach(&mut self.random);
        self.daemon.pass(HEALED_WITHIN_MS);
        assert!(self.daemon.is_attached(), "a program that was detached stays away");
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
            self.retry(happened);
        }
        self.judged |= self.daemon.synced();
        if self.daemon.layout().refused().count() > 0 {
            happened.note("a Service does not fit");
        }
        if self.daemon.holds() && !self.daemon.doubts_lists() {
            happened.note("what cannot be read is kept");
        }
        self.answer_relists(happened);
        self.kept.assert_there(&self.daemon.image(), &self.server);
        self.judge(branches);
    }

    /// What the kernel refused is tried again by itself: without another event it is written in time.
    fn retry(&mut self, happened: &mut Happened) {
        if self.cramped || !self.daemon.synced() || !self.random.chance(2) {
            return;
        }
        for _ in 0..2 {
            self.daemon.pass(LONGEST_WAIT_MS);
            self.daemon.turn(Fault::None);
            self.answer_relists(happened);
        }
        happened.note("a failed write is tried again");
        assert!(self.daemon.is_settled(), "what the kernel refused is not tried again");
    }

    fn judge_states(&mut self, branches: &mut Branches) {
        self.judge.learn(&self.told, self.daemon.synced(), branches);
        let history = self.daemon.history();
        if !self.cramped {
            self.judge.every_state(&history, self.held || self.daemon.holds());
        }
        self.held = self.daemon.holds();
    }

    fn judge(&mut self, branches: &mut Branches) {
        self.judge_states(branches);
        if self.daemon.is_settled() && !self.daemon.holds() {
            self.judge.settled(&self.daemon.image());
        }
    }

    /// Another daemon takes over; the server lists everything to it, kind by kind.
    fn restart(&mut self, happened: &mut Happened) {
        happened.note("restart");
        if self.random.chance(3) {
            happened.note("an object is unreadable");
            self.server.garble(&mut self.random);
        }
        self.daemon.restart();
        self.told = Told::new(self.server.objects.host_only);
        self.judged = false;
        self.kept = if self.server.has_ballast() && !self.cramped {
            Kept::of_ballast(&self.daemon.image())
        } else {
            Kept::default()
        };
        if self.random.chance(2) {
            happened.note("a start is listed nearly nothing");
            self.server.half_empty_start();
        } else {
            self.server.break_streams(&mut self.random);
        }
    }

    /// Faults end, everything is heard, time goes by.
    fn quiesce(&mut self, happened: &mut Happened, branches: &mut Branches) {
        for _ in 0..12 {
            while self.server.waiting() > 0 {
                self.receive(happened);
            }
            self.judge.learn(&self.told, self.daemon.synced(), branches);
            self.daemon.turn(Fault::None);
            self.answer_relists(happened);
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
        assert!(sim.daemon.is_settled(), "seed {seed}: something is never written");
        assert!(!sim.daemon.holds(), "seed {seed}: something is kept for ever");
        sim.judge.equals_scratch(&sim.server.objects, &sim.daemon);
    }
    sim.kept = Kept::default();
    // Everything goes: all the room must be there again, in one piece.
    sim.server.clear();
    sim.quiesce(happened, branches);
    sim.judge.equals_scratch(&sim.server.objects, &sim.daemon);
    sim.server.fill(sim.daemon.image().capacities.backends);
    sim.quiesce(happened, branches);
    assert_eq!(sim.daemon.layout().refused().count(), 0, "seed {seed}: slots have leaked");
    sim.judge.equals_scratch(&sim.server.objects, &sim.daemon);
    sim.daemon.take_batches()
}

/// As `cargo xtask sim` asks for.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| env::var(name).ok().map(|text| text.parse().unwrap());
    let from = number("TOWPATH_SIM_FROM").unwrap_or(1);
    from..from + number("TOWPATH_SIM_SEEDS").unwrap_or(SEEDS)
}

/// Names the seed when a run of it fails, wherever it does.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "`cargo xtask sim` looks for these words")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: {}", self.0);
        }
    }
}

#[test]
fn every_seed_ends_well() {
    let (mut happened, mut branches) = (Happened::default(), Branches::default());
    for seed in seeds() {
        let _named = Seed(seed);
        play(seed, &mut happened, &mut branches);
    }
    println!("{:?}", happened.0);
    if seeds().count() > 500 {
        branches.assert_all_were_taken(&answers::ALL);
    }
    let all = [
        "streams break",
        "a list lacks most",
        "most is deleted",
        "an object is unreadable",
        "brake",
        "a write fails",
        "a failed write is tried again",
        "a Service does not fit",
        "restart",
        "death in the middle of a batch",
        "late grace",
        "a start is listed nearly nothing",
        "the first list is doubted",
        "what cannot be read is kept",
        "the maps are damaged",
        "a program is detached",
    ];
    let all = if seeds().count() < 20 { &all[..0] } else { &all[..] };
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
            sim.daemon.maps().backwards = true;
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
