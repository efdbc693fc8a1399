//! Two daemons on one node, as an upgrade by surge has them.

use serde_json::json;

use crate::support::{Bed, reaches, service, terminate, to};

const IP: &str = "10.96.5.2";

#[test]
#[ignore = "needs root"]
fn a_daemon_that_stands_by_takes_over_under_load_and_no_connection_fails() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let second = bed.stand_by(0, &bed.kubeconfig());
    bed.until("a daemon that is ready to take over", || second.is_ready());
    assert!(second.cli(&["probe", "live"]).status.success());
    // The first one serves as before, also what changes.
    bed.endpoints("s", &[bed.at(0, 2)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-3"]);
    let mut client = bed.cluster.pod(0, 0).agent().unwrap();
    client.load(to(IP, 80), 2_000, 2_000).unwrap();
    bed.stop(0);
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let load = client.load_result().unwrap();
    assert!(load.failures.is_empty(), "{:?}", load.failures);
    // It went on before and after.
    let answered = |pod| load.answers.contains_key(pod);
    assert!(answered("pod-1-3") && answered("pod-1-2"), "{:?}", load.answers);
    bed.until("a daemon that serves", || second.cli(&["status"]).status.success());
    assert!(second.is_ready());
}

#[test]
#[ignore = "needs root"]
fn a_version_that_cannot_list_never_becomes_ready_and_takes_nothing() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let nowhere = bed.cluster.dir.join("nowhere");
    let server = json!({ "server": format!("http://{}:1", bed.cluster.control.v4()) });
    let text = towpath_testbed::objects::kubeconfig(&server).to_string();
    std::fs::write(&nowhere, text).unwrap();
    let mut second = bed.stand_by(0, &nowhere);
    bed.until("a daemon that answers", || second.cli(&["probe", "live"]).status.success());
    let ready = second.cli(&["probe", "ready"]);
    assert_eq!(ready.status.code(), Some(1), "{ready:?}");
    assert!(String::from_utf8_lossy(&ready.stderr).contains("standing by"), "{ready:?}");
    // Its end, in order, is no matter of the one that serves.
    terminate(&second.daemon);
    assert!(second.daemon.wait().unwrap().success());
    bed.endpoints("s", &[bed.at(0, 2)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-3"]);
}
