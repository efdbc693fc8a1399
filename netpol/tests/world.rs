//! Random worlds: what the maps say, asked with the functions that the kernel runs, is what the naive
//! reading of the objects says; after every single write each probe has its old or its new verdict;
//! and increments lead to what a compile from scratch says.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, net::IpAddr};

use proptest::{prelude::*, strategy::ValueTree};
use serde_json::{Value, json};
use towpath_image::{
    FakeKernel, Kernel, PolicyCapacities, PolicyImage,
    datapath::{
        decide::{PolicyTables, forward},
        policy::Direction,
    },
};
use towpath_model::{Event, Kind, Object, ObjectName, Store, Stream, decode};
use towpath_netpol::{Bindings, PolicyDelta, PolicyLayout, PolicyPlan};
use towpath_netpol_oracle::{Carried, Probe, Verdict, World, judge};

const NODE: &str = "here";
const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PODS: [&str; 4] = ["a", "b", "c", "d"];
const PORTS: [u16; 4] = [79, 80, 81, 8080];

/// The objects, and the daemon that follows them.
struct Cluster {
    world: World,
    store: Store,
    plan: PolicyPlan,
    layout: PolicyLayout,
    kernel: FakeKernel<PolicyImage>,
    now: u64,
}

impl Cluster {
    fn new() -> Self {
        let mut store = Store::new(NODE);
        for kind in [Kind::Pod, Kind::Namespace, Kind::NetworkPolicy] {
            store.feed(Event::Init(Stream::all(kind)));
            store.feed(Event::InitDone(Stream::all(kind)));
        }
        let image = PolicyImage::with_capacities(PolicyCapacities::default());
        Self {
            world: World::default(),
            store,
            plan: PolicyPlan::default(),
            layout: PolicyLayout::adopt(image.clone()),
            kernel: FakeKernel::over(image),
            now: 0,
        }
    }

    fn list(&mut self, kind: Kind) -> &mut Vec<Value> {
        match kind {
            Kind::Pod => &mut self.world.pods,
            Kind::Namespace => &mut self.world.namespaces,
            _ => &mut self.world.policies,
        }
    }

    fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.list(kind).retain(|object| {
            let there = object["metadata"]["namespace"].as_str().unwrap_or_default();
            (there, object["metadata"]["name"].as_str().unwrap()) != (namespace, name)
        });
    }

    fn put(&mut self, kind: Kind, object: &Value) {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.remove(kind, &namespace, &name);
        self.list(kind).push(object.clone());
        let decoded: Object = decode(kind, object.to_string().as_bytes()).unwrap();
        self.store.feed(Event::Apply(decoded));
    }

    fn delete(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.remove(kind, namespace, name);
        self.store.feed(Event::Delete(kind, ObjectName::new(namespace, name)));
    }

    /// Commits, lays out and writes until there is nothing left to do; every state on the way.
    fn turn(&mut self) -> Vec<PolicyImage> {
        let (view, changes) = self.store.commit();
        let mut delta = self.plan.update(&view, &changes);
        let mut states = Vec::new();
        for _ in 0..6 {
            self.now += 2_000;
            let given = std::mem::take::<PolicyDelta>(&mut delta);
            let (batch, refused) =
                self.layout.lay_out(&self.plan, given, &Bindings::new(), self.now);
            assert_eq!(refused, None);
            self.kernel.history = Some(Vec::new());
            let applied = self.kernel.apply(&batch);
            assert_eq!(applied.failure, None);
            states.extend(self.kernel.history.take().unwrap());
            self.layout.settle(&batch, &applied, self.now);
            self.layout.graced(self.now + 1);
        }
        assert!(self.layout.is_settled());
        assert_eq!(*self.layout.image(), self.kernel.image, "the layout knows what the maps hold");
        states
    }

    /// Every local pod, direction, peer and port: what an image says.
    fn verdicts(&self, image: &PolicyImage) -> BTreeMap<Question, bool> {
        let mut verdicts = BTreeMap::new();
        for pod in self.plan.pods() {
            let name = (pod.pod.name.namespace.to_string(), pod.pod.name.name.to_string());
            let Some(record) = self.layout.slot(&pod.pod.name).and_then(|slot| image.pod(slot))
            else {
                continue;
            };
            for (direction, peer, carried) in questions() {
                let (number, port) = match carried {
                    Carried::Port("TCP", port) => (6, Some(port.to_be())),
                    Carried::Port("UDP", port) => (17, Some(port.to_be())),
                    Carried::Port(_, port) => (132, Some(port.to_be())),
                    Carried::Other => (1, None),
                };
                let side = match direction {
                    towpath_netpol_oracle::Direction::Ingress => Direction::Ingress,
                    towpath_netpol_oracle::Direction::Egress => Direction::Egress,
                };
                let verdict = forward(image, record.word(side), &peer.into(), number, port);
                verdicts.insert((name.clone(), direction, peer, carried), verdict.passes());
            }
        }
        verdicts
    }

    fn expected(&self) -> BTreeMap<Question, bool> {
        let mut verdicts = BTreeMap::new();
        for pod in self.plan.pods() {
            let name = (pod.pod.name.namespace.to_string(), pod.pod.name.name.to_string());
            for (direction, peer, carried) in questions() {
                let pod = (name.0.as_str(), name.1.as_str());
                let (verdict, _) = judge(&self.world, &Probe { pod, direction, peer, carried });
                verdicts
                    .insert((name.clone(), direction, peer, carried), verdict == Verdict::Allowed);
            }
        }
        verdicts
    }
}

