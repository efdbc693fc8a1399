//! `towpath explain` says of each connection what becomes of it: pods, hosts and Services, both protocols,
//! both families, with policies at either end. What it says is compared with the connection itself.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use towpath_testbed::{
    objects::{namespace, network_policy, pod},
    probe::{Agent, Ask},
};

use crate::support::{Bed, TARGET, service};

/// For an answer that may not come.
const SILENCE_MS: u64 = 400;
/// A Service of x/b and y/a.
const VIP: &str = "10.96.9.1";
/// A Service without endpoints.
const NONE: &str = "10.96.9.2";

/// Pods by node and place: name. The first of each node is a client.
const PODS: [(usize, usize, &str, &str); 5] =
    [(0, 0, "x", "a"), (0, 1, "x", "b"), (0, 2, "y", "a"), (1, 0, "z", "a"), (1, 1, "y", "b")];

fn world() -> Bed {
    let bed = Bed::with_features(Some("{networkPolicy: on}"));
    for name in ["x", "y", "z", "default"] {
        bed.api.put(namespace(name, &json!({ "ns": name }))).unwrap();
    }
    for (node, at, space, name) in PODS {
        let (host, node) = (bed.cluster.pod(node, at), &bed.cluster.nodes[node].host.name);
        bed.api.put(pod(host, node, space, name, &json!({ "pod": name }))).unwrap();
    }
    bed.api.put(service("both", VIP, json!({}))).unwrap();
    bed.endpoints("both", &[bed.at(0, 1), bed.at(0, 2)]);
    bed.api.put(service("none", NONE, json!({}))).unwrap();
    bed
}

/// What the command says: 0 it passes, 1 it dies, 2 it cannot be told; and its last line.
fn explained(bed: &Bed, node: usize, from: &str, to: SocketAddr, udp: bool) -> (i32, String) {
    let to = format!("{to}/{}", if udp { "udp" } else { "tcp" });
    let said = bed.cli(node, &["explain", from, &to]);
    let text = String::from_utf8(said.stdout).unwrap();
    let last = text.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("result: "), "{text}{}", String::from_utf8_lossy(&said.stderr));
    (said.status.code().unwrap(), last)
}

fn connects(client: &mut Agent, to: SocketAddr, udp: bool) -> bool {
    let timeout_ms = SILENCE_MS;
    let ask = match udp {
        true => Ask::Udp { to, connected: false, mapped: false, keep: None, timeout_ms },
        false => Ask::Tcp { to, mapped: false, timeout_ms },
    };
    // A lost packet of a busy machine is no denial.
    (0..3).any(|_| client.ask(&ask).unwrap().outcome == "ok")
}

/// Every pair of a client and a target: what is explained on the client's node, and on the target's.
fn compare(bed: &mut Bed, stage: &str) -> (usize, usize) {
    let (mut passed, mut died) = (0, 0);
    let mut targets: Vec<(SocketAddr, usize)> = Vec::new();
    for (node, at, ..) in PODS {
        // Clients serve nothing: whether anything listens there is not what is explained.
        for ip in bed.cluster.pod(node, at).addresses.into_iter().filter(|_| at != 0) {
            targets.extend([(SocketAddr::new(ip, TARGET), node), ((ip, TARGET + 1).into(), node)]);
        }
    }
    for client in 0..2 {
        let own = bed.cluster.pod(client, 0).addresses;
        for (to, node) in targets.clone() {
            for udp in [false, true] {
                let from = own.iter().find(|ip| ip.is_ipv4() == to.is_ipv4()).unwrap().to_string();
                let here = explained(bed, client, &from, to, udp);
                let there = explained(bed, node, &from, to, udp);
                let works = connects(&mut bed.pods[client], to, udp);
                let what = format!("{stage}: {from} -> {to} (UDP: {udp}): {here:?} {there:?}");
                // Each end judges its own: one that knows of a denial is right, and where both say that it
                // passes it does. A daemon need not know the other node's pods.
                assert_eq!(works, here.0 != 1 && there.0 != 1, "{what}");
                assert_ne!(there.0, 2, "{what}: the target's node knows it");
                if client == node {
                    assert_eq!(here, there);
                }
                passed += usize::from(works);
                died += usize::from(!works);
            }
        }
    }
    (passed, died)
}

fn policy(bed: &Bed, space: &str, name: &str, spec: &Value) {
    bed.api.put(network_policy(space, name, spec)).unwrap();
}

/// Waits until what is explained has settled at both nodes.
fn settled(bed: &mut Bed, client: usize, to: SocketAddr, works: bool) {
    let from = bed.cluster.pod(client, 0).addresses;
    let from = from.iter().find(|ip| ip.is_ipv4() == to.is_ipv4()).unwrap().to_string();
    let code = if works { 0 } else { 1 };
    let mut agent = bed.cluster.pod(client, 0).agent().unwrap();
    bed.until("what is explained", || {
        connects(&mut agent, to, false) == works && explained(bed, 0, &from, to, false).0 == code
    });
}

