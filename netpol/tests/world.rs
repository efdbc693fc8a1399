//! Random worlds: what the maps say, asked with the functions that the kernel runs, is what the naive
//! reading of the objects says; after every single write each probe has its old or its new verdict;
//! and increments lead to what a compile from scratch says.
#![expect(clippy::unwrap_used, reason = "a test")]

mod worlds;

use proptest::{prelude::*, strategy::ValueTree};
use serde_json::{Value, json};
use towpath_image::{FakeKernel, Kernel, PolicyImage};
use towpath_model::{Kind, Store};
use towpath_netpol::{Bindings, PolicyDelta, PolicyLayout, PolicyPlan};
use towpath_netpol_oracle::{Carried, World};
use worlds::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_state_on_the_way_is_the_old_or_the_new(
        turns in prop::collection::vec(prop::collection::vec(step(), 1..5), 1..5),
    ) {
        let mut cluster = Cluster::filled();
        cluster.turn();
        compare(&cluster.verdicts(&cluster.kernel.image), &cluster.expected());
        for steps in &turns {
            let before = cluster.kernel.image.clone();
            steps.iter().for_each(|step| cluster.take(step));
            let states = cluster.turn();
            let new = cluster.expected();
            compare(&cluster.verdicts(&cluster.kernel.image), &new);
            let old = cluster.verdicts(&before);
            for state in &states {
                for (question, verdict) in cluster.verdicts(state) {
                    let old = old.get(&question).copied().unwrap_or(verdict);
                    prop_assert!(verdict == old || verdict == new[&question], "{:?}", question);
                }
            }
            // From scratch, over empty maps: the same verdicts.
            let plan = PolicyPlan::from_scratch(&cluster.store.view(), Some(&dns_name()));
            let delta = PolicyDelta {
                peers: questions().iter().map(|(_, peer, _)| *peer).collect(),
                pods: true,
                blocks: true,
            };
            let mut layout = PolicyLayout::adopt(PolicyImage::default());
            let (batch, refused) = layout.lay_out(&plan, delta, &Bindings::new(), 0);
            prop_assert_eq!(refused, None);
            let mut scratch = FakeKernel::over(PolicyImage::default());
            scratch.apply(&batch);
            let other = Cluster { plan, layout, world: World::default(), store: Store::new(NODE), kernel: scratch, now: 0 };
            compare(&other.verdicts(&other.kernel.image), &new);
        }
    }
}

#[test]
fn a_restart_keeps_every_verdict_up_to_the_flip() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..24 {
        let mut cluster = Cluster::filled();
        for _ in 0..6 {
            let policy = policy().new_tree(&mut runner).unwrap().current();
            cluster.put(Kind::NetworkPolicy, &policy);
        }
        cluster.turn();
        let old = cluster.expected();
        cluster.layout = PolicyLayout::adopt(cluster.kernel.image.clone());
        let slots: Vec<u32> = cluster.kernel.image.pods.keys().copied().collect();
        let states = cluster.turn();
        assert!(!states.is_empty() || cluster.plan.isolated() == 0);
        for state in &states {
            compare(&cluster.verdicts(state), &old);
        }
        assert_eq!(cluster.kernel.image.pods.keys().copied().collect::<Vec<_>>(), slots);
    }
}

#[test]
fn worlds_have_both_verdicts() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut allowed, mut all) = (0, 0);
    for _ in 0..64 {
        let mut cluster = Cluster::filled();
        for _ in 0..4 {
            let policy = policy().new_tree(&mut runner).unwrap().current();
            cluster.put(Kind::NetworkPolicy, &policy);
        }
        cluster.turn();
        let expected = cluster.expected();
        compare(&cluster.verdicts(&cluster.kernel.image), &expected);
        allowed += expected.values().filter(|allowed| **allowed).count();
        all += expected.len();
    }
    assert!(allowed * 5 >= all && (all - allowed) * 5 >= all, "{allowed} of {all} allowed");
}

/// Traffic cases of the upstream test/e2e/network/netpol, by number in that file: a policy in
/// namespace x, and of the pods (of x, y, z) those that still reach x/a on TCP port 80.
#[test]
fn upstream_cases_give_the_tables_they_are_published_with() {
    let all = ["xa", "xb", "xc", "ya", "yb", "yc", "za", "zb", "zc"];
    let rows: [(u8, Value, &[&str]); 8] = [
        (1, json!({ "podSelector": {}, "policyTypes": ["Ingress"] }), &[]),
        (
            3,
            json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "pod": "b" } } }] }] }),
            &["xb"],
        ),
        (
            5,
            json!({ "podSelector": {}, "ingress": [{ "from": [{ "namespaceSelector": {} }] }] }),
            &all,
        ),
        (
            6,
            json!({ "podSelector": {}, "ingress": [{ "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "y" } } }] }] }),
            &["ya", "yb", "yc"],
        ),
        (
            10,
            json!({ "podSelector": {}, "ingress": [{ "from": [{ "namespaceSelector": { "matchExpressions": [{ "key": "team", "operator": "NotIn", "values": ["t1"] }] }, "podSelector": { "matchLabels": { "pod": "b" } } }] }] }),
            &["yb", "zb"],
        ),
        (14, json!({ "podSelector": {}, "ingress": [{ "ports": [{ "port": 81 }] }] }), &[]),
        (16, json!({ "podSelector": {}, "ingress": [{}] }), &all),
        (
            40,
            json!({ "podSelector": {}, "ingress": [{ "ports": [{ "port": 80, "protocol": "UDP" }] }] }),
            &[],
        ),
    ];
    for (number, spec, expected) in rows {
        let mut cluster = Cluster::new();
        for at in 0..3 {
            cluster.put(Kind::Namespace, &namespace(at, u8::try_from(at).unwrap() + 1));
            (0..3).for_each(|one| cluster.put(Kind::Pod, &pod(at, one, (1, 1, 0))));
        }
        let meta = json!({ "namespace": "x", "name": "case" });
        cluster.put(Kind::NetworkPolicy, &json!({ "metadata": meta, "spec": spec }));
        cluster.turn();
        let found = cluster.verdicts(&cluster.kernel.image);
        compare(&found, &cluster.expected());
        for (at, client) in all.iter().enumerate() {
            let peer = addresses(at / 3, at % 3)[0].parse().unwrap();
            let subject = ("x".to_owned(), "a".to_owned());
            let ingress = towpath_netpol_oracle::Direction::Ingress;
            let verdict = found[&(subject, ingress, peer, Carried::Port("TCP", 80))];
            assert_eq!(verdict, expected.contains(client), "case {number}, {client}");
        }
    }
}
