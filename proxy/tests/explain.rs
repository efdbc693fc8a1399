//! `explain` says what the kernel programs decide, for tables of every sort: those that a plan
//! gives, and those that no plan would ever give.
#![expect(clippy::unwrap_used, reason = "a test")]

mod pipeline;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use pipeline::{Pipeline, maps::Maps};
use proptest::prelude::*;
use serde_json::json;
use towpath_image::{
    Capacities, ServiceImage,
    datapath::{
        Addr, BackendRecord, ConfigRecord, Empty, FrontendKey, FrontendWord, NodeAddressValue,
        ServiceRecord, SetWord,
        decide::{
            Action, Beside, Call, Request, SocketAddress, Verdict, connect, dispatch,
            node::{Arrival, Masquerade, Origin, Pods},
        },
    },
};
use towpath_model::{Kind, ObjectName, Protocol};
use towpath_proxy::{Answer, ProxyConfig, Question, ServicePlan, Via, explain, trace};

const ADDRESSES: [&str; 4] = ["10.96.0.1", "192.168.0.10", "127.0.0.1", "fd96::1"];
const PORTS: [u16; 2] = [80, 30_001];
const HOST: u64 = 77;

fn addr(index: usize) -> Addr {
    ADDRESSES[index].parse::<IpAddr>().unwrap().into()
}

fn keys() -> impl Strategy<Value = FrontendKey> {
    (0..4usize, 0..2usize, prop::sample::select(vec![6u8, 17]), 0..4u8, 0..3u64).prop_map(
        |(at, port, protocol, kind, node)| match kind {
            0 => FrontendKey::vip(addr(at), PORTS[port], protocol),
            1 => FrontendKey::node(addr(at), PORTS[port], protocol),
            2 => FrontendKey::node_local(addr(at), node, PORTS[port], protocol),
            _ => FrontendKey::guard(addr(at)),
        },
    )
}

fn words() -> impl Strategy<Value = SetWord> {
    prop_oneof![
        3 => (0..12u32, 1..6u16, 0..3u16).prop_map(|(b, c, e)| SetWord::new(b, c, e)),
        1 => Just(SetWord::empty(Empty::Refuse, 1)),
        1 => Just(SetWord::empty(Empty::Leave, 1)),
    ]
}

prop_compose! {
    fn images()(
        frontends in prop::collection::vec((keys(), 0..6u32, 0..16u8, prop::bool::weighted(0.9)), 0..24),
        services in prop::collection::btree_map(0..4u32, (words(), words(), any::<bool>()), 0..4),
        backends in prop::collection::vec(0..8u8, 14),
        nodes in prop::collection::vec((0..4usize, 0..3u64, 0..4u32), 0..5),
        host_only in prop::bool::weighted(0.1),
    ) -> ServiceImage {
        let mut image = ServiceImage::with_capacities(Capacities { services: 5, ..Capacities::default() });
        for (key, service, flags, fits) in frontends {
            // An element that is being recycled carries another key's check.
            let of = if fits { key } else { FrontendKey::guard(Addr::ANY_V4) };
            image.frontends.insert(key, FrontendWord::new(&of, service, flags));
        }
        for (index, (cluster, local, sticky)) in services {
            let flags = if sticky { ServiceRecord::AFFINITY } else { 0 };
            let record = ServiceRecord {
                identity: u64::from(index) + 1, sets: [cluster, local], flags,
                affinity_seconds: 30, ..ServiceRecord::default()
            };
            image.services.insert(index, record);
        }
        image.backends = backends.into_iter().map(|kind| match kind {
            0 => BackendRecord::default(),
            1 => BackendRecord::new("fd00::1".parse::<IpAddr>().unwrap().into(), 8080),
            last => {
                let ip: IpAddr = format!("10.0.0.{last}").parse().unwrap();
                BackendRecord::new(ip.into(), 8080)
            }
        }).collect();
        for (at, node, flags) in nodes {
            let value = NodeAddressValue { node, flags, reserved: 0 };
            image.node_addresses.insert(addr(at), value);
        }
        let flags = if host_only { ConfigRecord::HOST_ONLY } else { 0 };
        image.config = ConfigRecord { host_netns: HOST, flags, ..ConfigRecord::default() };
        image
    }
}

