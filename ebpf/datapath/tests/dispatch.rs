//! services.md 1.3 and 1.4 for packets: every origin, frontend, policy and sort of endpoint, against
//! the tables of that page written down a second time; and what answers the rest.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use support::{HERE, World, addr, at};
use towpath_datapath::{
    Empty, FrontendKey, FrontendWord, NodeAddressValue, RangeKey, ServiceRecord, SetWord,
    decide::{
        Verdict, dispatch,
        guard::{Answer, answer, may_be_answered, port_unreachable},
        node::{Arrival, Masquerade, Origin},
    },
    packet::{Fragment, Headers},
    protocol,
};

const CLUSTER_IP: &str = "10.96.0.1";
const BALANCER: &str = "203.0.113.9";
const NODE: &str = "192.0.2.1";
const ELSEWHERE: &str = "10.2.0.1";

/// Which endpoints there are.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Endpoints {
    None,
    Here,
    Elsewhere,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    ClusterIp,
    NodePort,
    Balancer,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    origin: Origin,
    way: Way,
    /// internalTrafficPolicy of a clusterIP, externalTrafficPolicy of the others.
    local: bool,
    endpoints: Endpoints,
    /// The client is the endpoint.
    hairpin: bool,
    settings: Masquerade,
}

fn world(case: &Case) -> World {
    let mut world = World::new();
    let backends = match case.endpoints {
        Endpoints::None => vec![],
        Endpoints::Here => vec![at(HERE, 8080)],
        Endpoints::Elsewhere => vec![at(ELSEWHERE, 8080)],
    };
    let cluster = match backends.is_empty() {
        true => SetWord::empty(Empty::Refuse, 1),
        false => world.extent(&backends, 1),
    };
    let local = match case.endpoints {
        Endpoints::None => SetWord::empty(Empty::Refuse, 1),
        Endpoints::Elsewhere => SetWord::empty(Empty::Leave, 1),
        Endpoints::Here => world.extent(&backends, 1),
    };
    world.service(0, cluster, local);
    let internal = if case.local { FrontendWord::LOCAL_SET } else { 0 };
    let external =
        FrontendWord::EXTERNAL | if case.local { FrontendWord::LOCAL_OUTSIDE } else { 0 };
    world.frontend(FrontendKey::vip(addr(CLUSTER_IP), 80, protocol::TCP), 0, internal);
    world.frontend(FrontendKey::vip(addr(BALANCER), 80, protocol::TCP), 0, external);
    world.frontend(FrontendKey::node(addr(NODE), 30_080, protocol::TCP), 0, external);
    world.frontend(FrontendKey::guard(addr(CLUSTER_IP)), 0, 0);
    world.node(NODE, 1, NodeAddressValue::OWN);
    world.node("192.0.2.2", 2, 0);
    world
}

fn arrival(case: &Case) -> Arrival {
    let endpoint = if case.endpoints == Endpoints::Here { HERE } else { ELSEWHERE };
    let from = match case.origin {
        _ if case.hairpin => endpoint,
        Origin::Pod | Origin::JudgedPod => "10.1.0.99",
        Origin::Node => NODE,
        Origin::Outside => "198.51.100.7",
    };
    let to = match case.way {
        Way::ClusterIp => at(CLUSTER_IP, 80),
        Way::NodePort => at(NODE, 30_080),
        Way::Balancer => at(BALANCER, 80),
    };
    Arrival { origin: case.origin, from: addr(from), to, protocol: protocol::TCP }
}

/// 1.3 and 1.4 in words: "reject", "drop", "keep" or "masquerade".
fn wanted(case: &Case) -> &'static str {
    if case.endpoints == Endpoints::None {
        return "reject";
    }
    let (outside, clusterip) = (case.origin == Origin::Outside, case.way == Way::ClusterIp);
    let held_to_local = case.local && (clusterip || outside);
    if held_to_local && case.endpoints == Endpoints::Elsewhere {
        return "drop";
    }
    if case.hairpin || clusterip && case.settings.all {
        return "masquerade";
    }
    let by_rule = if clusterip {
        case.origin != Origin::Pod
    } else if case.local {
        case.origin == Origin::Node
    } else {
        true
    };
    // Before an endpoint of this node the client stays, unless kube-proxy's way is asked for.
    let needed = case.endpoints == Endpoints::Elsewhere || case.settings.local;
    if by_rule && needed { "masquerade" } else { "keep" }
}

