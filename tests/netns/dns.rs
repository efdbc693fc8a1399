//! Pods resolve names with the C library, by a `resolv.conf` as kubelet writes it.

use std::{
    path::Path,
    process::{Child, Stdio},
};

use nix::sys::signal::Signal;
use serde_json::json;
use towpath_testbed::{
    Host,
    objects::{network_policy, pod, slice},
};

use crate::support::{Bed, service};

/// The address in every pod's `resolv.conf`.
const VIP: &str = "10.96.0.10";

/// A bed whose first node answers DNS itself; the Service has no endpoint.
fn bed() -> Bed {
    bed_with("dns: on")
}

fn bed_with(features: &str) -> Bed {
    let mut bed = Bed::new();
    for name in ["default", "kube-system"] {
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        bed.api.put(namespace).unwrap();
    }
    let ports = json!([
        { "name": "dns", "protocol": "UDP", "port": 53 },
        { "name": "dns-tcp", "protocol": "TCP", "port": 53 },
    ]);
    let selector = json!({ "k8s-app": "kube-dns" });
    let mut dns = service("kube-dns", VIP, json!({ "ports": ports, "selector": selector }));
    dns["metadata"]["namespace"] = "kube-system".into();
    bed.api.put(dns).unwrap();
    bed.api.put(service("web", "10.96.7.1", json!({}))).unwrap();
    let config = format!("features: {{{features}}}\ndns: {{upstreams: ['192.0.2.1']}}\n");
    std::fs::write(bed.config(), config).unwrap();
    bed.kill(0);
    bed.start(0);
    bed.ready(0);
    bed
}

/// What `getaddrinfo` of a pod's C library says; `options` of its `resolv.conf`.
fn resolve(bed: &Bed, pod: usize, name: &str, options: &str) -> String {
    resolve_at(bed, bed.cluster.pod(0, pod), name, options)
}

fn resolve_at(bed: &Bed, host: &Host, name: &str, options: &str) -> String {
    let conf = bed.cluster.dir.join("resolv.conf");
    let search = "default.svc.cluster.local svc.cluster.local cluster.local";
    let text = format!("nameserver {VIP}\nsearch {search}\noptions ndots:5 {options}\n");
    std::fs::write(&conf, text).unwrap();
    let script =
        format!("mount --bind {} /etc/resolv.conf && exec getent ahosts {name}", conf.display());
    let mut command = host.command(Path::new("unshare"));
    command.args(["--mount", "sh", "-c", &script]).stdout(Stdio::piped());
    let output = host.spawn(command).unwrap().wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let mut found: Vec<_> = text.lines().map(first).collect();
    found.sort();
    found.dedup();
    found.join(" ")
}

/// Waits until a name has these addresses in a pod.
#[track_caller]
fn resolves(bed: &Bed, name: &str, wanted: &str) {
    bed.until(&format!("{name} at {wanted:?}"), || resolve(bed, 0, name, "timeout:1") == wanted);
}

#[test]
#[ignore = "needs root"]
fn pods_resolve_names_of_the_cluster_on_their_own_node() {
    let bed = bed();
    resolves(&bed, "web", "10.96.7.1");
    for name in ["web.default", "web.default.svc", "web.default.svc.cluster.local"] {
        assert_eq!(resolve(&bed, 0, name, ""), "10.96.7.1", "{name}");
        assert_eq!(resolve(&bed, 1, name, "use-vc"), "10.96.7.1", "{name} over TCP");
    }
    // Processes of the node itself, such as pods in its network: they ask from an address of the node.
    for options in ["", "use-vc"] {
        let found = resolve_at(&bed, &bed.cluster.nodes[0].host, "web", options);
        assert_eq!(found, "10.96.7.1", "from the node, {options:?}");
    }
    // A headless Service, and a change that is seen at once.
    bed.api.put(service("db", "None", json!({ "clusterIPs": ["None"] }))).unwrap();
    bed.api.put(slice("db", false, &[("t", "TCP", 80)], &[bed.at(0, 1)])).unwrap();
    let first = bed.cluster.pod(0, 1).v4().to_string();
    resolves(&bed, "db", &first);
    bed.api.put(slice("db", false, &[("t", "TCP", 80)], &[bed.at(0, 2)])).unwrap();
    let second = bed.cluster.pod(0, 2).v4().to_string();
    resolves(&bed, "db", &second);
}

