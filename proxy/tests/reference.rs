//! The plan and the layout against a slow, obvious reference that shares nothing with them.
//!
//! Random sequences of object events go through store, plan and layout into a fake kernel. After
//! every commit each probe must be answered as the reference answers it; after every single
//! operation it must be answered as it was before the commit or as it is after it.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "reference/answers.rs"]
mod answers;
#[path = "reference/collisions.rs"]
mod collisions;
#[path = "reference/kernel.rs"]
mod kernel;
#[path = "reference/world.rs"]
mod world;

use std::collections::BTreeMap;

use answers::{Answer, Branches};
use kernel::{ask, ask_slowly, leads_to};
use towpath_image::{
    Applied, Capacities, FakeKernel, Kernel as _, KernelError, MapName, ServiceImage,
};
use towpath_model::{Event, Store};
use towpath_proxy::{Layout, NEEDS, PlanDelta, ProxyConfig, ServicePlan, plan};
use world::{Probe, Random, World};

struct Bench {
    store: Store,
    plan: ServicePlan,
    layout: Layout,
    kernel: FakeKernel<ServiceImage>,
    now: u64,
}

fn config() -> ProxyConfig {
    ProxyConfig {
        external_ips: vec![towpath_model::service::Cidr::parse("2.2.2.0/24").unwrap()],
        ..ProxyConfig::default()
    }
}

impl Bench {
    fn new(capacities: Capacities) -> Self {
        let kernel = FakeKernel::new(capacities);
        Self {
            store: Store::new("n0"),
            plan: ServicePlan::new(config()),
            layout: Layout::adopt(kernel.image.clone()),
            kernel,
            now: 1,
        }
    }

    /// Commit, plan, lay out, apply; a failure is retried until nothing is left to do.
    fn turn(&mut self, fail_after: Option<usize>) {
        let (view, changes) = self.store.commit();
        let synced = view.synced(&NEEDS);
        let (delta, _) = plan(&view, &changes, &mut self.plan);
        if let Some(after) = fail_after {
            let failure = KernelError::System {
                map: MapName::FRONTENDS,
                what: "writing".into(),
                cause: "ordered".into(),
            };
            self.kernel.fail_after(after, failure);
        }
        self.publish(&delta, synced.as_ref());
        for _ in 0..4 {
            self.publish(&PlanDelta::default(), synced.as_ref());
        }
        self.kernel.fail_after = None;
        // Programs that began before this turn run until here, none any longer.
        self.now += 1;
        self.layout.graced(self.now);
    }

    fn publish(&mut self, delta: &PlanDelta, synced: Option<&towpath_model::Synced>) {
        self.now += 600;
        let batch = self.layout.lay_out(delta, synced, self.now);
        let applied: Applied = self.kernel.apply(&batch);
        self.now += 1;
        self.layout.settle(&batch, &applied, self.now);
        assert_eq!(*self.layout.image(), self.kernel.image, "the mirror is the kernel");
    }

    /// The daemon dies and another one takes over what is there.
    fn restart(&mut self) {
        self.layout = Layout::adopt(self.kernel.image.clone());
        let synced = self.store.view().synced(&NEEDS);
        let everything = self.plan.everything();
        self.publish(&everything, synced.as_ref());
        self.publish(&PlanDelta::default(), synced.as_ref());
    }

    fn sync(&mut self) {
        for stream in NEEDS {
            self.store.feed(Event::Init(stream.clone()));
            self.store.feed(Event::InitDone(stream));
        }
    }
}

type Answers = BTreeMap<Probe, Answer>;

fn from_kernel(kernel: &FakeKernel<ServiceImage>) -> Answers {
    World::probes().map(|probe| (probe, ask(&kernel.image, &probe))).collect()
}

fn from_reference(world: &World, branches: &mut Branches) -> Answers {
    World::probes().map(|probe| (probe, answers::answer(world, &probe, branches))).collect()
}

#[track_caller]
fn assert_same(seed: u64, step: usize, wanted: &Answers, found: &Answers) {
    for (probe, answer) in wanted {
        assert_eq!(
            &found[probe], answer,
            "seed {seed}, step {step}: {probe:?} (left: kernel, right: reference)"
        );
    }
}

#[test]
fn every_state_on_the_way_is_right() {
    let mut branches = Branches::default();
    let mut slow = 0;
    for seed in 1..=1_500 {
        let mut random = Random::new(seed);
        let mut world = World::default();
        let mut bench = Bench::new(Capacities {
            frontends: 200,
            services: 60,
            backends: 400,
            node_addresses: 50,
        });
        bench.sync();
        bench.turn(None);
        let mut before = from_kernel(&bench.kernel);
        for step in 0..25 {
            for event in world.change(&mut random) {
                bench.store.feed(event);
            }
            let fail_after = random.chance(4).then(|| random.below(8));
            bench.kernel.history = Some(Vec::new());
            let begin = bench.kernel.image.clone();
            bench.turn(fail_after);
            let after = from_reference(&world, &mut branches);
            assert_same(seed, step, &after, &from_kernel(&bench.kernel));
            let history = bench.kernel.history.take().unwrap_or_default();
            slow += assert_slow_readers(seed, step, &begin, &history, [&before, &after]);
            for image in history {
                for (probe, new) in &after {
                    let now = ask(&image, probe);
                    assert!(
                        now == *new || now == before[probe],
                        "seed {seed}, step {step}: {probe:?} passes through {now:?} on the way \
                         from {:?} to {new:?}",
                        before[probe]
                    );
                }
            }
            before = after;
            if random.chance(10) {
                bench.restart();
                assert_same(seed, step, &before, &from_kernel(&bench.kernel));
            }
            assert_eq!(bench.plan.differences(&bench.store.view()), Vec::<String>::new(), "{seed}");
        }
    }
    branches.assert_all_were_taken();
    assert!(slow > 10_000, "slow readers met other records than they would have at once: {slow}");
}

