//! Pods whose sockets are left alone, as those of a VM or behind a service mesh: their packets are translated
//! where they come out of the pod.

use serde_json::json;
use towpath_testbed::objects::{namespace, network_policy, pod};

use crate::{
    north_south::{
        BALANCER, CLUSTER, EXTERNAL, at, comes_to, endpoints, node_port, publish, reaches,
        world_with,
    },
    support,
};

/// Sockets of pods are not translated.
const LEFT_ALONE: &str = "{packets: on}\nsocketLB: hostOnly";
const FAMILIES: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// The client of a node gets source ports that it has for this way alone. With one that it had a moment ago for
/// another node's frontend, and that led to the same endpoint, answers would be given that frontend's name
/// (docs/packets.md).
fn source_ports(bed: &support::Bed, node: usize, way: usize) {
    let first = 33_000 + 5_000 * way;
    let range = format!("{first} {}", first + 4_999);
    let write = move || Ok(std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range)?);
    bed.cluster.pod(node, 0).netns.enter(write).unwrap();
}

#[test]
#[ignore = "needs root"]
fn pods_whose_sockets_are_left_alone_reach_every_frontend() {
    let (mut bed, _outside) = world_with(LEFT_ALONE, &json!({}));
    endpoints(&bed, &[bed.at(0, 1), bed.at(1, 1)]);
    let both = ["pod-1-2", "pod-2-2"];
    for (v6, udp) in FAMILIES {
        let family = usize::from(v6);
        let mut ways = vec![at(CLUSTER[family], udp), at(BALANCER[family], udp)];
        ways.extend((0..2).map(|node| node_port(&bed, node, v6, udp)));
        ways.extend((!v6).then(|| at(EXTERNAL, udp)));
        for (number, to) in ways.into_iter().enumerate() {
            for node in 0..2 {
                source_ports(&bed, node, number);
                let own = bed.cluster.pod(node, 0).addresses[family];
                let hosts = &bed.cluster.nodes[1 - node].host.addresses;
                for (name, client) in reaches(&mut bed.pods[node], to, udp, &both) {
                    // Another node's nodePort is that node's: it masquerades what it sends on.
                    let there = to.ip() == hosts[family];
                    let kept = !there || name == both[1 - node];
                    assert_eq!(client == own, kept, "{to} (UDP: {udp}) from {own}: {name}");
                }
            }
        }
    }
    // One endpoint: it reaches itself by the Service, and sees the node.
    for (node, name) in both.iter().enumerate() {
        endpoints(&bed, &[bed.at(node, 1)]);
        let mut itself = bed.cluster.pod(node, 1).agent().unwrap();
        for (v6, udp) in FAMILIES {
            let own = bed.cluster.pod(node, 1).addresses[usize::from(v6)];
            let to = at(CLUSTER[usize::from(v6)], udp);
            // Each family's endpoints come with a change of their own.
            support::reaches(&mut itself, at(CLUSTER[usize::from(v6)], false), &[name]);
            for (_, client) in reaches(&mut itself, to, udp, &[name]) {
                assert_ne!(client, own, "{to} (UDP: {udp})");
            }
        }
    }
    // From a pod, policy Local is for others: as if it went to a load balancer and came back.
    publish(&bed, &json!({ "externalTrafficPolicy": "Local" }));
    endpoints(&bed, &[bed.at(0, 1)]);
    support::reaches(&mut bed.pods[1], at(BALANCER[0], false), &["pod-1-2"]);
    endpoints(&bed, &[]);
    for (v6, udp) in FAMILIES {
        for node in 0..2 {
            let vip = at(CLUSTER[usize::from(v6)], udp);
            comes_to(&mut bed.pods[node], vip, udp, "refused");
            let unknown = (vip.ip(), 81).into();
            comes_to(&mut bed.pods[node], unknown, udp, "refused");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn policies_judge_the_endpoint_that_a_packet_goes_to() {
    let features = "{packets: on, networkPolicy: on}\nsocketLB: hostOnly";
    let (mut bed, _outside) = world_with(features, &json!({}));
    for name in ["x", "y"] {
        bed.api.put(namespace(name, &json!({ "ns": name }))).unwrap();
    }
    // The client of each node, and an endpoint.
    for (node, number, space, name) in
        [(0, 0, "x", "a"), (0, 1, "x", "b"), (1, 0, "x", "c"), (1, 1, "y", "b")]
    {
        let host = bed.cluster.pod(node, number);
        let on = &bed.cluster.nodes[node].host.name;
        bed.api.put(pod(host, on, space, name, &json!({ "pod": name }))).unwrap();
    }
    endpoints(&bed, &[bed.at(0, 1), bed.at(1, 1)]);
    let both = ["pod-1-2", "pod-2-2"];
    for node in 0..2 {
        reaches(&mut bed.pods[node], at(CLUSTER[0], false), false, &both);
    }
    // Those of x may go to x only, and nothing but answers may come.
    let spec = json!({
        "podSelector": { "matchExpressions":
            [{ "key": "pod", "operator": "In", "values": ["a", "c"] }] },
        "policyTypes": ["Ingress", "Egress"],
        "egress": [{ "to": [{ "podSelector": {} }] }],
    });
    bed.api.put(network_policy("x", "inside", &spec)).unwrap();
    for (v6, udp) in FAMILIES {
        let vip = at(CLUSTER[usize::from(v6)], udp);
        for node in 0..2 {
            endpoints(&bed, &[bed.at(1, 1)]);
            comes_to(&mut bed.pods[node], vip, udp, "timeout");
            endpoints(&bed, &[bed.at(0, 1)]);
            reaches(&mut bed.pods[node], vip, udp, &["pod-1-2"]);
        }
    }
    bed.api.delete("networkpolicies", "x", "inside");
    endpoints(&bed, &[bed.at(1, 1)]);
    for node in 0..2 {
        support::reaches_udp(&mut bed.pods[node], at(CLUSTER[0], true), &["pod-2-2"]);
    }
}
