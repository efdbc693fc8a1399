//! Clients outside the cluster, whose packets come from no socket of a node.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use serde_json::{Value, json};
use towpath_testbed::{
    objects::{Endpoint, slice},
    probe::{Agent, Ask, Seen},
};

use crate::support::{ANSWER_MS, Bed, PATIENCE, TARGET, service};

/// For an answer that must not come.
pub(crate) const SILENCE_MS: u64 = 300;
/// For a refusal, or for the silence that is none.
const REFUSAL_MS: u64 = 2_500;
pub(crate) const CLUSTER: [&str; 2] = ["10.96.30.1", "fd00:96::30:1"];
pub(crate) const BALANCER: [&str; 2] = ["203.0.113.30", "2001:db8::30"];
pub(crate) const EXTERNAL: &str = "198.51.100.30";
const NODE_PORT: (u16, u16) = (30_180, 30_153);

/// The Service `s`, of type LoadBalancer and both families; and the client. VIPs lead to the first node.
fn world(rest: &Value) -> (Bed, Agent) {
    world_with("{packets: on}", rest)
}

/// The same with these features, and what else follows in the configuration.
pub(crate) fn world_with(features: &str, rest: &Value) -> (Bed, Agent) {
    let bed = Bed::with_features(Some(features));
    publish(&bed, rest);
    for ip in CLUSTER.into_iter().chain(BALANCER).chain([EXTERNAL]) {
        bed.cluster.lead(ip.parse().unwrap(), 0).unwrap();
    }
    let outside = bed.cluster.outside.agent().unwrap();
    (bed, outside)
}