/// When a frontend goes and the sets of its Service, which stays, change too: the new sets are as
/// right for who found the frontend before it went.
fn renewed(first: &ServiceImage, history: &[ServiceImage], probe: &Probe) -> Option<Answer> {
    let (last, index) = (history.last()?, leads_to(first, probe)?);
    let identity = |image: &ServiceImage| image.services.get(&index).map(|record| record.identity);
    (identity(first) == identity(last)).then(|| ask_slowly(first, last, probe))
}

/// Whoever found a frontend before a change, or on the way, and reads the rest at any later point:
/// the old answer or the new one. Answers how often what it read had changed meanwhile.
fn assert_slow_readers(
    seed: u64,
    step: usize,
    begin: &ServiceImage,
    history: &[ServiceImage],
    [before, after]: [&Answers; 2],
) -> usize {
    let mut changed = 0;
    let middle = history.get(history.len() / 2);
    for (first, from) in [(Some(begin), 0), (middle, history.len() / 2)] {
        let Some(first) = first else { continue };
        let mut seen = first;
        for later in &history[from.min(history.len())..] {
            if later.services == seen.services && later.backends == seen.backends {
                continue;
            }
            seen = later;
            for (probe, new) in after {
                let got = ask_slowly(first, later, probe);
                assert!(
                    got == *new
                        || got == before[probe]
                        || Some(&got) == renewed(first, history, probe).as_ref(),
                    "seed {seed}, step {step}: {probe:?} gets {got:?} slowly, on the way from {:?} \
                     to {new:?}",
                    before[probe]
                );
                changed += usize::from(got != ask(first, probe));
            }
        }
    }
    changed
}

#[test]
fn nothing_is_removed_before_everything_was_listed() {
    for seed in 1..=100 {
        let mut random = Random::new(seed);
        let mut world = World::default();
        let mut bench = Bench::new(Capacities::default());
        bench.sync();
        for _ in 0..10 {
            for event in world.change(&mut random) {
                bench.store.feed(event);
            }
        }
        bench.turn(None);
        let held = bench.kernel.image.frontends.clone();
        // A new daemon that has heard of nothing yet.
        bench.store = Store::new("n0");
        bench.plan = ServicePlan::new(config());
        bench.layout = Layout::adopt(bench.kernel.image.clone());
        bench.turn(None);
        assert_eq!(bench.kernel.image.frontends, held, "seed {seed}");
        bench.sync();
        bench.turn(None);
        assert!(bench.kernel.image.frontends.is_empty(), "seed {seed}: all of it is gone now");
        bench.turn(None);
        assert!(bench.kernel.image.services.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_service_that_does_not_fit_harms_no_other_and_comes_in_when_there_is_room() {
    let mut refused = 0;
    for seed in 1..=300 {
        let mut random = Random::new(seed);
        let mut world = World::default();
        let mut bench =
            Bench::new(Capacities { frontends: 14, services: 5, backends: 12, node_addresses: 50 });
        bench.sync();
        let mut branches = Branches::default();
        let mut before = from_kernel(&bench.kernel);
        for step in 0..30 {
            let nodes = world.nodes.clone();
            for event in world.change(&mut random) {
                bench.store.feed(event);
            }
            bench.kernel.history = Some(Vec::new());
            bench.turn(None);
            refused += usize::from(bench.layout.refused().count() > 0);
            let wanted = from_reference(&world, &mut branches);
            let found = from_kernel(&bench.kernel);
            if !bench.layout.pending() {
                assert_same(seed, step, &wanted, &found);
            }
            // Who was refused is as before, or not there; never half of it, nor somebody else's.
            // (A nodePort that stayed as it was rightly answers on a node that is new.)
            let history = bench.kernel.history.take().unwrap_or_default();
            let states = history.iter().map(|image| World::probes().map(|p| (p, ask(image, &p))));
            // Who waited for long catches up with many changes at once: its sets, then what goes.
            let states = states.flatten().filter(|(p, _)| wanted[p] != Answer::NotAService);
            for (probe, got) in states.chain(found.clone()) {
                let new = &wanted[&probe];
                // Several Services may claim one clusterIP: its guard is then perhaps another's.
                let guarded = got == Answer::UnknownPort && bench.layout.refused().count() > 0;
                let on_new_node = nodes != world.nodes && probe.port >= 30_000;
                assert!(
                    got == *new
                        || got == before[&probe]
                        || got == Answer::NotAService
                        || on_new_node
                        || guarded,
                    "seed {seed}, step {step}: {probe:?} gets {got:?}, neither {:?} nor {new:?}",
                    before[&probe],
                );
            }
            before = found;
        }
        for event in world.clear() {
            bench.store.feed(event);
        }
        bench.turn(None);
        bench.turn(None);
        assert!(bench.kernel.image.services.is_empty() && !bench.layout.pending(), "seed {seed}");
    }
    println!("{refused} turns with something refused");
    assert!(refused > 100, "the maps were small enough to refuse something: {refused}");
}
