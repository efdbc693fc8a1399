//! Endpoints come, go, terminate, are not ready, are spread over slices.

use std::collections::BTreeSet;

use serde_json::json;
use towpath_testbed::{
    objects::{Endpoint, slice},
    probe::Ask,
};

use crate::support::{ANSWER_MS, Bed, PATIENCE, TARGET, reaches, service, to};

const IP: &str = "10.96.2.1";

#[test]
#[ignore = "needs root"]
fn sets_follow_the_endpoints() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["refused"]);
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    bed.endpoints("s", &[bed.at(0, 1), bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2", "pod-2-2"]);
    reaches(&mut bed.hosts[1], to(IP, 80), &["pod-1-2", "pod-2-2"]);

    // Not ready and not terminating: never used.
    let waiting = Endpoint { ready: false, ..bed.at(0, 1) };
    bed.endpoints("s", &[waiting, bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-2-2"]);
    // Terminating ones serve while nothing else does (KEP-1669).
    let going = Endpoint { ready: false, terminating: true, ..bed.at(0, 1) };
    bed.endpoints("s", &[going.clone(), bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-2-2"]);
    let going = Endpoint { ready: false, terminating: true, ..bed.at(0, 1) };
    bed.endpoints("s", &[going]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    bed.endpoints("s", &[]);
    reaches(&mut bed.pods[0], to(IP, 80), &["refused"]);
}

#[test]
#[ignore = "needs root"]
fn slices_are_one_set_and_ports_may_differ() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    // A named targetPort that is 8080 here and 8081 there.
    let here = [bed.at(0, 1)];
    let there = [bed.at(1, 1)];
    let mut one = slice("s", false, &[("t", "TCP", TARGET)], &here);
    one["metadata"]["name"] = "s-one".into();
    let mut other = slice("s", false, &[("t", "TCP", TARGET + 1)], &there);
    other["metadata"]["name"] = "s-other".into();
    bed.api.put(one).unwrap();
    bed.api.put(other).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2", "pod-2-2"]);
    bed.api.delete("endpointslices", "default", "s-one");
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-2-2"]);
}

#[test]
#[ignore = "needs root"]
fn a_pod_reaches_itself_through_its_service() {
    let bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    let mut server = bed.cluster.pod(0, 1).agent().unwrap();
    reaches(&mut server, to(IP, 80), &["pod-1-2"]);
}

#[test]
#[ignore = "needs root"]
fn an_unconnected_socket_that_spoke_too_early_is_heard_later() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["refused"]);
    let ask = Ask::Udp {
        to: to(IP, 53),
        connected: false,
        mapped: false,
        keep: Some(7),
        timeout_ms: ANSWER_MS,
    };
    assert_eq!(bed.pods[0].ask(&ask).unwrap().outcome, "refused");
    bed.endpoints("s", &[bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-2-2"]);
    assert_eq!(bed.pods[0].ask(&ask).unwrap().name, "pod-2-2", "the same socket");
    // The server pod cycles: the next datagram goes to the new one, and its answer is understood.
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let seen = bed.pods[0].ask(&ask).unwrap();
    assert_eq!((seen.name.as_str(), seen.peer), ("pod-1-2", Some(to(IP, 53))));
}

#[test]
#[ignore = "needs root"]
fn a_connected_socket_of_the_host_is_ended_when_its_endpoint_goes() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.hosts[0], to(IP, 80), &["pod-1-2"]);
    let ask = |to, keep| Ask::Udp {
        to,
        connected: true,
        mapped: false,
        keep: Some(keep),
        timeout_ms: ANSWER_MS,
    };
    // One through the Service, and one that chose the endpoint itself.
    let through = ask(to(IP, 53), 1);
    let direct = ask(to(&bed.cluster.pod(0, 1).v4().to_string(), TARGET), 2);
    assert_eq!(bed.hosts[0].ask(&through).unwrap().name, "pod-1-2");
    assert_eq!(bed.hosts[0].ask(&direct).unwrap().name, "pod-1-2");
    bed.endpoints("s", &[bed.at(1, 1)]);
    reaches(&mut bed.hosts[0], to(IP, 80), &["pod-2-2"]);
    let began = std::time::Instant::now();
    // The owner is told (ECONNABORTED) and connects again, which this client does by itself.
    while bed.hosts[0].ask(&through).unwrap().name != "pod-2-2" {
        assert!(began.elapsed() < PATIENCE, "still on the endpoint that is gone");
    }
    assert_eq!(bed.hosts[0].ask(&direct).unwrap().name, "pod-1-2", "its owner chose it");
}

#[test]
#[ignore = "needs root"]
fn hostile_endpoints_lead_nowhere_and_are_named() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    let good = [bed.at(0, 1)];
    let mut object = slice("s", false, &[("t", "TCP", TARGET)], &good);
    for hostile in ["169.254.169.254", "127.0.0.1", "224.0.0.1", "0.0.0.0", "10.0.0.999", "fd00::1"]
    {
        let endpoint = json!({ "addresses": [hostile], "conditions": { "ready": true } });
        object["endpoints"].as_array_mut().unwrap().push(endpoint);
    }
    bed.api.put(object).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let status = bed.status(0).unwrap();
    let problems: BTreeSet<String> =
        status["state"]["problems"].as_array().unwrap().iter().map(ToString::to_string).collect();
    let all = problems.iter().cloned().collect::<String>();
    for part in ["169.254.169.254", "127.0.0.1", "224.0.0.1", "0.0.0.0", "10.0.0.999", "fd00::1"] {
        assert!(all.contains(part), "{part} is not in {all}");
    }
}
