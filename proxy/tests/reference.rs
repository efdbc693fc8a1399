//! Decoder, plan and layout against a slow, obvious reference that reads the same JSON with code of
//! its own. (What they share is the question: `datapath::decide` asks the tables, `kernel.rs`.)
//!
//! Random sequences of objects go through decoder, store, plan and layout into a fake kernel. After
//! every commit each probe must be answered as the reference answers it; after every single
//! operation it must be answered as it was before the commit or as it is after it.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "reference/answers.rs"]
mod answers;
#[path = "reference/clients.rs"]
mod clients;
#[path = "reference/collisions.rs"]
mod collisions;
#[path = "reference/facts.rs"]
mod facts;
#[path = "reference/kernel.rs"]
mod kernel;
mod pipeline;
#[path = "reference/question.rs"]
mod question;
#[path = "reference/sources.rs"]
mod sources;
#[path = "reference/world.rs"]
mod world;

use std::collections::BTreeMap;

use answers::{Branches, Right};
use clients::Clients;
use facts::Facts;
use kernel::{ask, ask_slowly, leads_to};
use pipeline::Pipeline;
use question::{Answer, Probe};
use towpath_image::{Capacities, ServiceImage, datapath::ConfigRecord};
use towpath_proxy::{Layout, PlanDelta, ProxyConfig, Refused, ServicePlan};
use world::{Kind, OWN_NODE, Random, Said, World};

/// Each is richer than what chance would bring together in many.
const SEEDS: u64 = 800;
const CRAMPED_SEEDS: u64 = 150;

fn config() -> ProxyConfig {
    ProxyConfig {
        external_ips: vec![towpath_model::service::Cidr::parse("2.2.2.0/24").unwrap()],
        ..ProxyConfig::default()
    }
}

/// As the daemon is when everything was listed to it.
fn listed(capacities: Capacities, plan: ServicePlan, world: &World) -> Pipeline {
    assert_eq!(pipeline::NODE, OWN_NODE);
    let mut pipeline = Pipeline::new(capacities, plan);
    pipeline.kernel.image.config = config_record(world.host_only);
    pipeline.layout = Layout::adopt(pipeline.kernel.image.clone());
    receive(&mut pipeline, world.everything());
    pipeline
}

fn receive(pipeline: &mut Pipeline, said: Vec<Said>) {
    pipeline.feed(said.iter().map(Said::event));
}

/// A turn; a failure is retried until nothing is left to do.
fn turn(pipeline: &mut Pipeline, fail_after: Option<usize>) {
    if let Some(after) = fail_after {
        pipeline.fail_after(after);
    }
    let mut delta = pipeline.plan();
    for _ in 0..5 {
        pipeline.now += 600;
        let synced = pipeline.synced();
        let (_, applied) = pipeline.write(&delta, synced.as_ref());
        assert!(applied.failure.is_none() || fail_after.is_some(), "{:?}", applied.failure);
        delta = PlanDelta::default();
    }
    pipeline.kernel.fail_after = None;
    // Programs that began before this turn run until here, none any longer.
    pipeline.grace();
}

/// The daemon dies and another one takes over what is there.
fn restart(pipeline: &mut Pipeline) {
    pipeline.restart();
    pipeline.now += 600;
    pipeline.publish(&PlanDelta::default());
}

/// What the daemon writes at its start.
fn config_record(host_only: bool) -> ConfigRecord {
    let flags = if host_only { ConfigRecord::HOST_ONLY } else { 0 };
    ConfigRecord { host_netns: 1, flags, ..ConfigRecord::default() }
}

type Answers = BTreeMap<Probe, Answer>;

fn from_kernel(kernel: &towpath_image::FakeKernel<ServiceImage>) -> Answers {
    World::probes().map(|probe| (probe, ask(&kernel.image, &probe))).collect()
}

fn from_reference(facts: &Facts, branches: &mut Branches) -> BTreeMap<Probe, Right> {
    World::probes().map(|probe| (probe, answers::answer(facts, &probe, branches))).collect()
}

#[track_caller]
fn assert_right(place: &str, right: &BTreeMap<Probe, Right>, found: &Answers) {
    for (probe, right) in right {
        let found = &found[probe];
        assert!(right.allows(found), "{place}: {probe:?} gets {found:?}; reference: {right:?}");
    }
}

