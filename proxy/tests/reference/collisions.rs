//! Names with the same hash, on purpose: whoever came first is served as if the others were not there.
//!
//! Identities are cut to a few bits, so that they collide all the time; everything else is as it is.
use std::{collections::BTreeMap, sync::Arc};

use towpath_image::{Capacities, FakeKernel, Kernel as _, ServiceImage};
use towpath_model::{Event, Store};
use towpath_proxy::{Layout, NEEDS, PlanDelta, ServicePlan, plan};

use crate::{
    answers::{self, Answer, Branches},
    config,
    kernel::ask,
    world::{Probe, Random, World},
};

const BITS: u32 = 5;

struct Bench {
    store: Store,
    plan: ServicePlan,
    layout: Layout,
    kernel: FakeKernel<ServiceImage>,
    now: u64,
}

fn empty_plan() -> ServicePlan {
    ServicePlan::with_short_identities(config(), BITS)
}

impl Bench {
    fn new() -> Self {
        let kernel = FakeKernel::new(Capacities {
            frontends: 200,
            services: 60,
            backends: 400,
            node_addresses: 50,
        });
        let mut store = Store::new("n0");
        for stream in NEEDS {
            store.feed(Event::Init(stream.clone()));
            store.feed(Event::InitDone(stream));
        }
        let layout = Layout::adopt(kernel.image.clone());
        Self { store, plan: empty_plan(), layout, kernel, now: 1 }
    }

    fn turn(&mut self) {
        let (view, changes) = self.store.commit();
        let (delta, _) = plan(&view, &changes, &mut self.plan);
        self.publish(&delta);
        self.publish(&PlanDelta::default());
        self.now += 1;
        self.layout.graced(self.now);
    }

    fn publish(&mut self, delta: &PlanDelta) {
        self.now += 1_100;
        let synced = self.store.view().synced(&NEEDS);
        let batch = self.layout.lay_out(delta, synced.as_ref(), self.now);
        let applied = self.kernel.apply(&batch);
        assert_eq!(applied.failure, None);
        self.layout.settle(&batch, &applied, self.now);
    }
}

fn held(image: &ServiceImage) -> BTreeMap<Probe, Answer> {
    World::probes().map(|probe| (probe, ask(image, &probe))).collect()
}

/// What the Services that are served would get in a world of their own.
fn wanted(world: &World, plan: &ServicePlan, branches: &mut Branches) -> BTreeMap<Probe, Answer> {
    let served = world.services.iter().filter(|(name, _)| !plan.withheld().contains_key(*name));
    let alone = World {
        services: served.map(|(name, service)| (name.clone(), Arc::clone(service))).collect(),
        slices: world.slices.clone(),
        nodes: world.nodes.clone(),
    };
    World::probes().map(|probe| (probe, answers::answer(&alone, &probe, branches))).collect()
}

#[test]
fn no_service_is_harmed_by_names_with_the_same_hash() {
    let mut branches = Branches::default();
    let (mut withheld, mut came_in) = (0, 0);
    for seed in 1..=300 {
        let mut random = Random::new(seed);
        let mut world = World::default();
        let mut bench = Bench::new();
        let mut before = held(&bench.kernel.image);
        for step in 0..25 {
            for event in world.change(&mut random) {
                bench.store.feed(event);
            }
            let waiting = bench.plan.withheld().clone();
            bench.kernel.history = Some(Vec::new());
            bench.turn();
            let after = wanted(&world, &bench.plan, &mut branches);
            let found = held(&bench.kernel.image);
            for (probe, answer) in &after {
                assert_eq!(&found[probe], answer, "seed {seed}, step {step}: {probe:?}");
            }
            for image in bench.kernel.history.take().unwrap_or_default() {
                for (probe, new) in &after {
                    let now = ask(&image, probe);
                    assert!(
                        now == *new || now == before[probe],
                        "seed {seed}, step {step}: {probe:?} passes through {now:?} on the way from \
                         {:?} to {new:?}",
                        before[probe]
                    );
                }
            }
            before = after;
            check_who_is_withheld(&world, &bench.plan);
            assert_eq!(bench.plan.differences(&bench.store.view()), Vec::<String>::new(), "{seed}");
            withheld += bench.plan.withheld().len();
            let comes = |name: &&_| !bench.plan.withheld().contains_key(*name);
            came_in += waiting
                .keys()
                .filter(|name| world.services.contains_key(*name))
                .filter(comes)
                .count();
        }
        // A new daemon comes to the same, in whatever order it hears of the objects.
        let (view, changes) = (bench.store.view(), towpath_model::Changes::default());
        let mut fresh = empty_plan();
        plan(&view, &changes, &mut fresh);
        assert_eq!(fresh.withheld(), bench.plan.withheld(), "seed {seed}");
        for event in world.clear() {
            bench.store.feed(event);
        }
        bench.turn();
        bench.turn();
        assert!(bench.kernel.image.services.is_empty(), "seed {seed}");
        assert!(bench.plan.withheld().is_empty() && !bench.layout.pending(), "seed {seed}");
    }
    assert!(withheld > 500 && came_in > 20, "{withheld} withheld, {came_in} came in later");
}

/// The younger one, by name, with a problem; never the older.
fn check_who_is_withheld(world: &World, plan: &ServicePlan) {
    let problems: Vec<String> = plan.problems().iter().map(ToString::to_string).collect();
    for (name, owner) in plan.withheld() {
        let told = |p: &&String| p.contains(&name.to_string()) && p.contains(&owner.to_string());
        assert!(problems.iter().any(|p| told(&p)), "{name}: {problems:?}");
        let age = |name| (world.services[name].meta.created.clone(), name.clone());
        assert!(age(owner) <= age(name), "{owner} is older than {name}");
    }
}