type Question = ((String, String), towpath_netpol_oracle::Direction, IpAddr, Carried);

fn questions() -> Vec<(towpath_netpol_oracle::Direction, IpAddr, Carried)> {
    let mut peers: Vec<IpAddr> = Vec::new();
    for namespace in 0..3 {
        for pod in 0..4 {
            peers.extend(addresses(namespace, pod).map(|text| text.parse::<IpAddr>().unwrap()));
        }
    }
    peers.extend(
        ["192.0.2.1", "10.0.3.9", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap()),
    );
    let mut carried = vec![Carried::Other, Carried::Port("SCTP", 80)];
    for port in PORTS {
        carried.extend([Carried::Port("TCP", port), Carried::Port("UDP", port)]);
    }
    let mut all = Vec::new();
    for direction in
        [towpath_netpol_oracle::Direction::Ingress, towpath_netpol_oracle::Direction::Egress]
    {
        for peer in &peers {
            all.extend(carried.iter().map(|carried| (direction, *peer, *carried)));
        }
    }
    all
}

fn addresses(namespace: usize, pod: usize) -> [String; 2] {
    [format!("10.0.{namespace}.{}", pod + 1), format!("fd00:{namespace}::{}", pod + 1)]
}

fn namespace(at: usize, label: u8) -> Value {
    json!({ "metadata": { "name": NAMESPACES[at], "labels": { "team": format!("t{label}") } } })
}

fn pod(namespace: usize, at: usize, (label, number, state): (u8, u8, u8)) -> Value {
    let [v4, v6] = addresses(namespace, at);
    let port = PORTS[usize::from(number) % 4];
    let labels = match label {
        0 => json!({}),
        label => json!({ "app": format!("v{label}"), "pod": PODS[at] }),
    };
    let node = if (namespace + at).is_multiple_of(2) { NODE } else { "there" };
    json!({
        "metadata": { "namespace": NAMESPACES[namespace], "name": PODS[at], "labels": labels },
        "spec": { "nodeName": node, "hostNetwork": state == 8, "containers": [{ "ports": [
            { "name": "web", "containerPort": port },
            { "name": "web", "containerPort": 81, "protocol": "UDP" } ] }] },
        "status": { "phase": if state == 9 { "Succeeded" } else { "Running" },
            "podIPs": [{ "ip": v4 }, { "ip": v6 }] },
    })
}

fn selector(key: &'static str, prefix: &'static str) -> impl Strategy<Value = Value> {
    let expression = (
        prop::sample::select(vec!["In", "NotIn", "Exists", "DoesNotExist", "Gt"]),
        prop::collection::vec(0u8..4, 0..3),
    );
    let expression = expression.prop_map(move |(operator, values)| {
        let values: Vec<_> = match operator {
            "Exists" | "DoesNotExist" => vec![],
            _ => values.into_iter().map(|one| format!("{prefix}{one}")).collect(),
        };
        json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] })
    });
    prop_oneof![
        2 => Just(json!({})),
        4 => (1u8..4).prop_map(move |one| json!({ "matchLabels": { key: format!("{prefix}{one}") } })),
        3 => expression,
        1 => Just(json!({ "matchLabels": { key: "not a value" } })),
    ]
}

