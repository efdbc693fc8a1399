//! Affinity, traffic policies, hints.

use std::time::Duration;

use serde_json::json;
use towpath_testbed::objects::slice;

use crate::support::{Bed, TARGET, reaches, service, settles, to};

const IP: &str = "10.96.3.1";
const BOTH: [&str; 2] = ["pod-1-2", "pod-2-2"];

#[test]
#[ignore = "needs root"]
fn affinity_is_switched_on_and_off_and_times_out() {
    let mut bed = Bed::new();
    bed.endpoints("s", &[bed.at(0, 1), bed.at(1, 1)]);
    bed.api.put(service("s", IP, json!({}))).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &BOTH);
    bed.api.put(service("s", IP, json!({ "sessionAffinity": "ClientIP" }))).unwrap();
    let kept = settles(&mut bed.pods[0], to(IP, 80), &BOTH);
    // Another client is another client, and the endpoint that a client keeps may go.
    let node = usize::from(kept == "pod-1-2");
    bed.endpoints("s", &[bed.at(node, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &[BOTH[node]]);
    bed.endpoints("s", &[bed.at(0, 1), bed.at(1, 1)]);
    bed.api.put(service("s", IP, json!({}))).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &BOTH);

    let one_second = json!({
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 1 } },
    });
    bed.api.put(service("s", IP, one_second)).unwrap();
    settles(&mut bed.pods[0], to(IP, 80), &BOTH);
    let mut chosen = std::collections::BTreeSet::new();
    // Each choice anew is one of the two by chance: sixty that are all the same are none.
    for _ in 0..60 {
        // Longer than the timeout, by the kernel's clock of whole seconds.
        std::thread::sleep(Duration::from_millis(2_100));
        chosen.insert(bed.pods[0].tcp(to(IP, 80)).unwrap().name);
        if chosen.len() == 2 {
            break;
        }
    }
    assert_eq!(chosen, BOTH.map(str::to_owned).into(), "chosen after the timeout");
}

#[test]
#[ignore = "needs root"]
fn internal_local_uses_this_node_only() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({ "internalTrafficPolicy": "Local" }))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    reaches(&mut bed.hosts[0], to(IP, 80), &["pod-1-2"]);
    // Elsewhere it stays on its address, where nothing answers; it is not refused.
    reaches(&mut bed.pods[1], to(IP, 80), &["timeout"]);
    let services = bed.cli(1, &["services", "default/s"]);
    let text = String::from_utf8_lossy(&services.stdout).into_owned();
    assert!(text.contains("no usable endpoint on this node"), "{text}");
    bed.endpoints("s", &[bed.at(0, 1), bed.at(1, 1)]);
    reaches(&mut bed.pods[1], to(IP, 80), &["pod-2-2"]);
}

#[test]
#[ignore = "needs root"]
fn external_local_is_short_at_home_and_honest_abroad() {
    let mut bed = Bed::new();
    let nodes: Vec<String> =
        bed.cluster.nodes.iter().map(|node| node.host.v4().to_string()).collect();
    let spec = json!({
        "type": "NodePort", "externalTrafficPolicy": "Local",
        "ports": [{ "name": "t", "protocol": "TCP", "port": 80, "nodePort": 30_081 }],
    });
    bed.api.put(service("s", IP, spec)).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    // From node 1: its own address, and from node 2 that address too: node 1's endpoint.
    reaches(&mut bed.pods[0], to(&nodes[0], 30_081), &["pod-1-2"]);
    reaches(&mut bed.pods[1], to(&nodes[0], 30_081), &["pod-1-2"]);
    // Node 2 has none: from elsewhere no answer comes from there, ...
    reaches(&mut bed.pods[0], to(&nodes[1], 30_081), &["refused"]);
    // ... but from node 2 itself it is as if it came back from a load balancer.
    reaches(&mut bed.pods[1], to(&nodes[1], 30_081), &["pod-1-2"]);
}

#[test]
#[ignore = "needs root"]
fn hints_are_followed_node_before_zone() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    let endpoints = [bed.at(0, 1), bed.at(0, 2), bed.at(1, 1)];
    let plain = slice("s", false, &[("t", "TCP", TARGET)], &endpoints);
    let mut object = plain.clone();
    for (at, zone) in ["zone-1", "zone-1", "zone-2"].iter().enumerate() {
        object["endpoints"][at]["hints"]["forZones"] = json!([{ "name": zone }]);
    }
    bed.api.put(object.clone()).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2", "pod-1-3"]);
    reaches(&mut bed.pods[1], to(IP, 80), &["pod-2-2"]);
    for (at, node) in ["node-1", "node-2", "node-2"].iter().enumerate() {
        object["endpoints"][at]["hints"]["forNodes"] = json!([{ "name": node }]);
    }
    bed.api.put(object.clone()).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    reaches(&mut bed.pods[1], to(IP, 80), &["pod-1-3", "pod-2-2"]);
    // One endpoint without a hint, and hints count no more.
    object["endpoints"][2] = plain["endpoints"][2].clone();
    bed.api.put(object).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2", "pod-1-3", "pod-2-2"]);
}
