use super::*;
use crate::{Kind, Object, Protocol, decode, select, wire::pod::decode_pod};

fn pod(name: &str, rest: Value) -> Pod {
    let mut json = rest;
    json["metadata"]["name"] = json!(name);
    if json["metadata"]["labels"].is_null() {
        json["metadata"]["labels"] = json!({"app": "shop"});
    }
    decode_pod(json.to_string().as_bytes()).unwrap()
}

fn at(ips: &[&str], node: &str) -> Value {
    let ips: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"spec": {"nodeName": node}, "status": {"podIPs": ips}})
}

fn service(spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"app": "shop"});
    json!({"metadata": {"name": "shop"}, "spec": spec})
}

fn made(service: &Value, pods: &[Pod]) -> Vec<Value> {
    let zones = |node: &str| node.strip_prefix("n").map(|zone| format!("z{zone}"));
    let written = Written::read(service.to_string().as_bytes()).unwrap();
    let made = slices(&written, pods, zones);
    for slice in &made {
        let read = decode(Kind::EndpointSlice, slice.to_string().as_bytes());
        let Ok(Object::EndpointSlice(read)) = read else { panic!("{read:?}") };
        assert!(read.meta.problems.is_empty(), "{:?}", read.meta.problems);
        assert_eq!(&*read.service.name, "shop");
    }
    made
}

/// Each slice as `name: ports: addresses`.
fn shown(slices: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list = |values: &Value, one: &dyn Fn(&Value) -> String| {
        values.as_array().unwrap().iter().map(one).collect::<Vec<_>>().join(",")
    };
    let show = |slice: &Value| {
        let ports = list(&slice["ports"], &|p| format!("{}={}", text(&p["name"]), p["port"]));
        let addresses = list(&slice["endpoints"], &|e| text(&e["addresses"][0]));
        format!("{}: {ports}: {addresses}", text(&slice["metadata"]["name"]))
    };
    slices.iter().map(show).collect()
}