fn at(bed: &Bed, node: usize, place: usize, port: u16) -> SocketAddr {
    (bed.cluster.pod(node, place).addresses[0], port).into()
}

#[test]
#[ignore = "needs root"]
fn what_is_explained_is_what_a_connection_does() {
    let mut bed = world();
    let (own, second) = (at(&bed, 0, 1, TARGET), at(&bed, 0, 1, TARGET + 1));
    settled(&mut bed, 0, own, true);
    let (passed, died) = compare(&mut bed, "no policy");
    assert!(passed > 0 && died == 0, "{passed} {died}");

    // x admits namespace z on one port; y/b is closed.
    let from = json!([{ "namespaceSelector": { "matchLabels": { "ns": "z" } } }]);
    let ports = json!([{ "port": TARGET }, { "port": TARGET, "protocol": "UDP" }]);
    let rule = json!({ "from": from, "ports": ports });
    policy(&bed, "x", "admit", &json!({ "podSelector": {}, "ingress": [rule] }));
    let b = json!({ "matchLabels": { "pod": "b" } });
    policy(&bed, "y", "closed", &json!({ "podSelector": b, "policyTypes": ["Ingress"] }));
    settled(&mut bed, 0, own, false);
    settled(&mut bed, 1, own, true);
    settled(&mut bed, 1, second, false);
    let (passed, died) = compare(&mut bed, "ingress");
    assert!(passed > 3 && died > 3, "{passed} {died}");
    let (_, said) = explained(&bed, 0, "x/a", own, false);
    assert!(said.contains("ingress of pod x/b is denied") && said.contains("x/admit"), "{said}");

    // What z/a sends, too: to x/b and nothing else.
    let to = bed.cluster.pod(0, 1).addresses.map(|ip: IpAddr| {
        let length = if ip.is_ipv4() { 32 } else { 128 };
        json!({ "ipBlock": { "cidr": format!("{ip}/{length}") } })
    });
    let spec = json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": to }] });
    policy(&bed, "z", "narrow", &spec);
    let mut agent = bed.cluster.pod(1, 0).agent().unwrap();
    let other = at(&bed, 0, 2, TARGET);
    bed.until("a closed egress", || !connects(&mut agent, other, false));
    let (passed, died) = compare(&mut bed, "egress");
    assert!(passed > 3 && died > 3, "{passed} {died}");
    let (code, said) = explained(&bed, 1, "z/a", other, false);
    assert!(code == 1 && said.contains("egress of pod z/a is denied"), "{said}");
}

#[test]
#[ignore = "needs root"]
fn services_hosts_and_names_are_explained_as_they_answer() {
    let mut bed = world();
    let own = at(&bed, 0, 1, TARGET);
    settled(&mut bed, 0, own, true);
    let vip: SocketAddr = format!("{VIP}:80").parse().unwrap();
    settled(&mut bed, 0, vip, true);
    let none: SocketAddr = format!("{NONE}:80").parse().unwrap();
    let (code, said) = explained(&bed, 0, "x/a", none, false);
    assert!(code == 1 && said.contains("Service default/none"), "{said}");
    assert!(!connects(&mut bed.pods[0], none, false));
    let unknown: SocketAddr = format!("{VIP}:81").parse().unwrap();
    assert_eq!(explained(&bed, 0, "x/a", unknown, false).0, 1);
    assert!(!connects(&mut bed.pods[0], unknown, false));

    // One of the two endpoints is closed: some of the Service's connections die, and that is said.
    policy(&bed, "x", "closed", &json!({ "podSelector": {}, "policyTypes": ["Ingress"] }));
    settled(&mut bed, 0, own, false);
    let (code, said) = explained(&bed, 0, "x/a", vip, false);
    assert!(code == 1 && said.contains("1 of 2 endpoints"), "{said}");
    // The node itself is exempt, another node is not.
    assert_eq!(explained(&bed, 0, "host", own, false).0, 0);
    assert!(connects(&mut bed.hosts[0], own, false));
    let other = bed.cluster.nodes[1].host.v4().to_string();
    assert_eq!(explained(&bed, 0, &other, own, false).0, 1);
    assert!(!connects(&mut bed.hosts[1], own, false));

    let said = bed.cli(0, &["explain", "x/a -> default/both:t", "-o", "json"]);
    let reply: Value = serde_json::from_slice(&said.stdout).unwrap();
    let hop = &reply["routes"][0]["service"];
    assert_eq!(hop["kernelAgrees"], true, "{reply:#}");
    assert_eq!(hop["endpoints"].as_array().unwrap().len(), 2);
    let kernel = &reply["routes"][0]["destinations"][0]["ingress"]["kernel"];
    assert_eq!(kernel["agrees"], true, "{reply:#}");
    let said = bed.cli(0, &["explain", "x/absent", "default/both:t"]);
    assert_eq!(said.status.code(), Some(2));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.starts_with("error: no pod x/absent is known here\n"), "{said}");
}