pub(crate) fn publish(bed: &Bed, rest: &Value) {
    let mut object = service("s", CLUSTER[0], rest.clone());
    let spec = json!({
        "type": "LoadBalancer", "clusterIPs": CLUSTER, "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "RequireDualStack", "externalIPs": [EXTERNAL],
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object["spec"]["ports"][0]["nodePort"] = NODE_PORT.0.into();
    object["spec"]["ports"][1]["nodePort"] = NODE_PORT.1.into();
    let ips: Vec<Value> = BALANCER.iter().map(|ip| json!({ "ip": ip })).collect();
    object["status"] = json!({ "loadBalancer": { "ingress": ips } });
    bed.api.put(object).unwrap();
}

pub(crate) fn endpoints(bed: &Bed, endpoints: &[Endpoint<'_>]) {
    for v6 in [false, true] {
        let ports = [("t", "TCP", TARGET), ("u", "UDP", TARGET)];
        bed.api.put(slice("s", v6, &ports, endpoints)).unwrap();
    }
}

/// A VIP's or a node's address, as the frontend of this protocol.
pub(crate) fn at(ip: &str, udp: bool) -> SocketAddr {
    (ip.parse::<IpAddr>().unwrap(), if udp { 53 } else { 80 }).into()
}

pub(crate) fn node_port(bed: &Bed, node: usize, v6: bool, udp: bool) -> SocketAddr {
    let ip = bed.cluster.nodes[node].host.addresses[usize::from(v6)];
    (ip, if udp { NODE_PORT.1 } else { NODE_PORT.0 }).into()
}

pub(crate) fn ask(client: &mut Agent, to: SocketAddr, udp: bool, timeout_ms: u64) -> Seen {
    let ask = match udp {
        // Linux tells a socket of refusals only when it is connected.
        true => Ask::Udp { to, connected: true, mapped: false, keep: None, timeout_ms },
        false => Ask::Tcp { to, mapped: false, timeout_ms },
    };
    client.ask(&ask).unwrap()
}

/// Waits until it comes to this. Between namespaces of one kernel an ICMPv6 error comes while the
/// client still holds its socket, which Linux then tells of a TCP socket when it has sent its SYN again,
/// after a second; a refusal by nftables comes as late.
#[track_caller]
pub(crate) fn comes_to(client: &mut Agent, to: SocketAddr, udp: bool, outcome: &str) -> Seen {
    let began = Instant::now();
    loop {
        let timeout_ms = if outcome == "ok" { SILENCE_MS } else { REFUSAL_MS };
        let seen = ask(client, to, udp, timeout_ms);
        if seen.outcome == outcome {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "{to} (UDP: {udp}): {seen:?}, not {outcome}");
    }
}

/// These answer, and no other, each as if it were the frontend; who the client was for each of them.
#[track_caller]
pub(crate) fn reaches(
    client: &mut Agent,
    to: SocketAddr,
    udp: bool,
    wanted: &[&str],
) -> Vec<(String, IpAddr)> {
    comes_to(client, to, udp, "ok");
    let (mut names, mut clients) = (BTreeSet::new(), Vec::new());
    for _ in 0..60 {
        let seen = ask(client, to, udp, ANSWER_MS);
        assert_eq!((seen.outcome.as_str(), seen.peer), ("ok", Some(to)), "UDP: {udp}");
        if names.insert(seen.name.clone()) {
            clients.push((seen.name, seen.client.unwrap().ip()));
        }
    }
    assert_eq!(names, wanted.iter().map(|name| (*name).to_owned()).collect(), "{to} (UDP: {udp})");
    clients
}

#[test]
#[ignore = "needs root"]
fn every_frontend_leads_to_every_endpoint_here_and_elsewhere() {
    let (bed, mut outside) = world(&json!({}));
    endpoints(&bed, &[bed.at(0, 1), bed.at(1, 1)]);
    let both = ["pod-1-2", "pod-2-2"];
    for (v6, udp) in [(false, false), (false, true), (true, false), (true, true)] {
        let family = usize::from(v6);
        let mut ways = vec![at(CLUSTER[family], udp), at(BALANCER[family], udp)];
        ways.extend((0..2).map(|node| node_port(&bed, node, v6, udp)));
        ways.extend((!v6).then(|| at(EXTERNAL, udp)));
        for to in ways {
            let through = usize::from(to.ip() == bed.cluster.nodes[1].host.addresses[family]);
            let own = bed.cluster.outside.addresses[family];
            for (name, client) in reaches(&mut outside, to, udp, &both) {
                // An endpoint of the node that was asked sees the client, another one that node.
                let here = name == both[through];
                let wanted =
                    if here { own } else { bed.cluster.nodes[through].host.addresses[family] };
                assert_eq!(client, wanted, "{to} (UDP: {udp}): {name}");
            }
        }
    }
    // Segments as large as offloads make them, both ways.
    for node in 0..2 {
        let to = node_port(&bed, node, false, false);
        for _ in 0..4 {
            let seen = outside.ask(&Ask::Echo { to, bytes: 3_000_000, udp: false }).unwrap();
            assert_eq!(seen.outcome, "ok", "{to}");
        }
    }
    let status = bed.status(0).unwrap();
    assert_eq!(status["state"]["problems"], json!([]));
}

#[test]
#[ignore = "needs root"]
fn a_local_policy_keeps_the_client_and_is_silent_where_there_is_no_endpoint() {
    let (bed, mut outside) = world(&json!({ "externalTrafficPolicy": "Local" }));
    endpoints(&bed, &[bed.at(0, 1), bed.at(0, 2)]);
    for udp in [false, true] {
        let to = at(BALANCER[0], udp);
        for (_, client) in reaches(&mut outside, to, udp, &["pod-1-2", "pod-1-3"]) {
            assert_eq!(client, bed.cluster.outside.v4());
        }
        reaches(&mut outside, node_port(&bed, 0, true, udp), udp, &["pod-1-2", "pod-1-3"]);
        for v6 in [false, true] {
            let elsewhere = node_port(&bed, 1, v6, udp);
            comes_to(&mut outside, elsewhere, udp, "timeout");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn what_has_no_endpoint_or_no_such_port_is_refused_at_once() {
    let (bed, mut outside) = world(&json!({}));
    endpoints(&bed, &[]);
    for udp in [false, true] {
        for v6 in [false, true] {
            comes_to(&mut outside, node_port(&bed, 0, v6, udp), udp, "refused");
            comes_to(&mut outside, at(BALANCER[usize::from(v6)], udp), udp, "refused");
            let unknown = SocketAddr::new(CLUSTER[usize::from(v6)].parse().unwrap(), 81);
            comes_to(&mut outside, unknown, udp, "refused");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn flows_outlive_the_daemon_and_a_datagrams_moves_when_its_endpoint_goes() {
    let (mut bed, mut outside) = world(&json!({}));
    endpoints(&bed, &[bed.at(1, 1)]);
    let (tcp, udp) = (node_port(&bed, 0, false, false), node_port(&bed, 0, false, true));
    reaches(&mut outside, tcp, false, &["pod-2-2"]);
    reaches(&mut outside, udp, true, &["pod-2-2"]);
    let keep =
        Ask::Udp { to: udp, connected: true, mapped: false, keep: Some(1), timeout_ms: ANSWER_MS };
    let first = outside.ask(&keep).unwrap();
    assert_eq!((first.outcome.as_str(), first.name.as_str()), ("ok", "pod-2-2"));
    bed.kill(0);
    for _ in 0..20 {
        assert_eq!(ask(&mut outside, tcp, false, ANSWER_MS).outcome, "ok", "with no daemon");
    }
    bed.start(0);
    for _ in 0..200 {
        assert_eq!(ask(&mut outside, tcp, false, ANSWER_MS).outcome, "ok", "as it comes back");
    }
    bed.ready(0);
    let again = outside.ask(&keep).unwrap();
    assert_eq!((again.outcome.as_str(), again.client), ("ok", first.client), "the same flow");
    endpoints(&bed, &[bed.at(0, 1)]);
    let began = Instant::now();
    let quick =
        Ask::Udp { to: udp, connected: true, mapped: false, keep: Some(1), timeout_ms: SILENCE_MS };
    while outside.ask(&quick).unwrap().name != "pod-1-2" {
        assert!(began.elapsed() < PATIENCE, "the same socket, another endpoint");
    }
    // Off: the node's own stack answers, and nothing of it is left in force.
    std::fs::write(bed.config(), "features: {packets: off}\n").unwrap();
    bed.stop(0);
    bed.start(0);
    bed.ready(0);
    comes_to(&mut outside, tcp, false, "refused");
}
