//! NetworkPolicy between real namespaces. Each denial is a sandwich: connects, denied, connects.

use std::{net::SocketAddr, time::Instant};

use serde_json::{Value, json};
use towpath_testbed::{
    objects::{namespace, network_policy, pod},
    probe::{Agent, Ask, Seen},
};

use crate::support::{ANSWER_MS, Bed, PATIENCE, TARGET};

/// For an answer that must not come.
const SILENCE_MS: u64 = 300;

/// Namespaces x, y, z. On the first node, wired to a bridge: x/a (the client), x/b, y/a; on the second,
/// each with a device of its own: z/a (the client), y/b.
fn world() -> Bed {
    let bed = Bed::with_features(Some("{networkPolicy: on}"));
    for name in ["x", "y", "z"] {
        bed.api.put(namespace(name, &json!({ "ns": name }))).unwrap();
    }
    let pods =
        [(0, 0, "x", "a"), (0, 1, "x", "b"), (0, 2, "y", "a"), (1, 0, "z", "a"), (1, 1, "y", "b")];
    for (node, at, space, name) in pods {
        let host = bed.cluster.pod(node, at);
        let node = &bed.cluster.nodes[node].host.name;
        bed.api.put(pod(host, node, space, name, &json!({ "pod": name }))).unwrap();
    }
    bed
}

fn policy(bed: &Bed, space: &str, name: &str, spec: &Value) {
    bed.api.put(network_policy(space, name, spec)).unwrap();
}

/// TCP and UDP, by both families.
fn ways(bed: &Bed, node: usize, at: usize, port: u16) -> Vec<(SocketAddr, bool)> {
    let addresses = bed.cluster.pod(node, at).addresses;
    addresses.into_iter().flat_map(|ip| [false, true].map(|udp| ((ip, port).into(), udp))).collect()
}

fn ask(client: &mut Agent, to: SocketAddr, udp: bool, timeout_ms: u64) -> Seen {
    let ask = match udp {
        true => Ask::Udp { to, connected: false, mapped: false, keep: None, timeout_ms },
        false => Ask::Tcp { to, mapped: false, timeout_ms },
    };
    client.ask(&ask).unwrap()
}

/// It answers: always, or as soon as the change is in force.
fn connects(client: &mut Agent, ways: &[(SocketAddr, bool)]) {
    for (to, udp) in ways {
        until(&format!("{to} (UDP: {udp}) connects"), || {
            ask(client, *to, *udp, 1_000).outcome == "ok"
        });
        let seen = ask(client, *to, *udp, ANSWER_MS);
        assert_eq!(seen.outcome, "ok", "{to} (UDP: {udp}) goes on to connect");
    }
}

/// It does not, as soon as the change is in force.
fn denied(client: &mut Agent, ways: &[(SocketAddr, bool)]) {
    for (to, udp) in ways {
        until(&format!("{to} (UDP: {udp}) is denied"), || {
            ask(client, *to, *udp, SILENCE_MS).outcome == "timeout"
        });
        for _ in 0..3 {
            let seen = ask(client, *to, *udp, SILENCE_MS);
            assert_eq!(seen.outcome, "timeout", "{to} (UDP: {udp}) stays denied");
        }
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: never");
    }
}

#[test]
#[ignore = "needs root"]
fn a_policy_denies_what_it_does_not_allow_and_ends_with_itself() {
    let mut bed = world();
    let (own, other) = (ways(&bed, 0, 1, TARGET), ways(&bed, 0, 2, TARGET));
    let second_port = ways(&bed, 0, 1, TARGET + 1);
    connects(&mut bed.pods[0], &own);
    connects(&mut bed.pods[1], &own);
    policy(&bed, "x", "deny", &json!({ "podSelector": {}, "policyTypes": ["Ingress"] }));
    denied(&mut bed.pods[0], &own);
    denied(&mut bed.pods[1], &own);
    // Another namespace, and the node itself (a kubelet's probe), are none of its business.
    connects(&mut bed.pods[0], &other);
    connects(&mut bed.hosts[0], &own);
    denied(&mut bed.hosts[1], &own);
    // One port, from the pods of one namespace.
    let rule = json!({
        "from": [{ "namespaceSelector": { "matchLabels": { "ns": "z" } } }],
        "ports": [{ "protocol": "TCP", "port": TARGET }, { "protocol": "UDP", "port": TARGET }],
    });
    policy(&bed, "x", "allow", &json!({ "podSelector": {}, "ingress": [rule] }));
    connects(&mut bed.pods[1], &own);
    denied(&mut bed.pods[1], &second_port);
    denied(&mut bed.pods[0], &own);
    // The peer's namespace is labelled anew.
    bed.api.put(namespace("z", &json!({ "ns": "former" }))).unwrap();
    denied(&mut bed.pods[1], &own);
    bed.api.put(namespace("z", &json!({ "ns": "z" }))).unwrap();
    connects(&mut bed.pods[1], &own);
    bed.api.delete("networkpolicies", "x", "deny");
    bed.api.delete("networkpolicies", "x", "allow");
    connects(&mut bed.pods[0], &own);
    connects(&mut bed.pods[1], &second_port);
}

#[test]
#[ignore = "needs root"]
fn what_leaves_a_pod_is_judged_and_replies_pass() {
    let mut bed = world();
    let (near, far) = (ways(&bed, 0, 1, TARGET), ways(&bed, 1, 1, TARGET));
    for client in 0..2 {
        connects(&mut bed.pods[client], &near);
        connects(&mut bed.pods[client], &far);
    }
    // Both clients may reach nothing but y/b; what answers them comes in all the same.
    for space in ["x", "z"] {
        let to = json!([{ "namespaceSelector": {}, "podSelector": { "matchLabels": { "pod": "b" } } },
                        { "ipBlock": { "cidr": "198.51.100.0/24" } }]);
        let ns_y = json!({ "matchExpressions":
            [{ "key": "ns", "operator": "NotIn", "values": ["x", "z"] }] });
        let mut egress = json!({ "to": to });
        egress["to"][0]["namespaceSelector"] = ns_y;
        let spec = json!({
            "podSelector": { "matchLabels": { "pod": "a" } },
            "policyTypes": ["Ingress", "Egress"], "egress": [egress],
        });
        policy(&bed, space, "closed", &spec);
    }
    for client in 0..2 {
        denied(&mut bed.pods[client], &near);
        connects(&mut bed.pods[client], &far);
    }
    for space in ["x", "z"] {
        bed.api.delete("networkpolicies", space, "closed");
    }
    for client in 0..2 {
        connects(&mut bed.pods[client], &near);
    }
}

#[test]
#[ignore = "needs root"]
fn policies_outlive_the_daemon() {
    let mut bed = world();
    let (own, other) = (ways(&bed, 0, 1, TARGET), ways(&bed, 0, 2, TARGET));
    policy(&bed, "x", "deny", &json!({ "podSelector": {}, "policyTypes": ["Ingress"] }));
    denied(&mut bed.pods[1], &own);
    bed.kill(0);
    denied(&mut bed.pods[1], &own);
    connects(&mut bed.pods[1], &other);
    bed.start(0);
    // Not one datagram passes while the next daemon takes over.
    let deadline = Instant::now() + std::time::Duration::from_secs(3);
    while Instant::now() < deadline {
        for (to, udp) in &own {
            assert_eq!(ask(&mut bed.pods[1], *to, *udp, 100).outcome, "timeout", "{to}");
        }
    }
    bed.ready(0);
    denied(&mut bed.pods[1], &own);
    bed.api.delete("networkpolicies", "x", "deny");
    connects(&mut bed.pods[1], &own);
}
