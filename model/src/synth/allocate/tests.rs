use super::*;
use crate::{Object, decode};

fn allocator(ranges: &[&str]) -> Allocator {
    let ranges: Vec<_> = ranges.iter().map(|r| Cidr::parse(r).unwrap()).collect();
    Allocator::new(&ranges, Allocations::default())
}

fn dual() -> Allocator {
    allocator(&["10.96.0.0/16", "fd00:96::/108"])
}

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "d"}, "spec": spec})
}

fn ips(service: &Value) -> Vec<String> {
    let Ok(Object::Service(read)) = decode(Kind::Service, service.to_string().as_bytes()) else {
        panic!("{service}")
    };
    read.cluster_ips.iter().map(ToString::to_string).collect()
}

fn filled(allocator: &mut Allocator, spec: Value) -> Value {
    let mut service = service("s", spec);
    assert_eq!(allocator.fill(&mut service), []);
    service
}

#[test]
fn families_follow_the_policy() {
    let families = |spec: Value| {
        let service = filled(&mut dual(), spec);
        assert_eq!(service["spec"]["clusterIP"], service["spec"]["clusterIPs"][0]);
        let of: Vec<_> =
            ips(&service).iter().map(|ip| if ip.contains(':') { "6" } else { "4" }).collect();
        of.concat()
    };
    assert_eq!(families(json!({})), "4");
    assert_eq!(families(json!({"ipFamilies": ["IPv6"]})), "6");
    assert_eq!(families(json!({"ipFamilyPolicy": "SingleStack"})), "4");
    assert_eq!(families(json!({"ipFamilyPolicy": "PreferDualStack"})), "46");
    let prefer_six = json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]});
    assert_eq!(families(prefer_six), "64");
    let single = |policy: &str| {
        let mut service = service("s", json!({"ipFamilyPolicy": policy}));
        let problems = allocator(&["10.96.0.0/16"]).fill(&mut service);
        (ips(&service).len(), problems.len())
    };
    assert_eq!(single("PreferDualStack"), (1, 0));
    assert_eq!(single("RequireDualStack"), (1, 1), "served with what there is, and said");
}

#[test]
fn headless_and_external_services_get_no_address() {
    let headless = filled(&mut dual(), json!({"clusterIP": "None", "selector": {"a": "b"}}));
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(headless["spec"]["ipFamilies"], json!(["IPv4"]));
    let headless = filled(&mut dual(), json!({"clusterIP": "None"}));
    assert_eq!(headless["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    let spec = json!({"type": "ExternalName", "externalName": "a.b"});
    assert_eq!(filled(&mut dual(), spec.clone())["spec"], spec);
    let mut odd = service("s", json!("text"));
    assert_eq!(dual().fill(&mut odd), []);
    assert_eq!(odd["spec"], json!("text"), "whoever decodes it complains");
    let mut bare = json!({"metadata": {"name": "s"}});
    dual().fill(&mut bare);
    assert_eq!(ips(&bare).len(), 1);
}

#[test]
fn what_is_asked_for_by_number_is_respected() {
    let spec = json!({"clusterIP": "10.96.0.010", "ipFamilyPolicy": "SingleStack"});
    assert_eq!(filled(&mut dual(), spec)["spec"]["clusterIP"], "10.96.0.010", "as written");
    let spec = json!({"clusterIP": "10.96.0.10", "ipFamilyPolicy": "PreferDualStack"});
    let both = filled(&mut dual(), spec);
    assert!(ips(&both).len() == 2 && ips(&both)[0] == "10.96.0.10");
    // A later one that asks for what another has by number gets a problem.
    let mut services = [
        service("b", json!({"clusterIP": "10.96.0.1"})),
        service("a", json!({"clusterIP": "10.96.0.1"})),
    ];
    let problems = dual().fill_all(&mut services);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().starts_with("Service d/b: spec.clusterIP: 10.96.0.1 already"));
}

#[test]
fn allocations_are_kept_whatever_else_comes_and_goes() {
    let mut one = allocator(&["10.96.0.0/28"]);
    let mut services: Vec<_> = (0..8)
        .map(|n| service(&format!("s{n}"), json!({"type": "NodePort", "ports": [{"port": 80}]})))
        .collect();
    assert_eq!(one.fill_all(&mut services), []);
    let text = serde_json::to_string(one.kept()).unwrap();
    let kept: Allocations = serde_json::from_str(&text).unwrap();
    let mut two = Allocator::new(&[Cidr::parse("10.96.0.0/28").unwrap()], kept);
    // The same Services without what was filled in, in another order, among new ones.
    let mut again: Vec<_> = (0..14)
        .rev()
        .map(|n| service(&format!("s{n}"), json!({"type": "NodePort", "ports": [{"port": 80}]})))
        .collect();
    assert_eq!(two.fill_all(&mut again), []);
    for old in &services {
        assert!(again.contains(old), "{old} has moved");
    }
    // Gone ones are given back; a full block is a problem that names the Service.
    let mut more = [again, vec![service("s99", json!({}))]].concat();
    let problems = two.fill_all(&mut more);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].about.as_ref().map(ToString::to_string).unwrap(), "Service d/s99");
    assert_eq!(two.fill_all(&mut more[1..]), []);
    assert_eq!(two.kept().cluster_ips.len(), 14);
}

