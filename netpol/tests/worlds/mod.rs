//! Random worlds, and a daemon's plan and layout that follow them.

use std::{collections::BTreeMap, net::IpAddr};

use proptest::prelude::*;
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

pub(crate) const NODE: &str = "here";
pub(crate) const NAMESPACES: [&str; 3] = ["x", "y", "z"];
pub(crate) const PODS: [&str; 4] = ["a", "b", "c", "d"];
pub(crate) const PORTS: [u16; 4] = [79, 80, 81, 8080];

/// The objects, and the daemon that follows them.
pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) store: Store,
    pub(crate) plan: PolicyPlan,
    pub(crate) layout: PolicyLayout,
    pub(crate) kernel: FakeKernel<PolicyImage>,
    pub(crate) now: u64,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let mut store = Store::new(NODE);
        for kind in [Kind::Pod, Kind::Namespace, Kind::NetworkPolicy, Kind::Service] {
            store.feed(Event::Init(Stream::all(kind)));
            store.feed(Event::InitDone(Stream::all(kind)));
        }
        let plan = PolicyPlan::from_scratch(&store.view(), Some(&dns_name()));
        let image = PolicyImage::with_capacities(PolicyCapacities::default());
        Self {
            world: World::default(),
            store,
            plan,
            layout: PolicyLayout::adopt(image.clone()),
            kernel: FakeKernel::over(image),
            now: 0,
        }
    }

    pub(crate) fn list(&mut self, kind: Kind) -> &mut Vec<Value> {
        match kind {
            Kind::Pod => &mut self.world.pods,
            Kind::Namespace => &mut self.world.namespaces,
            _ => &mut self.world.policies,
        }
    }

    pub(crate) fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.list(kind).retain(|object| {
            let there = object["metadata"]["namespace"].as_str().unwrap_or_default();
            (there, object["metadata"]["name"].as_str().unwrap()) != (namespace, name)
        });
    }

    pub(crate) fn put(&mut self, kind: Kind, object: &Value) {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.remove(kind, &namespace, &name);
        self.list(kind).push(object.clone());
        let decoded: Object = decode(kind, object.to_string().as_bytes()).unwrap();
        self.store.feed(Event::Apply(decoded));
    }

    pub(crate) fn delete(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.remove(kind, namespace, name);
        self.store.feed(Event::Delete(kind, ObjectName::new(namespace, name)));
    }

    /// Commits, lays out and writes until there is nothing left to do; every state on the way.
    pub(crate) fn turn(&mut self) -> Vec<PolicyImage> {
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
    pub(crate) fn verdicts(&self, image: &PolicyImage) -> BTreeMap<Question, bool> {
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

    pub(crate) fn expected(&self) -> BTreeMap<Question, bool> {
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

pub(crate) type Question = ((String, String), towpath_netpol_oracle::Direction, IpAddr, Carried);

pub(crate) fn questions() -> Vec<(towpath_netpol_oracle::Direction, IpAddr, Carried)> {
    let mut peers: Vec<IpAddr> = Vec::new();
    for namespace in 0..3 {
        for pod in 0..4 {
            peers.extend(addresses(namespace, pod).map(|text| text.parse::<IpAddr>().unwrap()));
        }
    }
    peers.extend(
        ["192.0.2.1", "10.0.3.9", "2001:db8::1", "10.0.2.99", "fd00:1::63"]
            .map(|text| text.parse::<IpAddr>().unwrap()),
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

pub(crate) fn dns_name() -> ObjectName {
    ObjectName::new("y", "kube-dns")
}

/// The Service of DNS: pods of which label, and which ports they have for 80 and 79.
pub(crate) fn dns(label: u8, port: u8) -> Value {
    let target = [json!(80), json!(81), json!("web"), json!(8080)][usize::from(port % 4)].clone();
    let mut service = json!({
        "metadata": { "namespace": "y", "name": "kube-dns" },
        "spec": { "clusterIP": "10.0.2.99", "clusterIPs": ["10.0.2.99", "fd00:1::63"],
            "selector": { "app": format!("v{label}") }, "ports": [
                { "name": "a", "protocol": "UDP", "port": 80, "targetPort": target },
                { "name": "b", "protocol": "TCP", "port": 79, "targetPort": 79 } ] },
    });
    if label == 0 {
        service["spec"].as_object_mut().unwrap().remove("selector");
    }
    service
}

pub(crate) fn addresses(namespace: usize, pod: usize) -> [String; 2] {
    [format!("10.0.{namespace}.{}", pod + 1), format!("fd00:{namespace}::{}", pod + 1)]
}

pub(crate) fn namespace(at: usize, label: u8) -> Value {
    json!({ "metadata": { "name": NAMESPACES[at], "labels": { "team": format!("t{label}") } } })
}

pub(crate) fn pod(namespace: usize, at: usize, (label, number, state): (u8, u8, u8)) -> Value {
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

pub(crate) fn selector(key: &'static str, prefix: &'static str) -> impl Strategy<Value = Value> {
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

pub(crate) fn peer() -> impl Strategy<Value = Value> {
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

pub(crate) fn port() -> impl Strategy<Value = Value> {
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

pub(crate) fn policy() -> impl Strategy<Value = Value> {
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
pub(crate) enum Step {
    Policy(Value),
    NoPolicy(usize, u8),
    Pod(usize, usize, (u8, u8, u8)),
    NoPod(usize, usize),
    Namespace(usize, u8),
    NoNamespace(usize),
    /// The Service of DNS, as [`dns`] makes it.
    Dns(u8, u8),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => policy().prop_map(Step::Policy),
        1 => (0usize..3, 0u8..4).prop_map(|(namespace, name)| Step::NoPolicy(namespace, name)),
        4 => (0usize..3, 0usize..4, (0u8..4, 0u8..4, 0u8..10))
            .prop_map(|(namespace, at, how)| Step::Pod(namespace, at, how)),
        1 => (0usize..3, 0usize..4).prop_map(|(namespace, at)| Step::NoPod(namespace, at)),
        1 => (0usize..3, 0u8..4).prop_map(|(at, label)| Step::Namespace(at, label)),
        1 => (0usize..3).prop_map(Step::NoNamespace),
        2 => (0u8..4, 0u8..4).prop_map(|(label, port)| Step::Dns(label, port)),
    ]
}

impl Cluster {
    pub(crate) fn take(&mut self, step: &Step) {
        match step {
            Step::Policy(policy) => self.put(Kind::NetworkPolicy, policy),
            Step::NoPolicy(namespace, name) => {
                self.delete(Kind::NetworkPolicy, NAMESPACES[*namespace], &format!("p{name}"));
            }
            Step::Pod(namespace, at, how) => self.put(Kind::Pod, &pod(*namespace, *at, *how)),
            Step::NoPod(namespace, at) => self.delete(Kind::Pod, NAMESPACES[*namespace], PODS[*at]),
            Step::Namespace(at, label) => self.put(Kind::Namespace, &namespace(*at, *label)),
            Step::NoNamespace(at) => self.delete(Kind::Namespace, "", NAMESPACES[*at]),
            Step::Dns(label, port) => {
                let service = dns(*label, *port);
                let decoded = decode(Kind::Service, service.to_string().as_bytes()).unwrap();
                self.store.feed(Event::Apply(decoded));
                self.world.dns = Some(service);
            }
        }
    }

    pub(crate) fn filled() -> Self {
        let mut cluster = Self::new();
        for at in 0..3 {
            cluster.put(Kind::Namespace, &namespace(at, u8::try_from(at).unwrap() + 1));
            for number in 0..4 {
                let label = u8::try_from(number).unwrap();
                cluster.put(Kind::Pod, &pod(at, number, (label, label, 0)));
            }
        }
        cluster.take(&Step::Dns(1, 1));
        cluster
    }
}

pub(crate) fn compare(found: &BTreeMap<Question, bool>, expected: &BTreeMap<Question, bool>) {
    assert_eq!(found.len(), expected.len());
    for (question, verdict) in found {
        assert_eq!(*verdict, expected[question], "{question:?}");
    }
}