#[test]
fn every_state_on_the_way_is_right() {
    let mut branches = Branches::default();
    let mut slow = 0;
    for seed in 1..=SEEDS {
        slow += play(seed, &mut branches);
    }
    branches.assert_all_were_taken(&answers::ALL);
    branches.assert_all_were_taken(&clients::ALL);
    branches.assert_all_were_taken(&["health checks"]);
    branches.assert_all_were_taken(&sources::ALL);
    assert!(slow > 10_000, "slow readers met other records than they would have at once: {slow}");
}

/// One sequence of changes. Answers how often slow readers met something else.
fn play(seed: u64, branches: &mut Branches) -> usize {
    let mut random = Random::new(seed);
    let mut world = World::new(random.chance(12));
    let roomy = Capacities { frontends: 300, services: 90, backends: 600, node_addresses: 50 };
    let mut pipeline = listed(roomy, ServicePlan::new(config()), &world);
    turn(&mut pipeline, None);
    let mut clients = Clients::default();
    let mut facts = Facts::read(&world);
    let mut before = from_kernel(&pipeline.kernel);
    let mut slow = 0;
    for step in 0..25 {
        let place = format!("seed {seed}, step {step}");
        receive(&mut pipeline, world.change(&mut random));
        let fail_after = random.chance(4).then(|| random.below(8));
        pipeline.kernel.history = Some(Vec::new());
        let begin = pipeline.kernel.image.clone();
        turn(&mut pipeline, fail_after);
        let old = std::mem::replace(&mut facts, Facts::read(&world));
        let after = from_kernel(&pipeline.kernel);
        assert_right(&place, &from_reference(&facts, branches), &after);
        check_health(&place, &facts, &pipeline.plan, branches);
        sources::check(&place, &pipeline.kernel.image, &facts, branches);
        let history = pipeline.kernel.history.take().unwrap_or_default();
        sources::check_between(&place, &begin, &history);
        slow += assert_slow_readers(&place, &begin, &history, [&before, &after]);
        for image in &history {
            for (probe, new) in &after {
                let now = ask(image, probe);
                assert!(
                    now == *new || now == before[probe] || between(&old, &facts, probe, &now),
                    "{place}: {probe:?} passes through {now:?} on the way from {:?} to {new:?}",
                    before[probe]
                );
            }
        }
        clients.ask_all(&pipeline.kernel.image, &facts, &mut random, branches);
        before = after;
        if random.chance(10) {
            restart(&mut pipeline);
            assert_eq!(from_kernel(&pipeline.kernel), before, "{place}: a restart changes nothing");
        }
        assert_eq!(
            pipeline.plan.differences(&pipeline.store.view()),
            Vec::<String>::new(),
            "{place}"
        );
    }
    slow
}

/// A Node says two things, its zone and its addresses, which may be seen one after the other.
fn between(old: &Facts, new: &Facts, probe: &Probe, answer: &Answer) -> bool {
    let mut unused = Branches::default();
    [(old, new), (new, old)].into_iter().any(|(zone, addresses)| {
        let mixed = Facts::mixed(new, new, zone, addresses);
        answers::answer(&mixed, probe, &mut unused).allows(answer)
    })
}

fn check_health(place: &str, facts: &Facts, plan: &ServicePlan, branches: &mut Branches) {
    let wanted = answers::health_checks(facts);
    let found: Vec<_> = plan.health_checks().collect();
    let ports: Vec<u16> = found.iter().map(|check| check.port).collect();
    assert_eq!(ports, wanted.keys().copied().collect::<Vec<_>>(), "{place}");
    for check in found {
        let (service, [least, most]) = wanted[&check.port];
        assert_eq!(*service.name.1, *check.service.name, "{place}: port {}", check.port);
        let count = check.ready_local;
        assert!((least..=most).contains(&count), "{place}: {count} of {least} to {most}");
        if count > 0 {
            branches.took("health checks");
        }
    }
}

/// When a frontend goes and the sets of its Service, which stays, change too: the new sets are as
/// right for who found the frontend before it went.
fn renewed(first: &ServiceImage, history: &[ServiceImage], probe: &Probe) -> Option<Answer> {
    let (last, index) = (history.last()?, leads_to(first, probe)?);
    let identity = |image: &ServiceImage| image.services.get(&index).map(|record| record.identity);
    (identity(first) == identity(last)).then(|| ask_slowly(first, last, probe))
}

