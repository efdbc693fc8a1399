//! What is explained is what decides: in random worlds the verdict of every explanation is that of the
//! naive reading and that of the compiled tables, and the rule or the policies it names are the ones.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod worlds;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};
use towpath_image::datapath::policy::Direction;
use towpath_model::{Kind, ObjectName, Pod, Protocol};
use towpath_netpol::{Lacks, PolicyPlan, Question, Why};
use towpath_netpol_oracle::{self as oracle, Carried, Probe, Verdict, World, judge};
use worlds::*;

const fn protocol(name: &str) -> Protocol {
    match name.as_bytes() {
        b"TCP" => Protocol::Tcp,
        b"UDP" => Protocol::Udp,
        _ => Protocol::Sctp,
    }
}

fn asked(
    cluster: &Cluster,
    plan: &PolicyPlan,
    pod: &Pod,
    (direction, peer, carried): (oracle::Direction, IpAddr, Carried),
) -> Why {
    let direction = match direction {
        oracle::Direction::Ingress => Direction::Ingress,
        oracle::Direction::Egress => Direction::Egress,
    };
    let carried = match carried {
        Carried::Port(name, port) => Some((protocol(name), port)),
        Carried::Other => None,
    };
    plan.explain(&cluster.store.view(), &Question { pod, direction, peer, carried })
}

/// The rule that is named allows it alone; the policies that are named are those that isolate.
fn is_the_reason(cluster: &Cluster, probe: &Probe<'_>, why: &Why, expected: &oracle::Why) {
    match (why, expected) {
        (Why::Rule { policy, rule, .. }, oracle::Why::Rule { .. }) => {
            let mut alone = World { policies: Vec::new(), ..cluster.world.clone() };
            let named = cluster.world.policies.iter().find(|one| {
                one["metadata"]["name"] == *policy.name
                    && one["metadata"]["namespace"] == *policy.namespace
            });
            let mut named = named.unwrap().clone();
            let side = match probe.direction {
                oracle::Direction::Ingress => "ingress",
                oracle::Direction::Egress => "egress",
            };
            named["spec"][side] = json!([named["spec"][side][*rule]]);
            alone.policies.push(named);
            assert!(matches!(judge(&alone, probe), (Verdict::Allowed, oracle::Why::Rule { .. })));
        }
        (Why::NoRule(closed), oracle::Why::NoRule { policies }) => {
            let named: BTreeSet<String> = closed.iter().map(|one| one.policy.to_string()).collect();
            assert_eq!(named, policies.iter().cloned().collect());
        }
        (Why::NotIsolated | Why::HostNetwork | Why::Finished, oracle::Why::NotIsolated) => {}
        (why, expected) => panic!("{why:?}, not {expected:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn an_explanation_is_the_verdict_of_the_oracle_and_of_the_tables(
        steps in prop::collection::vec(step(), 1..10),
    ) {
        let mut cluster = Cluster::filled();
        steps.iter().for_each(|step| cluster.take(step));
        cluster.turn();
        let tables = cluster.verdicts(&cluster.kernel.image);
        let pods: Vec<Arc<Pod>> = cluster.store.view().pods().cloned().collect();
        for pod in &pods {
            let name = (&*pod.name.namespace, &*pod.name.name);
            for (direction, peer, carried) in questions() {
                let why = asked(&cluster, &cluster.plan, pod, (direction, peer, carried));
                let probe = Probe { pod: name, direction, peer, carried };
                let (verdict, expected) = judge(&cluster.world, &probe);
                prop_assert_eq!(why.passes(), verdict == Verdict::Allowed, "{:?}: {:?}", probe, why);
                is_the_reason(&cluster, &probe, &why, &expected);
                let key = ((name.0.to_owned(), name.1.to_owned()), direction, peer, carried);
                // Of pods of other nodes there are no tables here.
                if let Some(table) = tables.get(&key) {
                    prop_assert_eq!(*table, why.passes());
                }
            }
        }
    }
}

/// x/a admits z (any pod) on 80, and x/b on everything but for UDP.
fn shop() -> Cluster {
    let mut cluster = Cluster::new();
    for at in 0..3 {
        cluster.put(Kind::Namespace, &namespace(at, u8::try_from(at).unwrap() + 1));
        (0..3).for_each(|one| cluster.put(Kind::Pod, &pod(at, one, (1, 1, 0))));
    }
    let z = json!({ "namespaceSelector": { "matchLabels": { "team": "t3" } } });
    let b = json!({ "podSelector": { "matchLabels": { "pod": "b" } } });
    let spec = json!({ "podSelector": { "matchLabels": { "pod": "a" } }, "ingress": [
        { "from": [z], "ports": [{ "port": 80 }] },
        { "from": [b], "ports": [{ "port": 1, "endPort": 65_535 }] },
    ] });
    policy_of(&mut cluster, "admit", &spec);
    cluster.turn();
    cluster
}

fn policy_of(cluster: &mut Cluster, name: &str, spec: &Value) {
    let meta = json!({ "namespace": "x", "name": name });
    cluster.put(Kind::NetworkPolicy, &json!({ "metadata": meta, "spec": spec }));
}

#[test]
fn a_denial_says_what_each_rule_lacks() {
    let cluster = shop();
    compare(&cluster.verdicts(&cluster.kernel.image), &cluster.expected());
    let view = cluster.store.view();
    let pod = view.pod(&ObjectName::new("x", "a")).unwrap();
    let ask = |peer: usize, of: usize, carried| {
        let peer = addresses(peer, of)[0].parse().unwrap();
        asked(&cluster, &cluster.plan, pod, (oracle::Direction::Ingress, peer, carried))
    };
    let admit = ObjectName::new("x", "admit");
    let allowed = |rule| Why::Rule { policy: admit.clone(), rule, policies: vec![admit.clone()] };
    assert_eq!(ask(2, 0, Carried::Port("TCP", 80)), allowed(0));
    assert_eq!(ask(0, 1, Carried::Port("TCP", 81)), allowed(1));
    let rows = [
        ((2, 0), Carried::Port("TCP", 81), [Lacks::Port, Lacks::Peer]),
        ((1, 0), Carried::Port("TCP", 80), [Lacks::Peer, Lacks::Peer]),
        ((1, 0), Carried::Port("UDP", 80), [Lacks::Both, Lacks::Both]),
        ((0, 1), Carried::Other, [Lacks::Both, Lacks::Port]),
    ];
    for ((space, of), carried, lacks) in rows {
        let Why::NoRule(closed) = ask(space, of, carried) else {
            panic!("{space} {of} {carried:?}")
        };
        assert_eq!((closed.len(), &closed[0].policy), (1, &admit));
        assert_eq!(closed[0].rules, lacks, "{space} {of} {carried:?}");
    }
}
