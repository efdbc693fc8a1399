//! Names with the same hash, on purpose: the first to come is served as if the others were not there.
//!
//! Identities are cut to a few bits, so that they collide all the time; everything else is as it is.
use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use towpath_image::{Capacities, ServiceImage};
use towpath_model::{Family, ObjectName, Protocol};
use towpath_proxy::{ServicePlan, ServicePortId, plan, service_identity};

use crate::{
    answers::{Branches, Right},
    assert_right, between, config,
    facts::Facts,
    from_reference,
    kernel::ask,
    listed,
    pipeline::Pipeline,
    question::{Answer, Probe},
    receive, turn,
    world::{CLUSTER, Kind, Name, Random, Said, World},
};

const BITS: u32 = 5;
const SEEDS: u64 = 150;

fn empty_plan() -> ServicePlan {
    ServicePlan::with_short_identities(config(), BITS)
}

const CAPACITIES: Capacities =
    Capacities { frontends: 200, services: 60, backends: 400, node_addresses: 50 };

fn colliding() -> Pipeline {
    listed(CAPACITIES, empty_plan(), &World::default())
}

fn held(image: &ServiceImage) -> BTreeMap<Probe, Answer> {
    World::probes().map(|probe| (probe, ask(image, &probe))).collect()
}

/// What the Services that are served would get in a world of their own.
fn wanted(
    world: &World,
    plan: &ServicePlan,
    branches: &mut Branches,
) -> (Facts, BTreeMap<Probe, Right>) {
    let mut alone = world.clone();
    for name in plan.withheld().keys() {
        alone.remove(Kind::Service, &plain(name));
    }
    let facts = Facts::read(&alone);
    let right = from_reference(&facts, branches);
    (facts, right)
}

fn plain(name: &ObjectName) -> Name {
    (name.namespace.to_string(), name.name.to_string())
}

#[test]
fn no_service_is_harmed_by_names_with_the_same_hash() {
    let mut branches = Branches::default();
    let (mut withheld, mut came_in) = (0, 0);
    for seed in 1..=SEEDS {
        let mut random = Random::new(seed);
        let mut world = World::default();
        let mut pipeline = colliding();
        let mut before = held(&pipeline.kernel.image);
        let mut facts = Facts::read(&world);
        for step in 0..25 {
            receive(&mut pipeline, world.change(&mut random));
            let waiting = pipeline.plan.withheld().clone();
            pipeline.kernel.history = Some(Vec::new());
            turn(&mut pipeline, None);
            let (alone, right) = wanted(&world, &pipeline.plan, &mut branches);
            let old = std::mem::replace(&mut facts, alone);
            let after = held(&pipeline.kernel.image);
            assert_right(&format!("seed {seed}, step {step}"), &right, &after);
            for image in pipeline.kernel.history.take().unwrap_or_default() {
                for (probe, new) in &after {
                    let now = ask(&image, probe);
                    assert!(
                        now == *new || now == before[probe] || between(&old, &facts, probe, &now),
                        "seed {seed}, step {step}: {probe:?} passes through {now:?} on the way from \
                         {:?} to {new:?}",
                        before[probe]
                    );
                }
            }
            before = after;
            check_who_is_withheld(&world, &pipeline.plan);
            assert_eq!(
                pipeline.plan.differences(&pipeline.store.view()),
                Vec::<String>::new(),
                "{seed}"
            );
            withheld += pipeline.plan.withheld().len();
            let comes = |name: &&_| !pipeline.plan.withheld().contains_key(*name);
            let exists = |name: &&_| world.objects.contains_key(&(Kind::Service, plain(name)));
            came_in += waiting.keys().filter(exists).filter(comes).count();
        }
        // A new daemon comes to the same, in whatever order it hears of the objects.
        let (view, changes) = (pipeline.store.view(), towpath_model::Changes::default());
        let mut fresh = empty_plan();
        plan(&view, &changes, &mut fresh);
        assert_eq!(fresh.withheld(), pipeline.plan.withheld(), "seed {seed}");
        receive(&mut pipeline, world.clear());
        turn(&mut pipeline, None);
        turn(&mut pipeline, None);
        assert!(pipeline.kernel.image.services.is_empty(), "seed {seed}");
        assert!(pipeline.plan.withheld().is_empty() && !pipeline.layout.pending(), "seed {seed}");
    }
    assert!(withheld > 500 && came_in > 20, "{withheld} withheld, {came_in} came in later");
}

/// Two ports of one Service: the second takes the place of the first, and its hash.
#[test]
fn a_port_that_takes_over_the_hash_of_another_leaves_its_clients_alone() {
    let hash = |port: &str| {
        let (protocol, family) = (Protocol::Tcp, Family::V4);
        let service = ObjectName::new("d", "s");
        service_identity(&ServicePortId { service, port: port.into(), protocol, family }, None)
            & ((1 << BITS) - 1)
    };
    let wanted = hash("p0");
    let other = (1..).map(|n| format!("p{n}")).find(|name| hash(name) == wanted).unwrap();
    let service = |port: &str, number: u16| {
        Said::Exists(
            Kind::Service,
            Arc::new(json!({
                "metadata": { "namespace": "d", "name": "s" },
                "spec": { "clusterIP": CLUSTER[0], "ports": [{ "name": port, "port": number }] },
            })),
        )
    };
    let endpoints = Said::Exists(
        Kind::EndpointSlice,
        Arc::new(json!({
            "metadata": {
                "namespace": "d", "name": "x", "labels": { "kubernetes.io/service-name": "s" },
            },
            "addressType": "IPv4", "endpoints": [{ "addresses": ["10.0.0.1"] }],
            "ports": [{ "name": "p0", "port": 8080 }, { "name": other, "port": 9090 }],
        })),
    );
    let mut pipeline = colliding();
    receive(&mut pipeline, vec![service("p0", 80), endpoints]);
    turn(&mut pipeline, None);
    let before = held(&pipeline.kernel.image);
    pipeline.kernel.history = Some(Vec::new());
    receive(&mut pipeline, vec![service(&other, 81)]);
    turn(&mut pipeline, None);
    let after = held(&pipeline.kernel.image);
    assert_ne!(before, after);
    for image in pipeline.kernel.history.take().unwrap() {
        for (probe, got) in held(&image) {
            assert!(got == before[&probe] || got == after[&probe], "{probe:?} gets {got:?}");
        }
    }
}

/// The younger one, by name, with a problem; never the older.
fn check_who_is_withheld(world: &World, plan: &ServicePlan) {
    let problems: Vec<String> = plan.problems().iter().map(ToString::to_string).collect();
    for (name, owner) in plan.withheld() {
        let told = |p: &&String| p.contains(&name.to_string()) && p.contains(&owner.to_string());
        assert!(problems.iter().any(|p| told(&p)), "{name}: {problems:?}");
        let age = |name| {
            let json = &world.objects[&(Kind::Service, plain(name))];
            (json["metadata"]["creationTimestamp"].to_string(), plain(name))
        };
        assert!(age(owner) <= age(name), "{owner} is older than {name}");
    }
}