/// Every verdict that some random number leads to, for every kind of socket that asks so.
fn verdicts(image: &ServiceImage, question: &Question, pod: u64) -> Vec<(Verdict, Action)> {
    let udp = question.protocol == Protocol::Udp;
    let request = Request {
        call: if udp { Call::Send } else { Call::Connect },
        protocol: question.protocol.number(),
        to: SocketAddress::new(question.to.ip().into(), question.to.port().to_be()),
        from: Addr::from(question.to.ip()).any_of_family(),
        netns: if question.host { HOST } else { pod },
        socket: 9,
    };
    // Sets have at most five backends: 840 draws, evenly spread, land on each slot.
    let draws = (0..=839u32).map(|draw| draw * (u32::MAX / 840));
    let verdict = draws.map(|random| connect(&Maps(image, image.config), &request, random, 5));
    verdict.map(|verdict| (verdict, verdict.action(&request))).collect()
}

/// The answer that these verdicts add up to; actions are checked on the way.
fn expected(image: &ServiceImage, verdicts: &[(Verdict, Action)]) -> &'static str {
    let mut names = BTreeSet::new();
    for (verdict, action) in verdicts {
        let (name, wanted) = match verdict {
            Verdict::Untouched => ("nothing", Action::Leave),
            Verdict::HostOnly => ("host only", Action::Leave),
            Verdict::UnknownPort => ("unknown port", Action::Refuse),
            Verdict::NoEndpoint { .. } => ("refused", Action::Refuse),
            Verdict::NoLocalEndpoint { .. } => ("left", Action::Leave),
            Verdict::SourceRanges { .. } | Verdict::OwnDns { .. } => ("left", Action::Leave),
            Verdict::Damaged { .. } => ("damaged", Action::Leave),
            Verdict::Translate(choice) => ("translated", Action::Rewrite(choice.backend)),
        };
        assert_eq!(*action, wanted, "{image:?}");
        names.insert(name);
    }
    if names.len() == 1 {
        return names.first().copied().unwrap();
    }
    // Chance decides only within a set, and only what is damaged in it differs.
    assert_eq!(names, BTreeSet::from(["damaged", "translated"]));
    "damaged"
}

fn name_of(answer: &Answer) -> &'static str {
    match answer {
        Answer::NotAService => "nothing",
        Answer::HostOnly => "host only",
        Answer::UnknownPort => "unknown port",
        Answer::Left { .. } => "left",
        Answer::Refused { .. } => "refused",
        Answer::Damaged { .. } => "damaged",
        Answer::Translated { .. } => "translated",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn explain_says_what_the_program_decides(image in images(), pod in 100..200u64) {
        let plan = ServicePlan::new(ProxyConfig::default());
        for at in ADDRESSES {
            for port in PORTS {
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    for host in [true, false] {
                        let to = SocketAddr::new(at.parse().unwrap(), port);
                        let question = Question { to, protocol, host };
                        let verdicts = verdicts(&image, &question, pod);
                        let answer = explain(&image, &plan, &question);
                        prop_assert_eq!(
                            name_of(&answer), expected(&image, &verdicts), "{:?}", question
                        );
                        if let Answer::Translated { backends, affinity_seconds, .. } = answer {
                            let mut wanted = BTreeSet::new();
                            let mut sticky = BTreeSet::new();
                            for (verdict, _) in verdicts {
                                let Verdict::Translate(choice) = verdict else { continue };
                                let port = u16::from_be(choice.backend.port);
                                wanted.insert((IpAddr::from(choice.backend.addr), port));
                                sticky.insert((choice.affinity != 0).then_some(30));
                            }
                            prop_assert_eq!(wanted, backends.into_iter().collect());
                            prop_assert_eq!(sticky, BTreeSet::from([affinity_seconds]));
                        }
                    }
                }
            }
        }
    }
}

/// The tables beside a node on which these endpoints are.
struct Node<'a>(Maps<'a>, &'a BTreeSet<IpAddr>);

impl<'a> Beside for Node<'a> {
    type Tables = Maps<'a>;
    fn tables(&self) -> &Maps<'a> {
        &self.0
    }
}