#[test]
#[ignore = "needs root"]
fn a_policy_that_allows_the_pods_of_dns_allows_the_nodes_own_server() {
    let bed = bed_with("dns: on, networkPolicy: on");
    let host = bed.cluster.pod(0, 0);
    let node = &bed.cluster.nodes[0].host.name;
    bed.api.put(pod(host, node, "default", "client", &json!({}))).unwrap();
    // One question, which waits for a second.
    let asked = |options: &str| resolve(&bed, 0, "web.default.svc.cluster.local.", options);
    let becomes = |what: &str, wanted: &str| {
        let udp = "timeout:1 attempts:1";
        bed.until(&format!("{what}: {wanted:?}"), || asked(udp) == wanted);
        // The resolver's time-out is none of a connection that is not answered.
        if !wanted.is_empty() {
            let tcp = format!("{udp} use-vc");
            assert_eq!(asked(&tcp), wanted, "{what}, over TCP");
        }
    };
    let allow = |to: &serde_json::Value| {
        let ports = json!([{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }]);
        let spec = json!({ "podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{ "to": [to], "ports": ports }] });
        bed.api.put(network_policy("default", "dns", &spec)).unwrap();
    };
    let pods = |app: &str| {
        let namespace = json!({ "kubernetes.io/metadata.name": "kube-system" });
        json!({ "namespaceSelector": { "matchLabels": namespace },
            "podSelector": { "matchLabels": { "k8s-app": app } } })
    };
    becomes("without a policy", "10.96.7.1");
    allow(&pods("other"));
    becomes("a policy that allows other pods", "");
    allow(&pods("kube-dns"));
    becomes("one that allows the pods of DNS", "10.96.7.1");
    allow(&json!({ "ipBlock": { "cidr": "10.96.0.11/32" } }));
    becomes("one that allows another address", "");
    allow(&json!({ "ipBlock": { "cidr": format!("{VIP}/32") } }));
    becomes("one that allows the address of DNS", "10.96.7.1");
}

#[test]
#[ignore = "needs root"]
fn a_daemon_that_stops_leaves_dns_to_the_endpoints_of_the_service() {
    let mut bed = bed();
    resolves(&bed, "web", "10.96.7.1");
    let routes = |bed: &Bed| {
        let mut command = bed.cluster.nodes[0].host.command(Path::new("ip"));
        command.args(["route", "show", "table", "local"]).stdout(Stdio::piped());
        let child = bed.cluster.nodes[0].host.spawn(command).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    };
    assert!(routes(&bed).contains(VIP));
    bed.stop(0);
    assert!(!routes(&bed).contains(VIP), "the address is not this node's any more");
    // The next one takes it up again.
    bed.start(0);
    bed.ready(0);
    resolves(&bed, "web", "10.96.7.1");
    // kill -9: the address stays local, and is answered again by the next one.
    bed.kill(0);
    bed.start(0);
    bed.ready(0);
    resolves(&bed, "web", "10.96.7.1");
}

#[test]
#[ignore = "needs root"]
fn a_daemon_that_starts_without_the_api_server_answers_what_the_one_before_knew() {
    let mut bed = bed();
    resolves(&bed, "web", "10.96.7.1");
    let file = bed.cluster.nodes[0].run_dir.join("dns-zone");
    bed.until("a zone on disk", || {
        std::fs::read_to_string(&file).is_ok_and(|zone| zone.contains("\"web\""))
    });
    bed.api.faults().away(true);
    bed.kill(0);
    assert_eq!(resolve(&bed, 0, "web", "timeout:1 attempts:1"), "", "nothing else answers");
    bed.start(0);
    resolves(&bed, "web", "10.96.7.1");
    for options in ["", "use-vc"] {
        assert_eq!(resolve(&bed, 1, "web.default.svc", options), "10.96.7.1", "{options:?}");
        let found = resolve_at(&bed, &bed.cluster.nodes[0].host, "web", options);
        assert_eq!(found, "10.96.7.1", "from the node, {options:?}");
    }
    let from_disk = |bed: &Bed| {
        bed.status(0).is_some_and(|status| {
            status["state"]["problems"].to_string().contains("as they were at")
        })
    };
    assert!(from_disk(&bed), "status says that it is old: {:?}", bed.status(0));
    // The lists take its place.
    bed.api.put(service("late", "10.96.7.2", json!({}))).unwrap();
    bed.api.faults().away(false);
    resolves(&bed, "late", "10.96.7.2");
    bed.until("names that were listed", || !from_disk(&bed));
}

/// The answer of this node's own server, and of the one that stands in for it.
const OWN: &str = "10.96.7.7";
const OTHER: &str = "192.0.2.77";

/// A bed in which a name says which server answered: this node's, or one in a pod of the other node.
fn bed_with_another_server() -> (Bed, Child) {
    let bed = bed();
    let names = [("who.default.svc.cluster.local.", OTHER.parse().unwrap())];
    let other = bed.cluster.pod(1, 1).serve_names(&names).unwrap();
    bed.api.put(service("who", OWN, json!({}))).unwrap();
    let ports = [("dns", "UDP", 53), ("dns-tcp", "TCP", 53)];
    let mut endpoints = slice("kube-dns", false, &ports, &[bed.at(1, 1)]);
    endpoints["metadata"]["namespace"] = "kube-system".into();
    bed.api.put(endpoints).unwrap();
    resolves(&bed, "who", OWN);
    (bed, other)
}

#[test]
#[ignore = "needs root"]
fn a_server_that_is_frozen_or_dead_leaves_its_clients_to_the_other_endpoints() {
    let (mut bed, mut other) = bed_with_another_server();
    bed.signal(0, Signal::SIGSTOP);
    resolves(&bed, "who", OTHER);
    let from_node = |bed: &Bed| resolve_at(bed, &bed.cluster.nodes[0].host, "who", "timeout:1");
    assert_eq!(from_node(&bed), OTHER, "the node itself, too");
    bed.signal(0, Signal::SIGCONT);
    resolves(&bed, "who", OWN);
    bed.kill(0);
    resolves(&bed, "who", OTHER);
    bed.start(0);
    resolves(&bed, "who", OWN);
    // One that is told to stop hands over in order.
    bed.stop(0);
    assert_eq!(resolve(&bed, 0, "who", "timeout:1"), OTHER);
    other.kill().and_then(|()| other.wait()).unwrap();
}
