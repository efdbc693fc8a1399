//! An online shop without a cluster: a directory of manifests in, packets out.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use towpath_testbed::{Cluster, Wiring, probe::Agent};

use crate::support::{PATIENCE, TOWPATH, reaches, settles, to};

/// Ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn start(cluster: &Cluster, node: usize, dir: &Path) -> Daemon {
    let bed = &cluster.nodes[node];
    let mut command = bed.daemon(Path::new(TOWPATH));
    command
        .arg("--manifests")
        .arg(dir)
        .stderr(File::create(bed.run_dir.join("daemon.log")).unwrap());
    Daemon(bed.host.spawn(command).unwrap())
}

/// The clusterIP that a Service was given; waits for the daemon to say it.
fn given(cluster: &Cluster, node: usize, name: &str) -> String {
    let run_dir = &cluster.nodes[node].run_dir;
    let began = Instant::now();
    loop {
        let output = Command::new(TOWPATH)
            .args(["services", name, "-o", "json", "--run-dir"])
            .arg(run_dir)
            .output()
            .unwrap();
        if let Ok(reply) = serde_json::from_slice::<Value>(&output.stdout) {
            let frontend = &reply["services"][0]["ports"][0]["frontends"][0];
            return frontend["address"].as_str().unwrap().to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "{output:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the daemon names a problem of this file.
fn names(cluster: &Cluster, node: usize, file: &str) {
    let run_dir = &cluster.nodes[node].run_dir;
    let began = Instant::now();
    loop {
        let status = Command::new(TOWPATH).args(["status", "--run-dir"]).arg(run_dir).output();
        let said = String::from_utf8(status.unwrap().stdout).unwrap();
        if said.contains(file) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{said}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "needs root"]
fn a_shop_runs_on_a_directory_of_manifests() {
    let nodes = [(Wiring::Bridge, 3), (Wiring::PointToPoint, 2)];
    let cluster = Cluster::build(Path::new(TOWPATH), &nodes).unwrap();
    let dir = cluster.dir.join("shop");
    fs::create_dir(&dir).unwrap();
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/shop");
    for entry in fs::read_dir(shop).unwrap().flatten() {
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    let _servers = [(0, 1), (0, 2), (1, 1)]
        .map(|(node, pod)| cluster.pod(node, pod).serve(&[8080, 8081]).unwrap());
    let mut customer: Agent = cluster.pod(0, 0).agent().unwrap();
    let mut host: Agent = cluster.nodes[0].host.agent().unwrap();
    let mut other: Agent = cluster.pod(1, 0).agent().unwrap();
    let first = start(&cluster, 0, &dir);
    let _second = start(&cluster, 1, &dir);

    // Dual stack, node port, load balancer, UDP.
    let both = ["pod-1-2", "pod-2-2"];
    reaches(&mut customer, to("10.96.7.1", 80), &both);
    reaches(&mut customer, to("fd00:96::701", 80), &both);
    reaches(&mut customer, to("203.0.113.7", 80), &both);
    reaches(&mut host, to("127.0.0.1", 30_100), &both);
    reaches(&mut other, to("192.168.77.11", 30_100), &both);
    assert_eq!(customer.udp(to("10.96.7.1", 9125), false).unwrap().outcome, "ok");
    // Internal traffic policy, and a node port that is honest about where its endpoints are.
    reaches(&mut customer, to("10.96.7.3", 80), &["pod-1-3"]);
    reaches(&mut other, to("10.96.7.3", 80), &["pod-2-2"]);
    reaches(&mut customer, to("192.168.77.12", 30_101), &["pod-2-2"]);
    // An allocated address, with affinity: one endpoint for one client.
    let cart = given(&cluster, 0, "shop/cart");
    assert!(cart.starts_with("10.96."), "{cart}");
    settles(&mut customer, to(&cart, 80), &["pod-1-2", "pod-1-3", "pod-2-2"]);

    // The address is kept when the daemon is started anew.
    drop(first);
    let _first = start(&cluster, 0, &dir);
    reaches(&mut customer, to("10.96.7.1", 80), &both);
    assert_eq!(given(&cluster, 0, "shop/cart"), cart);

    // A pod leaves the file; then the file breaks, and nothing changes.
    let pods = fs::read_to_string(dir.join("pods.yaml")).unwrap();
    let without = pods.replacen("labels: {app: frontend}", "labels: {app: closed}", 1);
    fs::write(dir.join("pods.yaml"), &without).unwrap();
    reaches(&mut customer, to("10.96.7.1", 80), &["pod-2-2"]);
    fs::write(dir.join("pods.yaml"), "kind: List\nitems: [\n").unwrap();
    names(&cluster, 0, "pods.yaml");
    reaches(&mut customer, to("10.96.7.1", 80), &["pod-2-2"]);
    fs::write(dir.join("pods.yaml"), pods).unwrap();
    reaches(&mut customer, to("10.96.7.1", 80), &both);
}
