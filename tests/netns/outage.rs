//! The API server goes away, lies, and comes back.

use std::net::TcpListener;

use serde_json::json;
use towpath_testbed::objects::slice;

use crate::{
    front,
    support::{Bed, TARGET, reaches, service, to},
};

const IP: &str = "10.96.4.1";

#[test]
#[ignore = "needs root"]
fn losing_the_api_server_changes_nothing_and_its_return_catches_up() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    bed.api.faults().away(true);
    // What is on its way may still arrive; the change comes after the streams are gone.
    bed.alone(0);
    bed.alone(1);
    bed.endpoints("s", &[bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    // A daemon that dies now, and its successor that hears nothing: still nothing changes.
    bed.kill(0);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    bed.start(0);
    bed.until("a daemon that waits", || bed.status(0).is_some());
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    bed.api.faults().away(false);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-2-2"]);
    reaches(&mut bed.pods[1], to(IP, 80), &["pod-2-2"]);
}

#[test]
#[ignore = "needs root"]
fn a_server_that_lies_harms_nothing() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.api.put(service("t", "10.96.4.2", json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    bed.endpoints("t", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    // One object damaged: its last good version stays, the others go on.
    bed.api.faults().corrupt("default/s-ipv4", true);
    bed.endpoints("s", &[bed.at(1, 1)]);
    bed.endpoints("t", &[bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to("10.96.4.2", 80), &["pod-2-2"]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let problems = bed.status(0).unwrap()["state"]["problems"].to_string();
    assert!(problems.contains("s-ipv4"), "{problems}");
    // Garbage, everything expired, and lists of the older kind.
    bed.api.faults().garbage(true);
    bed.api.expire();
    reaches(&mut bed.pods[0], to("10.96.4.2", 80), &["pod-2-2"]);
    bed.api.faults().garbage(false);
    bed.api.faults().no_streaming(true);
    bed.api.faults().corrupt("default/s-ipv4", false);
    bed.endpoints("s", &[bed.at(0, 2)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-3"]);
    assert_eq!(bed.status(0).unwrap()["state"]["problems"], json!([]));
}

#[test]
#[ignore = "needs root"]
fn the_daemon_finds_the_api_server_although_it_is_what_serves_it() {
    let mut bed = Bed::new();
    // The API server is a Service like any other, and its real address is in its slice.
    bed.api
        .put(service(
            "kubernetes",
            "10.96.0.1",
            json!({
                "ports": [{ "name": "https", "protocol": "TCP", "port": 443 }],
            }),
        ))
        .unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = plain.local_addr().unwrap();
    bed.api.serve(plain).unwrap();
    let names = ["10.96.0.1", "kubernetes.default.svc"].map(str::to_owned);
    let authority = bed.cluster.dir.join("authority.pem");
    front::serve(bed.cluster.control.listen(6444).unwrap(), server, &names, &authority);
    let stale = [bed.at(0, 1)];
    let mut object = slice("kubernetes", false, &[("https", "TCP", 6444)], &stale);
    object["metadata"]["name"] = "kubernetes".into();
    object["endpoints"][0]["addresses"] = json!([bed.cluster.control.v4()]);
    object["endpoints"][0].as_object_mut().unwrap().remove("nodeName");
    bed.api.put(object).unwrap();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    // From now on the daemon knows the clusterIP only. Its maps lead to the real server, ...
    bed.write_kubeconfig(&json!({
        "server": "https://10.96.0.1:443", "certificate-authority": authority,
    }));
    bed.kill(0);
    bed.endpoints("s", &[bed.at(1, 1)]);
    bed.start(0);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-2-2"]);
    // ... and without any maps it remembers where that is.
    bed.kill(0);
    let bpffs = bed.cluster.nodes[0].bpffs.join("towpath");
    let cleaned = bed.cli(0, &["cleanup", "--bpffs", &bpffs.display().to_string()]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    bed.endpoints("s", &[bed.at(0, 2)]);
    bed.start(0);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-3"]);
    assert_eq!(TARGET, 8080, "what the echo servers listen on");
}
