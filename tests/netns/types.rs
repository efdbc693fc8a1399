//! A Service changes its type, its ports, its labels; it goes and comes back.

use serde_json::json;

use crate::support::{Bed, TARGET, reaches, service, to};

const IP: &str = "10.96.1.1";
const ALL: [&str; 2] = ["pod-1-2", "pod-1-3"];

#[test]
#[ignore = "needs root"]
fn a_service_changes_in_every_direction() {
    let mut bed = Bed::new();
    let own = bed.cluster.nodes[0].host.v4().to_string();
    bed.endpoints("s", &[bed.at(0, 1), bed.at(0, 2)]);
    let node_port = to(&own, 30_080);
    let ports = |node_port: u16| {
        json!([{ "name": "t", "protocol": "TCP", "port": 80, "nodePort": node_port },
               { "name": "u", "protocol": "UDP", "port": 53, "nodePort": node_port }])
    };
    let put = |bed: &Bed, spec| bed.api.put(service("s", IP, spec)).unwrap();

    put(&bed, json!({}));
    reaches(&mut bed.pods[0], to(IP, 80), &ALL);
    // The same nodePort for TCP and UDP.
    put(&bed, json!({ "type": "NodePort", "ports": ports(30_080) }));
    reaches(&mut bed.pods[0], node_port, &ALL);
    assert_eq!(bed.pods[0].udp(node_port, true).unwrap().outcome, "ok");
    reaches(&mut bed.hosts[0], to("127.0.0.1", 30_080), &ALL);
    reaches(&mut bed.pods[0], to("127.0.0.1", 30_080), &["refused"]);

    let mut balanced = service("s", IP, json!({ "type": "LoadBalancer", "ports": ports(30_080) }));
    balanced["status"]["loadBalancer"]["ingress"] = json!([{ "ip": "203.0.113.9" }]);
    bed.api.put(balanced.clone()).unwrap();
    reaches(&mut bed.pods[0], to("203.0.113.9", 80), &ALL);
    balanced["status"]["loadBalancer"]["ingress"][0]["ipMode"] = "Proxy".into();
    bed.api.put(balanced).unwrap();
    reaches(&mut bed.pods[0], to("203.0.113.9", 80), &["timeout"]);

    put(&bed, json!({ "externalIPs": ["198.51.100.7", "192.0.2.7"] }));
    reaches(&mut bed.pods[0], to("198.51.100.7", 80), &ALL);
    reaches(&mut bed.pods[0], to("192.0.2.7", 80), &["timeout"]);
    reaches(&mut bed.pods[0], node_port, &["refused"]);

    put(&bed, json!({ "type": "ExternalName", "externalName": "example.org" }));
    reaches(&mut bed.pods[0], to(IP, 80), &["timeout"]);
    put(&bed, json!({}));
    reaches(&mut bed.pods[0], to(IP, 80), &ALL);

    // Another port: the old one is refused, not forgotten.
    put(&bed, json!({ "ports": [{ "name": "t", "protocol": "TCP", "port": 81 }] }));
    reaches(&mut bed.pods[0], to(IP, 81), &ALL);
    reaches(&mut bed.pods[0], to(IP, 80), &["refused"]);
}

#[test]
#[ignore = "needs root"]
fn labels_take_a_service_away_and_give_it_back() {
    let mut bed = Bed::new();
    bed.endpoints("s", &[bed.at(0, 1)]);
    for label in ["service-proxy-name", "headless"] {
        let mut object = service("s", IP, json!({}));
        bed.api.put(object.clone()).unwrap();
        reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
        object["metadata"]["labels"][format!("service.kubernetes.io/{label}")] = "other".into();
        bed.api.put(object).unwrap();
        reaches(&mut bed.pods[0], to(IP, 80), &["timeout"]);
    }
}

#[test]
#[ignore = "needs root"]
fn a_service_comes_back_on_the_same_address() {
    let mut bed = Bed::new();
    bed.endpoints("s", &[bed.at(0, 1)]);
    bed.endpoints("other", &[bed.at(1, 1)]);
    bed.api.put(service("s", IP, json!({}))).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    bed.api.delete("services", "default", "s");
    bed.api.put(service("other", IP, json!({}))).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-2-2"]);
    bed.api.delete("services", "default", "other");
    reaches(&mut bed.pods[0], to(IP, 80), &["timeout"]);
    bed.api.put(service("s", IP, json!({}))).unwrap();
    reaches(&mut bed.pods[0], to(IP, 80), &["pod-1-2"]);
    assert_eq!(TARGET, 8080, "what the echo servers listen on");
}
