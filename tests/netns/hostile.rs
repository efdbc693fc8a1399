//! The API server does what it should not while traffic flows: what worked goes on.

use serde_json::json;
use towpath_testbed::objects::slice;

use crate::support::{Bed, TARGET, reaches, service, to};

const IP: &str = "10.96.8.1";

#[test]
#[ignore = "needs root"]
fn traffic_does_not_notice_what_the_api_server_does() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    bed.api.put(service("canary", "10.96.8.2", json!({}))).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let mut client = bed.cluster.pod(0, 0).agent().unwrap();
    client.load(to(IP, 80), 200, 12_000).unwrap();
    let began = std::time::Instant::now();

    // Each time the canary's change must arrive in the end: the daemon got over it.
    let mut turn = 0;
    let mut over = |bed: &mut Bed| {
        turn += 1;
        let (node, name) = [(0, "pod-1-2"), (1, "pod-2-2")][turn % 2];
        bed.endpoints("canary", &[bed.at(node, 1)]);
        reaches(&mut bed.pods[0], to("10.96.8.2", 80), &[name]);
    };
    bed.api.faults().garbage(true);
    bed.api.faults().drop_streams();
    std::thread::sleep(std::time::Duration::from_millis(200));
    bed.api.faults().garbage(false);
    over(&mut bed);
    bed.api.faults().too_many(4);
    bed.api.faults().drop_streams();
    over(&mut bed);
    for _ in 0..20 {
        bed.api.faults().drop_streams();
    }
    bed.api.expire();
    over(&mut bed);
    // An object of megabytes that means nothing, and one that claims the address of another.
    let mut huge = service("huge", "10.96.8.3", json!({}));
    huge["metadata"]["annotations"]["x"] = "x".repeat(3 << 20).into();
    bed.api.put(huge).unwrap();
    bed.api.put(service("thief", IP, json!({}))).unwrap();
    bed.endpoints("thief", &[bed.at(1, 1)]);
    over(&mut bed);
    // An endpoint that is an API server of clouds, alone in its slice: refused, not followed.
    let mut metadata = slice("meta", false, &[("t", "TCP", TARGET)], &[bed.at(0, 1)]);
    metadata["endpoints"][0]["addresses"] = json!(["169.254.169.254"]);
    bed.api.put(metadata).unwrap();
    bed.api.put(service("meta", "10.96.8.4", json!({}))).unwrap();
    reaches(&mut bed.pods[0], to("10.96.8.4", 80), &["refused"]);
    over(&mut bed);

    let lasted = began.elapsed();
    let load = client.load_result().unwrap();
    let answered: u64 = load.answers.values().sum();
    assert!(load.failures.is_empty(), "{:?} of {answered} in {lasted:?}", load.failures);
    assert!(load.answers.len() == 1 && answered > 600, "{:?}", load.answers);
}

#[test]
#[ignore = "needs root"]
fn a_server_that_never_answers_stops_nothing() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    bed.api.faults().mute(true);
    bed.api.faults().drop_streams();
    bed.alone(0);
    bed.endpoints("s", &[bed.at(1, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    // Not even a new daemon's start depends on an answer.
    bed.kill(0);
    bed.start(0);
    bed.until("a daemon that waits", || bed.status(0).is_some());
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    bed.api.faults().mute(false);
    bed.api.faults().drop_streams();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-2-2"]);
}
