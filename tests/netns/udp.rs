//! One long-lived client socket, and with it one source port; servers that come and go.

use serde_json::json;
use towpath_testbed::{objects::slice, probe::Agent};

use crate::support::{Bed, TARGET, UNANSWERED_UDP, datagram, reaches, reaches_udp, service, to};

const IP: &str = "10.96.7.1";
const NODE_PORT: u16 = 30_071;

/// The kept socket's next answer comes from `name`, and seems to come from where it was sent.
#[track_caller]
fn next_is(client: &mut Agent, to: std::net::SocketAddr, name: &str) {
    let seen = client.ask(&datagram(to, false, Some(1))).unwrap();
    assert_eq!((seen.outcome.as_str(), seen.name.as_str()), ("ok", name), "{to}");
    assert_eq!(seen.peer, Some(to), "the answer comes from the frontend");
}

fn put(bed: &Bed) {
    let spec = json!({ "type": "NodePort", "ports": [
        { "name": "u", "protocol": "UDP", "port": 53, "nodePort": NODE_PORT },
    ]});
    bed.api.put(service("s", IP, spec)).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_cycling_server_is_followed_by_pods_and_hosts_on_every_frontend() {
    let mut bed = Bed::new();
    put(&bed);
    let own = to(&bed.cluster.nodes[0].host.v4().to_string(), NODE_PORT);
    let other = to(&bed.cluster.nodes[1].host.v4().to_string(), NODE_PORT);
    for frontend in [to(IP, 53), own, other] {
        for turn in 0..4 {
            let (node, name) = [(0, "pod-1-2"), (1, "pod-2-2")][turn % 2];
            bed.endpoints("s", &[bed.at(node, 1)]);
            // New sockets say when the change is in force; the old one must follow at once.
            reaches_udp(&mut bed.pods[0], frontend, &[name]);
            next_is(&mut bed.pods[0], frontend, name);
            reaches_udp(&mut bed.hosts[0], frontend, &[name]);
            next_is(&mut bed.hosts[0], frontend, name);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_changed_target_port_is_followed_by_a_socket_that_is_open() {
    let mut bed = Bed::new();
    put(&bed);
    let own = to(&bed.cluster.nodes[0].host.v4().to_string(), NODE_PORT);
    // Another server in the same pod.
    let mut second = bed.cluster.pod(0, 1).clone();
    second.name = "second".to_owned();
    let mut server = second.serve(&[TARGET + 10]).unwrap();
    let at = |bed: &Bed, port: u16| {
        bed.api.put(slice("s", false, &[("u", "UDP", port)], &[bed.at(0, 1)])).unwrap();
    };
    at(&bed, TARGET);
    reaches_udp(&mut bed.pods[0], own, &["pod-1-2"]);
    next_is(&mut bed.pods[0], own, "pod-1-2");
    at(&bed, TARGET + 10);
    reaches_udp(&mut bed.pods[0], own, &["second"]);
    next_is(&mut bed.pods[0], own, "second");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
#[ignore = "needs root"]
fn tcp_and_udp_of_one_port_are_two_things() {
    let mut bed = Bed::new();
    let both = json!([{ "name": "t", "protocol": "TCP", "port": 80 },
                      { "name": "u", "protocol": "UDP", "port": 80 }]);
    let mut object = service("s", IP, json!({ "type": "LoadBalancer", "ports": both }));
    object["status"]["loadBalancer"]["ingress"] = json!([{ "ip": "203.0.113.71" }]);
    bed.api.put(object).unwrap();
    bed.endpoints("s", &[bed.at(0, 1), bed.at(1, 1)]);
    for ip in [IP, "203.0.113.71"] {
        reaches(&mut bed.pods[0], to(ip, 80), &["pod-1-2", "pod-2-2"]);
        reaches_udp(&mut bed.pods[0], to(ip, 80), &["pod-1-2", "pod-2-2"]);
        reaches_udp(&mut bed.hosts[1], to(ip, 80), &["pod-1-2", "pod-2-2"]);
    }
    bed.api.put(service("s", IP, json!({ "ports": [both[0]] }))).unwrap();
    reaches_udp(&mut bed.pods[0], to(IP, 80), &UNANSWERED_UDP);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2", "pod-2-2"]);
}
