//! What load balancers and dashboards ask a node.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::json;
use towpath_testbed::{Host, objects::Endpoint};

use crate::support::{Bed, service, to};

const IP: &str = "10.96.9.1";
const CHECK: u16 = 30_099;

/// Status and body of a GET from this place; status 0: no answer came.
pub(crate) fn get(from: &Host, to: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    let asked = from.netns.enter(move || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    let text = asked.unwrap_or_default();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[test]
#[ignore = "needs root"]
fn the_urls_of_kube_proxy_answer_on_every_node() {
    let bed = Bed::new();
    for node in &bed.cluster.nodes {
        let own = to("127.0.0.1", 10_249);
        assert_eq!(get(&node.host, own, "/proxyMode"), (200, "ebpf".to_owned()));
        let (status, metrics) = get(&node.host, own, "/metrics");
        assert!(status == 200 && metrics.contains("kubeproxy_"), "{metrics}");
        let from_outside = SocketAddr::new(node.host.v4(), 10_256);
        let (status, body) = get(&bed.cluster.outside, from_outside, "/healthz");
        assert!(status == 200 && body.contains("\"nodeEligible\""), "{status} {body}");
        assert_eq!(get(&bed.cluster.outside, from_outside, "/livez").0, 200);
        // What is for the node only is not for others.
        let metrics = SocketAddr::new(node.host.v4(), 10_249);
        assert_eq!(get(&bed.cluster.outside, metrics, "/metrics").0, 0);
    }
}

#[test]
#[ignore = "needs root"]
fn health_check_node_ports_follow_ready_local_endpoints() {
    let bed = Bed::new();
    let balanced = |policy: &str| {
        let mut spec = json!({
            "type": "LoadBalancer", "externalTrafficPolicy": policy,
            "ports": [{ "name": "t", "protocol": "TCP", "port": 80, "nodePort": 30_098 }],
        });
        if policy == "Local" {
            spec["healthCheckNodePort"] = CHECK.into();
        }
        service("s", IP, spec)
    };
    let says = |wanted: [u16; 2]| {
        let asked = || {
            [0, 1].map(|node: usize| {
                let at = SocketAddr::new(bed.cluster.nodes[node].host.v4(), CHECK);
                get(&bed.cluster.outside, at, "/").0
            })
        };
        bed.until(&format!("health checks that say {wanted:?}"), || asked() == wanted);
    };
    bed.endpoints("s", &[bed.at(0, 1)]);
    bed.api.put(balanced("Local")).unwrap();
    says([200, 503]);
    bed.endpoints("s", &[bed.at(0, 1), bed.at(1, 1)]);
    says([200, 200]);
    // Terminating ones still serve, but load balancers have to leave.
    let going = Endpoint { ready: false, terminating: true, ..bed.at(0, 1) };
    bed.endpoints("s", &[going, bed.at(1, 1)]);
    says([503, 200]);
    bed.api.put(balanced("Cluster")).unwrap();
    says([0, 0]);
    bed.api.put(balanced("Local")).unwrap();
    says([503, 200]);
    bed.api.delete("services", "default", "s");
    says([0, 0]);
}
