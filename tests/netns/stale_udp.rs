//! Connected UDP sockets whose endpoint goes away.

use serde_json::{Value, json};
use towpath_testbed::probe::Agent;

use crate::support::{Bed, datagram, reaches_udp, service, to};

const IP: &str = "10.96.12.1";
const OTHER: &str = "10.96.12.2";

/// The kept, connected socket's exchange.
fn kept(client: &mut Agent, ip: &str) -> String {
    client.ask(&datagram(to(ip, 53), true, Some(7))).unwrap().outcome
}

fn stale(bed: &Bed) -> Value {
    bed.status(0).unwrap_or_default()["staleUdp"].clone()
}

#[test]
#[ignore = "needs root"]
fn they_are_ended_on_the_host_and_counted_in_pods_once_no_service_uses_the_endpoint() {
    let mut bed = Bed::new();
    for (name, ip) in [("s", IP), ("t", OTHER)] {
        bed.api.put(service(name, ip, json!({}))).unwrap();
        bed.endpoints(name, &[bed.at(0, 1)]);
        reaches_udp(&mut bed.hosts[0], to(ip, 53), &["pod-1-2"]);
    }
    assert_eq!(kept(&mut bed.hosts[0], IP), "ok");
    assert_eq!(kept(&mut bed.pods[0], IP), "ok");
    // Another Service still uses it: which Service's socket it is cannot be told.
    bed.endpoints("s", &[bed.at(0, 2)]);
    reaches_udp(&mut bed.hosts[0], to(IP, 53), &["pod-1-3"]);
    assert_eq!(kept(&mut bed.hosts[0], IP), "ok");
    assert_eq!(stale(&bed)["ended"], 0);
    bed.endpoints("t", &[bed.at(0, 2)]);
    bed.until("the end of the host's socket", || stale(&bed)["ended"] == 1);
    assert_ne!(kept(&mut bed.hosts[0], IP), "ok", "its owner hears of it");
    assert_eq!(kept(&mut bed.hosts[0], IP), "ok", "and connects again");
    let in_pods = stale(&bed)["inPodsAtMost"].as_u64().unwrap_or(0);
    assert!(in_pods >= 1, "{}", stale(&bed));
    let text = String::from_utf8_lossy(&bed.cli(0, &["status"]).stdout).into_owned();
    assert!(text.contains("1 of the host ended") && text.contains("inside pods at most"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn what_went_while_no_daemon_ran_is_ended_by_the_next_one() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches_udp(&mut bed.hosts[0], to(IP, 53), &["pod-1-2"]);
    assert_eq!(kept(&mut bed.hosts[0], IP), "ok");
    bed.kill(0);
    bed.endpoints("s", &[bed.at(0, 2)]);
    assert_eq!(kept(&mut bed.hosts[0], IP), "ok", "a dead daemon ends nothing");
    bed.start(0);
    bed.until("the first sweep", || stale(&bed)["ended"] == 1);
    assert_ne!(kept(&mut bed.hosts[0], IP), "ok");
}
