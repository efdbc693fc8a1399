//! The daemon may die at any instruction.

use std::time::Duration;

use serde_json::json;

use towpath_testbed::probe::{Ask, Reached, monotonic_ns};

use crate::support::{Bed, reaches, service, to};

const IP: &str = "10.96.5.1";

#[test]
#[ignore = "needs root"]
fn twenty_deaths_under_load_cost_no_connection() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let mut client = bed.cluster.pod(0, 0).agent().unwrap();
    client.load(to(IP, 80), 2_000, 20_000).unwrap();
    let mut waits = Vec::new();
    for death in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        bed.kill(0);
        // Every endpoint stays alive, so whatever the maps hold must answer.
        let (pod, name) = if death % 2 == 0 { (2, "pod-1-3") } else { (1, "pod-1-2") };
        bed.endpoints("s", &[bed.at(0, pod)]);
        let restarted = monotonic_ns();
        bed.start(0);
        let wait = Ask::Until { to: to(IP, 80), name: name.to_owned(), timeout_ms: 60_000 };
        let reached: Reached = bed.pods[0].ask_for(&wait).unwrap();
        let at = reached.at.expect("what changed while the daemon was dead never came into force");
        waits.push(Duration::from_nanos(at.saturating_sub(restarted)));
    }
    let load = client.load_result().unwrap();
    let answered: u64 = load.answers.values().sum();
    waits.sort_unstable();
    println!("{answered} connections; right after {:?} .. {:?}", waits[0], waits[19]);
    assert!(load.failures.is_empty(), "{:?} of {answered}", load.failures);
    // It may come far short of what it offers, on a machine that is busy; each death had its share.
    assert!(answered > 2_000, "{answered} connections");
}

#[test]
#[ignore = "needs root"]
fn there_is_one_writer_and_it_leaves_nothing_behind() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let second = bed.start_second(0);
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && text.contains("another Towpath"), "{text}");
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let bpffs = bed.cluster.nodes[0].bpffs.join("towpath");
    let path = bpffs.display().to_string();
    let refused = bed.cli(0, &["cleanup", "--bpffs", &path]);
    assert!(!refused.status.success(), "not under a running daemon");
    bed.kill(0);
    let down = bed.cli(0, &["status"]);
    assert_eq!(down.status.code(), Some(3), "no daemon to ask");
    let cleaned = bed.cli(0, &["cleanup", "--bpffs", &path]);
    assert!(cleaned.status.success() && !bpffs.exists(), "{cleaned:?}");
    reaches(&mut bed.pods[0], to(IP, 80), &["timeout"]);
}
