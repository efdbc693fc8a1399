//! Endpoints that terminate, or were never ready, and the policies (KEP-1669, KEP-1672).

use serde_json::json;
use towpath_testbed::objects::Endpoint;

use crate::support::{Bed, reaches, service, to};

const IP: &str = "10.96.6.1";

fn going(bed: &Bed, node: usize, pod: usize) -> Endpoint<'_> {
    Endpoint { ready: false, terminating: true, ..bed.at(node, pod) }
}

#[test]
#[ignore = "needs root"]
fn internal_local_falls_back_to_a_terminating_endpoint_of_this_node() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({ "internalTrafficPolicy": "Local" }))).unwrap();
    // A ready one elsewhere does not count: the policy keeps traffic here.
    bed.endpoints("s", &[going(&bed, 0, 1), bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    reaches(&mut bed.pods[1], to(IP, 80), &["pod-2-2"]);
    // A ready one here does.
    bed.endpoints("s", &[going(&bed, 0, 1), bed.at(0, 2), bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-3"]);
}

#[test]
#[ignore = "needs root"]
fn node_ports_fall_back_to_terminating_endpoints_under_both_policies() {
    let mut bed = Bed::new();
    let node = to(&bed.cluster.nodes[0].host.v4().to_string(), 30_061);
    for policy in ["Cluster", "Local", "Cluster"] {
        let spec = json!({
            "type": "NodePort", "externalTrafficPolicy": policy,
            "ports": [{ "name": "t", "protocol": "TCP", "port": 80, "nodePort": node.port() }],
        });
        bed.api.put(service("s", IP, spec)).unwrap();
        bed.endpoints("s", &[going(&bed, 0, 1)]);
        reaches(&mut bed.pods[0], node, &["pod-1-2"]);
        reaches(&mut bed.pods[1], node, &["pod-1-2"]);
        bed.endpoints("s", &[going(&bed, 0, 1), bed.at(0, 2)]);
        reaches(&mut bed.pods[0], node, &["pod-1-3"]);
        reaches(&mut bed.pods[1], node, &["pod-1-3"]);
        bed.endpoints("s", &[]);
        reaches(&mut bed.pods[0], node, &["refused"]);
    }
}

#[test]
#[ignore = "needs root"]
fn published_unready_and_terminating_endpoints_are_ready_ones() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({ "publishNotReadyAddresses": true }))).unwrap();
    // The slice controller then says ready, whatever the pod does; terminating or not.
    let gone = Endpoint { ready: true, terminating: true, ..bed.at(0, 1) };
    bed.endpoints("s", &[gone, bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2", "pod-2-2"]);
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[going(&bed, 0, 1), bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-2-2"]);
}

#[test]
#[ignore = "needs root"]
fn a_rolling_update_costs_no_connection() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let mut client = bed.cluster.pod(0, 0).agent().unwrap();
    client.load(to(IP, 80), 400, 6_000).unwrap();
    let pods = [(0, 1), (0, 2), (1, 1)];
    for turn in 0..6 {
        let (old, new) = (pods[turn % 3], pods[(turn + 1) % 3]);
        // The new one is there and not ready; ready; the old one terminates; it is gone.
        let waiting = Endpoint { ready: false, ..bed.at(new.0, new.1) };
        bed.endpoints("s", &[bed.at(old.0, old.1), waiting]);
        bed.endpoints("s", &[bed.at(old.0, old.1), bed.at(new.0, new.1)]);
        bed.endpoints("s", &[going(&bed, old.0, old.1), bed.at(new.0, new.1)]);
        let name = bed.cluster.pod(new.0, new.1).name.clone();
        reaches(&mut bed.pods[0], to(IP, 80), &[&name]);
        bed.endpoints("s", &[bed.at(new.0, new.1)]);
        reaches(&mut bed.pods[0], to(IP, 80), &[&name]);
    }
    let load = client.load_result().unwrap();
    assert!(load.failures.is_empty(), "{:?} beside {:?}", load.failures, load.answers);
    assert_eq!(load.answers.len(), 3, "each served in its time: {:?}", load.answers);
}