impl Pods for Node<'_> {
    fn is_here(&self, addr: &Addr) -> bool {
        self.1.contains(&IpAddr::from(*addr))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_packets_it_says_what_their_program_decides(image in images(), here in prop::collection::btree_set(2..8u8, 0..4)) {
        let plan = ServicePlan::new(ProxyConfig::default());
        let here: BTreeSet<IpAddr> =
            here.into_iter().map(|last| format!("10.0.0.{last}").parse().unwrap()).collect();
        for (at, from) in ADDRESSES.iter().zip(["192.0.2.9", "192.0.2.9", "192.0.2.9", "2001:db8::9"]) {
            for port in PORTS {
                let (to, from) = (SocketAddr::new(at.parse().unwrap(), port), from.parse().unwrap());
                let arrival = Arrival {
                    origin: Origin::Outside,
                    from: Addr::from(from),
                    to: SocketAddress::new(to.ip().into(), port.to_be()),
                    protocol: 6,
                };
                let node = Node(Maps(&image, image.config), &here);
                let all = (0..=839u32).map(|draw| draw * (u32::MAX / 840)).map(|random| {
                    dispatch(&node, &arrival, Masquerade::default(), random, 0)
                });
                let told = trace(&image, &plan, to, Protocol::Tcp, Via::Packet { from, here: &here });
                let (mut names, mut masqueraded) = (BTreeSet::new(), BTreeSet::new());
                for one in all {
                    names.insert(match one.verdict {
                        Verdict::Untouched => "nothing",
                        Verdict::HostOnly => "host only",
                        Verdict::UnknownPort => "unknown port",
                        Verdict::NoEndpoint { .. } => "refused",
                        Verdict::NoLocalEndpoint { .. }
                        | Verdict::SourceRanges { .. }
                        | Verdict::OwnDns { .. } => "left",
                        Verdict::Damaged { .. } => "damaged",
                        Verdict::Translate(choice) => {
                            let backend = choice.backend;
                            let backend = (IpAddr::from(backend.addr), u16::from_be(backend.port));
                            masqueraded.extend(one.masquerade.then_some(backend));
                            "translated"
                        }
                    });
                }
                let expected = if names.len() == 1 { names.first().copied().unwrap() } else { "damaged" };
                prop_assert_eq!(name_of(&told.answer), expected);
                if expected == "translated" {
                    prop_assert_eq!(told.masqueraded, masqueraded);
                }
            }
        }
    }
}

fn apply(objects: &[serde_json::Value]) -> (ServiceImage, ServicePlan) {
    let plan = ServicePlan::new(ProxyConfig::default());
    let mut pipeline = Pipeline::listed(Capacities::default(), plan);
    for object in objects {
        let kind = Kind::of_name(object["kind"].as_str().unwrap()).unwrap();
        pipeline.apply(kind, object);
    }
    pipeline.turn();
    (pipeline.kernel.image, pipeline.plan)
}

#[test]
fn the_answer_names_the_service_in_words() {
    let (image, plan) = apply(&[
        json!({
            "kind": "Service", "metadata": { "namespace": "d", "name": "s" },
            "spec": {
                "clusterIPs": ["10.96.0.1"], "sessionAffinity": "ClientIP",
                "ports": [{ "name": "a", "port": 80 }, { "name": "b", "port": 81 }],
            },
        }),
        json!({
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": "d", "name": "x", "labels": { "kubernetes.io/service-name": "s" },
            },
            "addressType": "IPv4", "ports": [{ "name": "a", "port": 8080 }],
            "endpoints": [{ "addresses": ["10.0.0.1"] }, { "addresses": ["10.0.0.2"] }],
        }),
    ]);
    let ask = |to: &str| {
        let protocol = Protocol::Tcp;
        explain(&image, &plan, &Question { to: to.parse().unwrap(), protocol, host: false })
    };
    let words = [
        ("10.96.0.1:80", "Service d/s: one of 2 endpoints, kept for 10800 s after the last use"),
        ("10.96.0.1:81", "Service d/s: refused: no endpoint is usable"),
        ("10.96.0.1:82", "refused: the Service has no such port"),
        ("10.96.0.2:80", "not the address of a Service: left alone"),
    ];
    for (to, expected) in words {
        assert_eq!(ask(to).to_string(), expected, "{to}");
    }
    let Answer::Translated { service, backends, .. } = ask("10.96.0.1:80") else { panic!() };
    assert_eq!(service.name, Some(ObjectName::new("d", "s")));
    assert_eq!(backends.len(), 2);
}

#[test]
fn what_the_kernel_holds_counts_also_when_the_plan_has_moved_on() {
    let (image, _) = apply(&[json!({
        "kind": "Service", "metadata": { "namespace": "d", "name": "s" },
        "spec": { "clusterIPs": ["10.96.0.1"], "ports": [{ "port": 80 }] },
    })]);
    let nothing = ServicePlan::new(ProxyConfig::default());
    let to = "10.96.0.1:80".parse().unwrap();
    let question = Question { to, protocol: Protocol::Tcp, host: true };
    let answer = explain(&image, &nothing, &question);
    assert!(matches!(&answer, Answer::Refused { service } if service.name.is_none()), "{answer}");
    assert!(answer.to_string().contains("which no Service of now has"), "{answer}");
}
