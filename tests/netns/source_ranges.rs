//! Who may come in by the address of a load balancer: clients outside, pods, the nodes themselves.

use serde_json::json;
use towpath_testbed::probe::Ask;

use crate::{
    north_south::{
        BALANCER, CLUSTER, EXTERNAL, at, comes_to, endpoints, node_port, publish, reaches,
        world_with,
    },
    support::ANSWER_MS,
};

#[test]
#[ignore = "needs root"]
fn source_ranges_say_who_comes_in_and_a_change_cuts_no_flow() {
    let (mut bed, mut outside) = world_with("{packets: on}", &json!({}));
    endpoints(&bed, &[bed.at(0, 1), bed.at(1, 1)]);
    let both = ["pod-1-2", "pod-2-2"];
    let block = |ip: std::net::IpAddr| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 });
    let clients = bed.cluster.outside.addresses;
    publish(&bed, &json!({ "loadBalancerSourceRanges": clients.map(block) }));
    let families = [(false, false), (false, true), (true, false), (true, true)];
    for (v6, udp) in families {
        let vip = at(BALANCER[usize::from(v6)], udp);
        reaches(&mut outside, vip, udp, &both);
        for node in 0..2 {
            comes_to(&mut bed.pods[node], vip, udp, "timeout");
        }
        // What is no load balancer's address is everyone's.
        reaches(&mut bed.pods[0], at(CLUSTER[usize::from(v6)], udp), udp, &both);
        reaches(&mut outside, node_port(&bed, 0, v6, udp), udp, &both);
    }
    // Sockets of the host's go to the address itself, where nothing answers and nothing lets them through.
    comes_to(&mut bed.hosts[0], at(BALANCER[0], false), false, "timeout");
    let keep = Ask::Udp {
        to: at(BALANCER[0], true),
        connected: true,
        mapped: false,
        keep: Some(1),
        timeout_ms: ANSWER_MS,
    };
    let first = outside.ask(&keep).unwrap();
    assert_eq!(first.outcome, "ok");
    // Now one pod of each node, and the first node.
    let mut ranges: Vec<String> =
        (0..2).flat_map(|node| bed.cluster.pod(node, 0).addresses).map(block).collect();
    ranges.extend(bed.cluster.nodes[0].host.addresses.map(block));
    publish(&bed, &json!({ "loadBalancerSourceRanges": ranges }));
    for (v6, udp) in families {
        let vip = at(BALANCER[usize::from(v6)], udp);
        comes_to(&mut outside, vip, udp, "timeout");
        for node in 0..2 {
            let own = bed.cluster.pod(node, 0).addresses[usize::from(v6)];
            for (_, client) in reaches(&mut bed.pods[node], vip, udp, &both) {
                assert_eq!(client, own, "{vip} (UDP: {udp})");
            }
        }
        reaches(&mut bed.hosts[0], vip, udp, &both);
    }
    let other = bed.cluster.pod(0, 1).agent();
    comes_to(&mut other.unwrap(), at(BALANCER[0], false), false, "timeout");
    comes_to(&mut bed.hosts[1], at(BALANCER[0], false), false, "timeout");
    reaches(&mut outside, at(EXTERNAL, false), false, &both);
    let again = outside.ask(&keep).unwrap();
    assert_eq!((again.outcome.as_str(), again.client), ("ok", first.client), "the same flow");
    // A list of nonsense lets no client in; one with everything in it lets in everyone.
    publish(&bed, &json!({ "loadBalancerSourceRanges": ["nonsense"] }));
    comes_to(&mut bed.pods[0], at(BALANCER[0], false), false, "timeout");
    publish(&bed, &json!({ "loadBalancerSourceRanges": ["192.0.2.0/24", "0.0.0.0/0"] }));
    reaches(&mut outside, at(BALANCER[0], false), false, &both);
    reaches(&mut bed.hosts[1], at(BALANCER[0], false), false, &both);
}