/// A reader that found a frontend before a change, or on the way, and reads the rest at any later point:
/// the old answer or the new one. Answers how often what it read had changed meanwhile.
fn assert_slow_readers(
    place: &str,
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
                    "{place}: {probe:?} gets {got:?} slowly, on the way from {:?} to {new:?}",
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
        let mut pipeline = listed(Capacities::default(), ServicePlan::new(config()), &world);
        for _ in 0..10 {
            receive(&mut pipeline, world.change(&mut random));
        }
        turn(&mut pipeline, None);
        let held = pipeline.kernel.image.frontends.clone();
        // A new daemon that has heard of nothing yet.
        pipeline.store = towpath_model::Store::new(OWN_NODE);
        pipeline.plan = ServicePlan::new(config());
        pipeline.layout = Layout::adopt(pipeline.kernel.image.clone());
        turn(&mut pipeline, None);
        assert_eq!(pipeline.kernel.image.frontends, held, "seed {seed}");
        receive(&mut pipeline, World::default().everything());
        turn(&mut pipeline, None);
        assert!(pipeline.kernel.image.frontends.is_empty(), "seed {seed}: all of it is gone now");
        turn(&mut pipeline, None);
        assert!(pipeline.kernel.image.services.is_empty(), "seed {seed}");
    }
}

/// What is right in a world of those that fit.
fn fitting(world: &World, layout: &Layout, probe: &Probe) -> Right {
    let mut world = world.clone();
    for Refused { service, .. } in layout.refused() {
        world.remove(Kind::Service, &(service.namespace.to_string(), service.name.to_string()));
    }
    answers::answer(&Facts::read(&world), probe, &mut Branches::default())
}

#[test]
fn a_service_that_does_not_fit_harms_no_other_and_comes_in_when_there_is_room() {
    let mut refused = 0;
    for seed in 1..=CRAMPED_SEEDS {
        let mut random = Random::new(seed);
        let mut world = World::default();
        let small = Capacities { frontends: 14, services: 5, backends: 12, node_addresses: 50 };
        let mut pipeline = listed(small, ServicePlan::new(config()), &world);
        let mut branches = Branches::default();
        let mut before = from_kernel(&pipeline.kernel);
        let mut old = Facts::read(&world);
        for step in 0..30 {
            let place = format!("seed {seed}, step {step}");
            receive(&mut pipeline, world.change(&mut random));
            pipeline.kernel.history = Some(Vec::new());
            turn(&mut pipeline, None);
            refused += usize::from(pipeline.layout.refused().count() > 0);
            let facts = Facts::read(&world);
            let right = from_reference(&facts, &mut branches);
            let found = from_kernel(&pipeline.kernel);
            if !pipeline.layout.pending() {
                assert_right(&place, &right, &found);
            }
            // A refused Service is as before, or not there; never half of it, nor another's.
            // (A nodePort that stayed as it was rightly answers on a node that is new.)
            let history = pipeline.kernel.history.take().unwrap_or_default();
            let states = history.iter().map(|image| World::probes().map(|p| (p, ask(image, &p))));
            // Who waited for long catches up with many changes at once: its sets, then what goes.
            let is_served = |probe: &Probe| !right[probe].allows(&Answer::NotAService);
            let states = states.flatten().filter(|(probe, _)| is_served(probe));
            for (probe, got) in states.chain(found.clone()) {
                let new = &right[&probe];
                // Several Services may claim one clusterIP: its guard is then perhaps another's.
                let guarded =
                    matches!(got, Answer::UnknownPort(_)) && pipeline.layout.refused().count() > 0;
                // A Service that fits again may have what another one, that does not, is to have.
                let fitting = || fitting(&world, &pipeline.layout, &probe).allows(&got);
                let on_new_node = old.addresses != facts.addresses && probe.port >= 30_000;
                assert!(
                    new.allows(&got)
                        || got == before[&probe]
                        || got == Answer::NotAService
                        || on_new_node
                        || guarded
                        || fitting(),
                    "{place}: {probe:?} gets {got:?}, neither {:?} nor {new:?}",
                    before[&probe],
                );
            }
            (before, old) = (found, facts);
        }
        receive(&mut pipeline, world.clear());
        turn(&mut pipeline, None);
        turn(&mut pipeline, None);
        assert!(
            pipeline.kernel.image.services.is_empty() && !pipeline.layout.pending(),
            "seed {seed}"
        );
    }
    println!("{refused} turns with something refused");
    assert!(refused > 100, "the maps were small enough to refuse something: {refused}");
}