#[test]
fn every_row_of_dispatch_and_masquerade() {
    let both = [false, true];
    let mut seen = std::collections::BTreeMap::new();
    for origin in [Origin::Pod, Origin::Node, Origin::Outside] {
        for way in [Way::ClusterIp, Way::NodePort, Way::Balancer] {
            for endpoints in [Endpoints::None, Endpoints::Here, Endpoints::Elsewhere] {
                for bits in 0..16u8 {
                    let bit = |at: u8| both[usize::from(bits >> at & 1)];
                    let settings = Masquerade { all: bit(0), local: bit(1) };
                    let (local, hairpin) = (bit(2), bit(3));
                    let case = Case { origin, way, local, endpoints, hairpin, settings };
                    let got = dispatch(&world(&case), &arrival(&case), settings, 0, 0);
                    let got = match got.verdict {
                        Verdict::NoEndpoint { service: 0 } => "reject",
                        Verdict::NoLocalEndpoint { service: 0 } => "drop",
                        Verdict::Translate(_) if got.masquerade => "masquerade",
                        Verdict::Translate(_) => "keep",
                        _ => "something else",
                    };
                    assert_eq!(got, wanted(&case), "{case:?}");
                    *seen.entry(got).or_insert(0) += 1;
                }
            }
        }
    }
    assert_eq!(seen.len(), 4, "every outcome was met: {seen:?}");
    assert_eq!(seen.values().sum::<i32>(), 432);
}

fn plain() -> Case {
    Case {
        origin: Origin::Outside,
        way: Way::ClusterIp,
        local: false,
        endpoints: Endpoints::Here,
        hairpin: false,
        settings: Masquerade::default(),
    }
}

fn ask(world: &World, to: &str, port: u16) -> Verdict {
    let arrival = Arrival { to: at(to, port), ..arrival(&plain()) };
    dispatch(world, &arrival, Masquerade::default(), 0, 0).verdict
}

#[test]
fn what_is_no_frontend_passes_but_a_cluster_ip_refuses() {
    let world = world(&plain());
    assert_eq!(ask(&world, CLUSTER_IP, 81), Verdict::UnknownPort);
    for (to, port) in [(BALANCER, 81), (NODE, 22), ("192.0.2.2", 30_080), ("127.0.0.1", 30_080)] {
        assert_eq!(ask(&world, to, port), Verdict::Untouched, "{to}:{port}");
    }
}

#[test]
fn sources_are_judged_before_an_endpoint_is_chosen() {
    let mut world = world(&plain());
    let key = FrontendKey::vip(addr(BALANCER), 80, protocol::TCP);
    world.frontend(key, 0, FrontendWord::EXTERNAL | FrontendWord::SOURCE_RANGES);
    assert_eq!(ask(&world, BALANCER, 80), Verdict::SourceRanges { service: 0 }, "no range at all");
    world.ranges.insert(RangeKey::new(0, addr("198.51.100.0"), 25));
    world.ranges.insert(RangeKey::new(1, addr("0.0.0.0"), 0));
    for (from, origin, may) in [
        ("198.51.100.127", Origin::Outside, true),
        ("198.51.100.128", Origin::Outside, false),
        // Pods and the node are judged as clients outside are (services.md 1.3).
        ("198.51.100.7", Origin::Pod, true),
        ("10.1.0.5", Origin::Pod, false),
        ("198.51.100.8", Origin::Node, true),
        ("192.0.2.1", Origin::Node, false),
    ] {
        let arrival =
            Arrival { from: addr(from), origin, to: at(BALANCER, 80), ..arrival(&plain()) };
        let verdict = dispatch(&world, &arrival, Masquerade::default(), 0, 0).verdict;
        assert_eq!(matches!(verdict, Verdict::Translate(_)), may, "{from}: {verdict:?}");
        assert_eq!(verdict == Verdict::SourceRanges { service: 0 }, !may, "{from}");
    }
}

#[test]
fn a_block_holds_the_addresses_of_its_family_that_begin_like_it() {
    for (block, length, inside, outside) in [
        ("10.0.0.0", 8, "10.255.255.255", "11.0.0.0"),
        ("10.1.2.3", 32, "10.1.2.3", "10.1.2.2"),
        ("0.0.0.0", 0, "255.0.0.1", "::1"),
        ("fd00::", 8, "fdff::1", "fe00::1"),
        ("2001:db8::7", 128, "2001:db8::7", "2001:db8::6"),
        ("2001:db8:0:8000::", 49, "2001:db8:0:ffff::", "2001:db8:0:7fff::"),
    ] {
        let key = RangeKey::new(7, addr(block), length);
        assert!(key.contains(7, &addr(inside)), "{block}/{length} {inside}");
        assert!(!key.contains(7, &addr(outside)), "{block}/{length} {outside}");
        assert!(!key.contains(8, &addr(inside)), "another service");
    }
}

