//! What every Service does: ports, endpoints, more than one Service, who the client is.

use serde_json::json;
use towpath_testbed::{
    objects::{Endpoint, slice},
    probe::Ask,
};

use crate::support::{
    Bed, TARGET, UNANSWERED_UDP, reaches, reaches_udp, service, settles, settles_udp, to,
};

const IP: &str = "10.96.10.1";
const OTHER: &str = "10.96.10.2";

#[test]
#[ignore = "needs root"]
fn ports_of_several_slices_lead_where_each_says() {
    let mut bed = Bed::new();
    let ports = json!([{ "name": "a", "protocol": "TCP", "port": 80 },
                       { "name": "b", "protocol": "TCP", "port": 81 }]);
    bed.api.put(service("s", IP, json!({ "ports": ports }))).unwrap();
    for (port, number, node) in [("a", TARGET, 0), ("b", TARGET + 1, 1)] {
        let mut object = slice("s", false, &[(port, "TCP", number)], &[bed.at(node, 1)]);
        object["metadata"]["name"] = format!("s-{port}").into();
        bed.api.put(object).unwrap();
    }
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    reaches(&mut bed.pods[0], to(IP, 81), &["pod-2-2"]);
    // A port goes, and comes back.
    bed.api.put(service("s", IP, json!({ "ports": [ports[1]] }))).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["refused"]);
    reaches(&mut bed.pods[0], to(IP, 81), &["pod-2-2"]);
    bed.api.put(service("s", IP, json!({ "ports": ports }))).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
}

#[test]
#[ignore = "needs root"]
fn services_over_the_same_pods_go_up_and_down_alone() {
    let mut bed = Bed::new();
    for (name, ip) in [("s", IP), ("other", OTHER)] {
        bed.api.put(service(name, ip, json!({}))).unwrap();
        bed.endpoints(name, &[bed.at(0, 1), bed.at(1, 1)]);
    }
    let both = ["pod-1-2", "pod-2-2"];
    for ip in [IP, OTHER] {
        reaches(&mut bed.pods[0], to(ip, 80), &both);
        reaches_udp(&mut bed.hosts[1], to(ip, 53), &both);
    }
    bed.api.delete("services", "default", "other");
    reaches(&mut bed.pods[1], to(OTHER, 80), &["timeout"]);
    reaches(&mut bed.pods[1], to(IP, 80), &both);
    bed.api.put(service("other", OTHER, json!({}))).unwrap();
    reaches(&mut bed.pods[0], to(OTHER, 80), &both);
}

#[test]
#[ignore = "needs root"]
fn without_ready_endpoints_every_place_is_refused_at_once() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    // What evicted pods leave: a slice without a ready endpoint.
    for evicted in [false, true] {
        if evicted {
            bed.endpoints("s", &[Endpoint { ready: false, ..bed.at(0, 1) }]);
        } else {
            bed.endpoints("s", &[]);
        }
        for node in 0..2 {
            reaches(&mut bed.pods[node], to(IP, 80), &["refused"]);
            reaches(&mut bed.hosts[node], to(IP, 80), &["refused"]);
            reaches_udp(&mut bed.pods[node], to(IP, 53), &UNANSWERED_UDP);
        }
    }
    // The fastest of some: a busy machine may be slow now and then.
    let micros = (0..20).map(|_| bed.pods[1].tcp(to(IP, 80)).unwrap().micros).min();
    assert!(micros < Some(100_000), "refused by the socket, not by a packet: {micros:?}");
}