#[test]
fn selected_pods_of_the_namespace_become_endpoints_of_each_family() {
    let mut foreign = pod("a", at(&["10.0.0.9"], "n1"));
    foreign.name.namespace = "elsewhere".into();
    let mut unlabelled = pod("b", at(&["10.0.0.8"], "n1"));
    unlabelled.labels.clear();
    let mut finished = pod("c", at(&["10.0.0.7"], "n1"));
    finished.finished = true;
    let pods = [
        pod("z", at(&["10.0.0.2", "fd00::2"], "n1")),
        pod("y", at(&["10.0.0.1"], "n2")),
        pod("x", at(&[], "n2")),
        foreign,
        unlabelled,
        finished,
    ];
    let spec = json!({"clusterIP": "10.96.0.1", "ipFamilies": ["IPv6", "IPv4"],
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    assert_eq!(
        shown(&made(&service(spec), &pods)),
        ["shop-ipv6-1: http=8080: fd00::2", "shop-ipv4-1: http=8080: 10.0.0.1,10.0.0.2"]
    );
    let no_selector = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    assert_eq!(made(&no_selector, &pods), Vec::<Value>::new());
    let external = service(json!({"type": "ExternalName", "externalName": "a.b"}));
    assert_eq!(made(&external, &pods), Vec::<Value>::new());
}

#[test]
fn a_named_target_port_is_looked_up_in_each_pod() {
    let named = |name: &str, ip: &str, port: u16, protocol: &str| {
        let mut json = at(&[ip], "n1");
        json["spec"]["containers"] = json!([{"ports": [
            {"name": "web", "containerPort": port, "protocol": protocol}]}]);
        pod(name, json)
    };
    let pods = [
        named("a", "10.0.0.1", 8080, "TCP"),
        named("b", "10.0.0.2", 9090, "TCP"),
        named("c", "10.0.0.3", 8080, "TCP"),
        named("d", "10.0.0.4", 8080, "UDP"),
    ];
    let spec = json!({"clusterIP": "10.96.0.1", "ports": [
        {"name": "http", "port": 80, "targetPort": "web"},
        {"name": "admin", "port": 81, "targetPort": 81}]});
    assert_eq!(
        shown(&made(&service(spec), &pods)),
        [
            "shop-ipv4-1: http=8080,admin=81: 10.0.0.1,10.0.0.3",
            "shop-ipv4-2: http=9090,admin=81: 10.0.0.2",
            "shop-ipv4-3: admin=81: 10.0.0.4",
        ]
    );
}

#[test]
fn conditions_follow_the_pod_and_publish_not_ready_addresses() {
    let state = |ready: &str, deleted: bool| {
        let mut json = at(&["10.0.0.1"], "n1");
        json["status"]["conditions"] = json!([{"type": "Ready", "status": ready}]);
        if deleted {
            json["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        pod("p", json)
    };
    let conditions = |publish: bool, pod: Pod| {
        let spec = json!({"clusterIP": "10.96.0.1", "publishNotReadyAddresses": publish,
            "ports": [{"port": 80}]});
        let made = made(&service(spec), &[pod]);
        let c = &made[0]["endpoints"][0]["conditions"];
        ["ready", "serving", "terminating"].map(|name| c[name].as_bool().unwrap())
    };
    assert_eq!(conditions(false, state("True", false)), [true, true, false]);
    assert_eq!(conditions(false, state("False", false)), [false, false, false]);
    assert_eq!(conditions(false, state("True", true)), [false, true, true]);
    assert_eq!(conditions(false, state("Unknown", true)), [false, false, true]);
    assert_eq!(conditions(true, state("False", true)), [true, false, true]);
}

#[test]
fn slices_hold_a_hundred_and_an_empty_service_keeps_one() {
    let pods: Vec<_> =
        (0..250).map(|n| pod(&format!("p{n:03}"), at(&[&format!("10.0.1.{n}")], "n1"))).collect();
    let service = service(json!({"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}));
    let sizes = |slices: &[Value]| {
        slices.iter().map(|s| s["endpoints"].as_array().unwrap().len()).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&made(&service, &pods)), [100, 100, 50]);
    assert_eq!(sizes(&made(&service, &pods[..100])), [100]);
    assert_eq!(shown(&made(&service, &[])), ["shop-ipv4-1: : "]);
}

#[test]
fn headless_services_label_their_slices_and_name_their_pods() {
    let mut json = at(&["10.0.0.1"], "n1");
    json["spec"]["hostname"] = json!("db-0");
    json["spec"]["subdomain"] = json!("shop");
    let service = service(json!({"clusterIP": "None", "ipFamilies": ["IPv4"]}));
    let made = made(&service, &[pod("db-0", json)]);
    assert_eq!(made[0]["metadata"]["labels"]["service.kubernetes.io/headless"], json!(""));
    assert_eq!(made[0]["endpoints"][0]["hostname"], json!("db-0"));
    assert_eq!(shown(&made), ["shop-ipv4-1: : 10.0.0.1"]);
}

#[test]
fn traffic_distribution_becomes_hints() {
    let pods = [pod("a", at(&["10.0.0.1"], "n1")), pod("b", at(&["10.0.0.2"], "n2"))];
    let topology = |distribution: Option<&str>| {
        let spec = json!({"clusterIP": "10.96.0.1", "trafficDistribution": distribution,
            "ports": [{"port": 80}]});
        let made = made(&service(spec), &pods);
        let slices: Vec<_> = made
            .iter()
            .map(|s| match decode(Kind::EndpointSlice, s.to_string().as_bytes()) {
                Ok(Object::EndpointSlice(slice)) => slice,
                other => panic!("{other:?}"),
            })
            .collect();
        let all = slices.iter().map(|slice| &**slice);
        let candidates = select::candidates(all, "", Protocol::Tcp, Family::V4);
        let place = select::Place { node: "n1", zone: Some("z1") };
        select::select(&candidates, select::Usage { cluster: true, local: false }, place).topology
    };
    assert_eq!(topology(Some("PreferSameZone")), select::Topology::SameZone);
    assert_eq!(topology(Some("PreferClose")), select::Topology::SameZone);
    assert_eq!(topology(Some("PreferSameNode")), select::Topology::SameNode);
    assert_eq!(topology(None), select::Topology::None);
}