#[test]
fn an_endpoint_of_the_other_family_is_damage() {
    let mut world = world(&plain());
    let six = world.extent(&[at("fd00::1", 8080)], 2);
    world.services.get_mut(&0).unwrap().sets[0] = six;
    assert_eq!(ask(&world, CLUSTER_IP, 80), Verdict::Damaged { service: 0 });
}

#[test]
fn a_client_is_kept_on_its_endpoint_by_its_address() {
    use towpath_datapath::{AffinityKey, AffinityValue};
    let mut world = world(&plain());
    let set = world.extent(&[at(HERE, 8080), at(ELSEWHERE, 8080)], 2);
    let record = world.services.get_mut(&0).unwrap();
    record.sets[0] = set;
    (record.flags, record.affinity_seconds) = (ServiceRecord::AFFINITY, 60);
    let key = AffinityKey { client: addr("198.51.100.7"), service: record.identity };
    let kept = at(ELSEWHERE, 8080);
    let value = AffinityValue { addr: kept.addr, port: kept.port, reserved: 0, used: 10 };
    world.affinity.borrow_mut().insert(key, value);
    let choice = |client: &str, now: u32| {
        let arrival = Arrival { from: addr(client), ..arrival(&plain()) };
        match dispatch(&world, &arrival, Masquerade::default(), 0, now).verdict {
            Verdict::Translate(choice) => choice.backend,
            _ => at("::", 0),
        }
    };
    assert_eq!(choice("198.51.100.7", 69), kept);
    assert_eq!(choice("198.51.100.7", 70), at(HERE, 8080), "it was idle for too long");
    assert_eq!(choice("198.51.100.8", 69), at(HERE, 8080), "another client");
}

fn headers(from: &str, to: &str, protocol: u8) -> Headers {
    Headers {
        l3: 14,
        l4: 34,
        source: addr(from),
        destination: addr(to),
        protocol,
        source_port: 1,
        destination_port: 2,
        tcp_flags: 0,
        icmp_type: 8,
        ttl: 64,
        fragment: Fragment::Whole,
        fragment_id: 0,
        payload: false,
    }
}

#[test]
fn refusals_are_answered_and_policies_are_silent() {
    let packet = headers("198.51.100.7", CLUSTER_IP, protocol::TCP);
    let said = |verdict: Verdict| answer(&verdict, &packet);
    assert_eq!(said(Verdict::Untouched), Some(Answer::Pass));
    assert_eq!(said(Verdict::UnknownPort), Some(Answer::Unreachable));
    assert_eq!(said(Verdict::NoEndpoint { service: 0 }), Some(Answer::Unreachable));
    assert_eq!(said(Verdict::NoLocalEndpoint { service: 0 }), Some(Answer::Drop));
    assert_eq!(said(Verdict::Damaged { service: 0 }), Some(Answer::Drop));
    assert_eq!(said(Verdict::SourceRanges { service: 0 }), Some(Answer::Drop), "closed");
    let later = Headers { fragment: Fragment::Later, ..packet };
    assert_eq!(answer(&Verdict::UnknownPort, &later), Some(Answer::Drop));
    assert_eq!((port_unreachable(true), port_unreachable(false)), ((3, 3), (1, 4)));
}

#[test]
fn no_error_answers_an_error_or_what_is_not_from_one_host_to_one_host() {
    let echo = |from: &str, to: &str| may_be_answered(&headers(from, to, protocol::UDP));
    assert!(echo("198.51.100.7", CLUSTER_IP) && echo("2001:db8::7", "fd00:96::1"));
    for (from, to) in [
        ("0.0.0.0", CLUSTER_IP),
        ("127.0.0.1", CLUSTER_IP),
        ("224.0.0.1", CLUSTER_IP),
        ("255.255.255.255", CLUSTER_IP),
        ("198.51.100.7", "239.1.1.1"),
        ("::", "fd00:96::1"),
        ("::1", "fd00:96::1"),
        ("2001:db8::7", "ff02::1"),
    ] {
        assert!(!echo(from, to), "{from} {to}");
    }
    for (to, protocol, kind, may) in [
        (CLUSTER_IP, 1, 8, true),
        (CLUSTER_IP, 1, 3, false),
        (CLUSTER_IP, 1, 5, false),
        (CLUSTER_IP, 1, 11, false),
        ("fd00:96::1", 58, 128, true),
        ("fd00:96::1", 58, 1, false),
        ("fd00:96::1", 58, 137, false),
    ] {
        let from = if protocol == 1 { "198.51.100.7" } else { "2001:db8::7" };
        let message = Headers { icmp_type: kind, ..headers(from, to, protocol) };
        assert_eq!(may_be_answered(&message), may, "{protocol} {kind}");
    }
}