#[test]
#[ignore = "needs root"]
fn endpoints_on_the_hosts_network_serve_pods_and_hosts_of_every_node() {
    let mut bed = Bed::new();
    let host = bed.cluster.nodes[0].host.clone();
    let mut server = host.serve(&[TARGET + 20]).unwrap();
    for policy in ["Cluster", "Local"] {
        bed.api.put(service("s", IP, json!({ "internalTrafficPolicy": policy }))).unwrap();
        let endpoint = [Endpoint::ready(&host, "node-1")];
        let ports = [("t", "TCP", TARGET + 20), ("u", "UDP", TARGET + 20)];
        bed.api.put(slice("s", false, &ports, &endpoint)).unwrap();
        reaches(&mut bed.pods[0], to(IP, 80), &["node-1"]);
        reaches(&mut bed.hosts[0], to(IP, 80), &["node-1"]);
        reaches_udp(&mut bed.hosts[0], to(IP, 53), &["node-1"]);
        let elsewhere = if policy == "Local" { "timeout" } else { "node-1" };
        reaches(&mut bed.pods[1], to(IP, 80), &[elsewhere]);
        reaches(&mut bed.hosts[1], to(IP, 80), &[elsewhere]);
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_server_sees_the_pod_that_asks_also_across_nodes() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-2-2"]);
    let seen = bed.pods[0].tcp(to(IP, 80)).unwrap();
    assert_eq!(seen.client.map(|client| client.ip()), Some(bed.cluster.pod(0, 0).v4()));
    // A server asks its own Service, and reaches itself and the other.
    bed.endpoints("s", &[bed.at(0, 1), bed.at(1, 1)]);
    let mut server = bed.cluster.pod(0, 1).agent().unwrap();
    reaches(&mut server, to(IP, 80), &["pod-1-2", "pod-2-2"]);
    reaches_udp(&mut server, to(IP, 53), &["pod-1-2", "pod-2-2"]);
}

#[test]
#[ignore = "needs root"]
fn a_balancer_without_node_ports_gets_them_later_and_is_local_from_pods() {
    let mut bed = Bed::new();
    let own = to(&bed.cluster.nodes[1].host.v4().to_string(), 30_105);
    let balanced = |policy: &str, node_port: Option<u16>| {
        let mut port = json!({ "name": "t", "protocol": "TCP", "port": 80 });
        if let Some(number) = node_port {
            port["nodePort"] = number.into();
        }
        let mut object = service(
            "s",
            IP,
            json!({
                "type": "LoadBalancer", "externalTrafficPolicy": policy, "ports": [port],
                "allocateLoadBalancerNodePorts": node_port.is_some(),
            }),
        );
        object["status"]["loadBalancer"]["ingress"] = json!([{ "ip": "203.0.113.105" }]);
        object
    };
    bed.endpoints("s", &[bed.at(0, 1)]);
    bed.api.put(balanced("Cluster", None)).unwrap();
    reaches(&mut bed.pods[1], to("203.0.113.105", 80), &["pod-1-2"]);
    reaches(&mut bed.pods[1], own, &["refused"]);
    // With the policy Local a pod of a node without endpoints still reaches it: the short way.
    for policy in ["Local", "Cluster", "Local"] {
        bed.api.put(balanced(policy, Some(30_105))).unwrap();
        reaches(&mut bed.pods[1], own, &["pod-1-2"]);
        reaches(&mut bed.pods[1], to("203.0.113.105", 80), &["pod-1-2"]);
        // Seen from another node, node 2 has an endpoint only where any will do.
        let there = if policy == "Local" { "refused" } else { "pod-1-2" };
        reaches(&mut bed.pods[0], own, &[there]);
    }
}

#[test]
#[ignore = "needs root"]
fn affinity_holds_for_node_ports_and_datagrams() {
    let mut bed = Bed::new();
    let node = to(&bed.cluster.nodes[0].host.v4().to_string(), 30_106);
    let spec = |affinity: &str| {
        json!({
            "type": "NodePort", "sessionAffinity": affinity, "ports": [
                { "name": "t", "protocol": "TCP", "port": 80, "nodePort": node.port() },
                { "name": "u", "protocol": "UDP", "port": 53, "nodePort": node.port() },
            ],
        })
    };
    let all = ["pod-1-2", "pod-1-3", "pod-2-2"];
    bed.endpoints("s", &[bed.at(0, 1), bed.at(0, 2), bed.at(1, 1)]);
    for _ in 0..2 {
        bed.api.put(service("s", IP, spec("None"))).unwrap();
        reaches(&mut bed.pods[0], node, &all);
        bed.api.put(service("s", IP, spec("ClientIP"))).unwrap();
        settles(&mut bed.pods[0], node, &all);
        settles_udp(&mut bed.pods[0], node, &all);
    }
}

#[test]
#[ignore = "needs root"]
fn messages_of_every_size_pass_as_they_are() {
    let mut bed = Bed::new();
    let node = to(&bed.cluster.nodes[1].host.v4().to_string(), 30_107);
    let ports = json!([{ "name": "t", "protocol": "TCP", "port": 80, "nodePort": node.port() },
                       { "name": "u", "protocol": "UDP", "port": 80, "nodePort": node.port() }]);
    bed.api.put(service("s", IP, json!({ "type": "NodePort", "ports": ports }))).unwrap();
    for there in 0..2 {
        bed.endpoints("s", &[bed.at(there, 1)]);
        let name = bed.cluster.pod(there, 1).name.clone();
        for to in [to(IP, 80), node] {
            reaches(&mut bed.pods[0], to, &[&name]);
            // The last ones travel in fragments; 65,507 bytes are the most that a datagram has.
            for bytes in [1_400, 1_600, 9_001, 65_507] {
                let seen = bed.pods[0].ask(&Ask::Echo { to, bytes, udp: true }).unwrap();
                assert_eq!((&*seen.outcome, seen.peer), ("ok", Some(to)), "{bytes} bytes, UDP");
            }
            let seen = bed.pods[0].ask(&Ask::Echo { to, bytes: 4 << 20, udp: false }).unwrap();
            assert_eq!(seen.outcome, "ok", "4 MiB, TCP");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn addresses_of_another_service_range_are_like_any_other() {
    let mut bed = Bed::new();
    bed.api
        .put(json!({ "kind": "ServiceCIDR", "metadata": { "name": "more" },
                     "spec": { "cidrs": ["172.31.250.0/24"] } }))
        .unwrap();
    bed.api.put(service("s", "172.31.250.7", json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1), bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to("172.31.250.7", 80), &["pod-1-2", "pod-2-2"]);
    reaches_udp(&mut bed.hosts[1], to("172.31.250.7", 53), &["pod-1-2", "pod-2-2"]);
    assert_eq!(bed.pods[0].tcp(to("172.31.250.7", 81)).unwrap().outcome, "refused");
}