fn peer() -> impl Strategy<Value = Value> {
    let blocks = vec![
        json!({ "cidr": "10.0.0.0/8" }),
        json!({ "cidr": "10.0.1.0/24", "except": ["10.0.1.2/31"] }),
        json!({ "cidr": "0.0.0.0/0", "except": ["10.0.0.0/16", "10.0.2.3/32"] }),
        json!({ "cidr": "10.0.2.3/32" }),
        json!({ "cidr": "::/0", "except": ["fd00:1::/32"] }),
        json!({ "cidr": "fd00:1::2/127" }),
        json!({ "cidr": "10.0.0.0/33" }),
    ];
    let (pods, namespaces) = (|| selector("app", "v"), || selector("team", "t"));
    prop_oneof![
        pods().prop_map(|pods| json!({ "podSelector": pods })),
        namespaces().prop_map(|namespaces| json!({ "namespaceSelector": namespaces })),
        (pods(), namespaces()).prop_map(|(pods, namespaces)| {
            json!({ "podSelector": pods, "namespaceSelector": namespaces })
        }),
        prop::sample::select(blocks).prop_map(|block| json!({ "ipBlock": block })),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({}),
        json!({ "port": 80 }),
        json!({ "port": 80, "endPort": 81 }),
        json!({ "port": 1, "endPort": 80 }),
        json!({ "port": "web" }),
        json!({ "port": "web", "protocol": "UDP" }),
        json!({ "protocol": "UDP" }),
        json!({ "port": 80, "protocol": "SCTP" }),
        json!({ "port": "none" }),
        json!({ "port": 0 }),
    ])
}

fn policy() -> impl Strategy<Value = Value> {
    let rule = |side: &'static str| {
        let peers = prop::collection::vec(peer(), 0..3);
        (peers, prop::collection::vec(port(), 0..3))
            .prop_map(move |(peers, ports)| json!({ side: peers, "ports": ports }))
    };
    let types = prop::sample::select(vec![
        json!([]),
        json!(["Ingress"]),
        json!(["Egress"]),
        json!(["Ingress", "Egress"]),
    ]);
    let rules =
        (prop::collection::vec(rule("from"), 0..3), prop::collection::vec(rule("to"), 0..3));
    (0usize..3, 0u8..4, selector("app", "v"), types, rules).prop_map(
        |(namespace, name, subjects, types, (ingress, egress))| {
            json!({ "metadata": { "namespace": NAMESPACES[namespace], "name": format!("p{name}") },
                "spec": { "podSelector": subjects, "policyTypes": types, "ingress": ingress, "egress": egress } })
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Policy(Value),
    NoPolicy(usize, u8),
    Pod(usize, usize, (u8, u8, u8)),
    NoPod(usize, usize),
    Namespace(usize, u8),
    NoNamespace(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => policy().prop_map(Step::Policy),
        1 => (0usize..3, 0u8..4).prop_map(|(namespace, name)| Step::NoPolicy(namespace, name)),
        4 => (0usize..3, 0usize..4, (0u8..4, 0u8..4, 0u8..10))
            .prop_map(|(namespace, at, how)| Step::Pod(namespace, at, how)),
        1 => (0usize..3, 0usize..4).prop_map(|(namespace, at)| Step::NoPod(namespace, at)),
        1 => (0usize..3, 0u8..4).prop_map(|(at, label)| Step::Namespace(at, label)),
        1 => (0usize..3).prop_map(Step::NoNamespace),
    ]
}

impl Cluster {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Policy(policy) => self.put(Kind::NetworkPolicy, policy),
            Step::NoPolicy(namespace, name) => {
                self.delete(Kind::NetworkPolicy, NAMESPACES[*namespace], &format!("p{name}"));
            }
            Step::Pod(namespace, at, how) => self.put(Kind::Pod, &pod(*namespace, *at, *how)),
            Step::NoPod(namespace, at) => self.delete(Kind::Pod, NAMESPACES[*namespace], PODS[*at]),
            Step::Namespace(at, label) => self.put(Kind::Namespace, &namespace(*at, *label)),
            Step::NoNamespace(at) => self.delete(Kind::Namespace, "", NAMESPACES[*at]),
        }
    }

    fn filled() -> Self {
        let mut cluster = Self::new();
        for at in 0..3 {
            cluster.put(Kind::Namespace, &namespace(at, u8::try_from(at).unwrap() + 1));
            for number in 0..4 {
                let label = u8::try_from(number).unwrap();
                cluster.put(Kind::Pod, &pod(at, number, (label, label, 0)));
            }
        }
        cluster
    }
}

fn compare(found: &BTreeMap<Question, bool>, expected: &BTreeMap<Question, bool>) {
    assert_eq!(found.len(), expected.len());
    for (question, verdict) in found {
        assert_eq!(*verdict, expected[question], "{question:?}");
    }
}

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
            let plan = PolicyPlan::from_scratch(&cluster.store.view());
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
