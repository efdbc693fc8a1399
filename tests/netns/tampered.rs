//! The programs of a node are taken out of force by other hands: the daemon brings them back.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use towpath_ebpf::Settings;
use towpath_testbed::probe::Ask;

use crate::{
    health::get,
    support::{Bed, PATIENCE, reaches, service, to, who},
};

const IP: &str = "10.96.11.1";
#[test]
#[ignore = "needs root"]
fn programs_that_others_detach_come_back_into_force() {
    let mut bed = Bed::new();
    bed.api.put(service("s", IP, json!({}))).unwrap();
    bed.endpoints("s", &[bed.at(0, 1)]);
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let node = &bed.cluster.nodes[0];
    let pins = node.bpffs.join("towpath");
    towpath_ebpf::detach(&Settings::new(pins, &node.cgroup, &node.run_dir)).unwrap();
    let detached = Instant::now();
    let first = bed.pods[0].ask(&Ask::Tcp { to: to(IP, 80), mapped: false, timeout_ms: 300 });
    assert_ne!(first.unwrap().outcome, "ok", "they are out of force");
    while !who(&mut bed.pods[0], to(IP, 80)).contains("pod-1-2") {
        assert!(detached.elapsed() < PATIENCE, "still detached: {:?}", bed.status(0));
        thread::sleep(Duration::from_millis(200));
    }
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    let own = SocketAddr::new([127, 0, 0, 1].into(), 10_249);
    let (_, metrics) = get(&bed.cluster.nodes[0].host, own, "/metrics");
    assert!(metrics.contains("towpath_programs_reattached_total 8"), "{metrics}");
}