#[test]
fn an_address_asked_for_by_number_moves_the_one_that_only_happened_to_have_it() {
    let mut allocator = dual();
    let before = filled(&mut allocator, json!({}));
    let ip = ips(&before)[0].clone();
    let mut services = [service("s", json!({})), service("t", json!({"clusterIP": ip}))];
    assert_eq!(allocator.fill_all(&mut services), []);
    assert_eq!(ips(&services[1])[0], ip);
    assert_ne!(ips(&services[0])[0], ip);
}

#[test]
fn node_ports_are_given_where_the_type_has_them() {
    let spec = |kind: &str| {
        json!({"type": kind, "externalTrafficPolicy": "Local", "ports": [
            {"name": "a", "port": 80, "protocol": "TCP"},
            {"name": "b", "port": 80, "protocol": "UDP"},
            {"name": "c", "port": 81, "nodePort": 31000}]})
    };
    let of = |service: &Value| -> Vec<u64> {
        let ports = service["spec"]["ports"].as_array().unwrap().iter();
        ports.map(|port| port["nodePort"].as_u64().unwrap_or(0)).collect()
    };
    let node_port = filled(&mut dual(), spec("NodePort"));
    let ports = of(&node_port);
    assert!(ports[0] >= 30000 && ports[0] == ports[1] && ports[2] == 31000, "{ports:?}");
    assert_eq!(node_port["spec"]["ports"][0]["name"], "a", "order is kept");
    assert!(node_port["spec"]["healthCheckNodePort"].is_null());
    let balanced = filled(&mut dual(), spec("LoadBalancer"));
    assert!(balanced["spec"]["healthCheckNodePort"].as_u64().unwrap() >= 30000);
    let mut without = spec("LoadBalancer");
    without["allocateLoadBalancerNodePorts"] = json!(false);
    assert_eq!(of(&filled(&mut dual(), without)), [0, 0, 31000]);
    assert_eq!(of(&filled(&mut dual(), spec("ClusterIP"))), [0, 0, 31000]);
    let clash = |name: &str| {
        service(name, json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30001}]}))
    };
    let problems = dual().fill_all(&mut [clash("a"), clash("b")]);
    assert!(problems.len() == 1 && problems[0].to_string().contains("nodePort 30001"));
}

#[test]
fn a_service_changes_and_goes() {
    let mut allocator = dual();
    let first = filled(&mut allocator, json!({"type": "NodePort", "ports": [{"port": 80}]}));
    let port = first["spec"]["ports"][0]["nodePort"].clone();
    let again = filled(&mut allocator, json!({"type": "NodePort", "ports": [{"port": 80}]}));
    assert_eq!(again, first, "an update keeps both");
    let external = filled(&mut allocator, json!({"type": "ExternalName"}));
    assert!(external["spec"]["clusterIP"].is_null() && allocator.kept().node_ports.is_empty());
    let mut other =
        service("t", json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": port}]}));
    assert_eq!(allocator.fill(&mut other), [], "it is free again");
    allocator.release(&ObjectName::new("d", "t"));
    assert_eq!(allocator.kept(), &Allocations::default());
}
