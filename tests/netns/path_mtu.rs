//! Path MTU discovery through a NodePort: the ends of a connection are far apart, and what tells them of a
//! narrow way is about packets that neither of them sent as they are quoted.

use std::net::SocketAddr;

use serde_json::json;
use towpath_testbed::probe::{Agent, Ask};

use crate::{
    north_south::{BALANCER, CLUSTER, at, endpoints, node_port, reaches, world_with},
    support::{Bed, reaches as settles},
};

/// Less than any device here carries, more than IPv6 asks for.
const NARROW: u32 = 1_300;
/// Many segments of the largest size, both ways.
const BYTES: usize = 300_000;

/// It comes there and back: what is as long as a device carries, the way has to say that it is too long.
#[track_caller]
fn echoes(client: &mut Agent, to: [SocketAddr; 2]) {
    for to in to {
        for _ in 0..3 {
            let seen = client.ask(&Ask::Echo { to, bytes: BYTES, udp: false }).unwrap();
            assert_eq!(seen.outcome, "ok", "{to}");
        }
    }
}

/// Frontends of TCP in both families: the first node's, the second's, and one that leads to the first.
fn frontends(bed: &Bed) -> [[SocketAddr; 2]; 3] {
    let ports = |node| [false, true].map(|v6| node_port(bed, node, v6, false));
    [ports(0), ports(1), BALANCER.map(|ip| at(ip, false))]
}

#[test]
#[ignore = "needs root"]
fn a_narrow_way_to_an_endpoint_is_told_to_the_client() {
    let (bed, mut outside) = world_with("{packets: on}", &json!({}));
    let [first, second, balancer] = frontends(&bed);
    // Wired to a bridge, with a device of its own, and on another node. A client that was told of a narrow way
    // to an address knows it: each has a name of its own.
    for (to, through, node, name) in
        [(first, 0, 0, "pod-1-2"), (second, 1, 1, "pod-2-2"), (balancer, 0, 1, "pod-2-2")]
    {
        endpoints(&bed, &[bed.at(node, 1)]);
        for to in to {
            settles(&mut outside, to, &[name]);
        }
        bed.cluster.narrow_to_pod(through, (node, 1), NARROW).unwrap();
        echoes(&mut outside, to);
    }
}

#[test]
#[ignore = "needs root"]
fn a_narrow_way_to_the_client_is_told_to_the_endpoint() {
    let (bed, mut outside) = world_with("{packets: on}", &json!({}));
    bed.cluster.narrow_to_outside(NARROW).unwrap();
    let [first, second, _] = frontends(&bed);
    // Endpoints of the node see the client, others the node: it is another address that they are told of.
    for (to, node, name) in [
        (first, 0, "pod-1-2"),
        (second, 1, "pod-2-2"),
        (first, 1, "pod-2-2"),
        (second, 0, "pod-1-2"),
    ] {
        endpoints(&bed, &[bed.at(node, 1)]);
        for to in to {
            settles(&mut outside, to, &[name]);
        }
        echoes(&mut outside, to);
    }
}

#[test]
#[ignore = "needs root"]
fn a_pod_whose_packets_are_translated_is_told_too() {
    let (mut bed, _outside) = world_with("{packets: on}\nsocketLB: hostOnly", &json!({}));
    for (client, node, name) in [(0, 1, "pod-2-2"), (1, 0, "pod-1-2")] {
        endpoints(&bed, &[bed.at(node, 1)]);
        bed.cluster.narrow_to_pod(client, (node, 1), NARROW).unwrap();
        for v6 in [false, true] {
            let to = at(CLUSTER[usize::from(v6)], false);
            settles(&mut bed.pods[client], to, &[name]);
            reaches(&mut bed.pods[client], to, false, &[name]);
            let seen = bed.pods[client].ask(&Ask::Echo { to, bytes: BYTES, udp: false }).unwrap();
            assert_eq!(seen.outcome, "ok", "{to}");
        }
    }
}
