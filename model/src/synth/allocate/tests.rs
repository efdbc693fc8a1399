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

/// Why each Service was refused; nothing else was wrong.
#[track_caller]
fn refused(filled: &Filled) -> Vec<String> {
    assert_eq!(filled.problems, []);
    filled.refused.values().map(ToString::to_string).collect()
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
    let refused = refused(&dual().fill_all(&mut services));
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("Service d/b: spec.clusterIP: 10.96.0.1 already belongs"));
    assert_eq!(services[0]["spec"], json!({"clusterIP": "10.96.0.1"}), "nothing is given");
}

#[test]
fn allocations_are_kept_whatever_else_comes_and_goes() {
    let mut one = allocator(&["10.96.0.0/28"]);
    let mut services: Vec<_> = (0..8)
        .map(|n| service(&format!("s{n}"), json!({"type": "NodePort", "ports": [{"port": 80}]})))
        .collect();
    assert_eq!(one.fill_all(&mut services), Filled::default());
    let text = serde_json::to_string(one.kept()).unwrap();
    let kept: Allocations = serde_json::from_str(&text).unwrap();
    let mut two = Allocator::new(&[Cidr::parse("10.96.0.0/28").unwrap()], kept);
    // The same Services without what was filled in, in another order, among new ones.
    let mut again: Vec<_> = (0..14)
        .rev()
        .map(|n| service(&format!("s{n}"), json!({"type": "NodePort", "ports": [{"port": 80}]})))
        .collect();
    assert_eq!(two.fill_all(&mut again), Filled::default());
    for old in &services {
        assert!(again.contains(old), "{old} has moved");
    }
    // Gone ones are given back; a full block is a problem that names the Service.
    let mut more = [again, vec![service("s99", json!({}))]].concat();
    let Filled { problems, refused } = two.fill_all(&mut more);
    assert!(refused.is_empty());
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].about.as_ref().map(ToString::to_string).unwrap(), "Service d/s99");
    assert_eq!(two.fill_all(&mut more[1..]), Filled::default());
    assert_eq!(two.kept().cluster_ips.len(), 14);
}

/// The whole history of two Services that want the same, by number or not.
#[test]
fn what_belongs_to_a_service_is_taken_by_nobody() {
    let node_port = |name: &str, ip: &str, port: u16| {
        let ports = json!([{"port": 80, "nodePort": port}]);
        service(name, json!({"type": "NodePort", "clusterIP": ip, "ports": ports}))
    };
    let mut allocator = dual();
    let old = node_port("web", "10.96.0.1", 30080);
    assert_eq!(allocator.fill_all(&mut [old.clone()]), Filled::default());
    // Before it in the alphabet, and older: it comes later all the same; also to a new daemon.
    let mut thief = node_port("a", "10.96.0.1", 30081);
    thief["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    for _daemon in 0..2 {
        let mut both = [thief.clone(), old.clone()];
        let said = refused(&allocator.fill_all(&mut both));
        assert!(said.len() == 1 && said[0].starts_with("Service d/a: spec.clusterIP: 10.96.0.1"));
        assert!(said[0].contains("belongs to Service d/web"), "{said:?}");
        assert!(!allocator.kept().cluster_ips.contains_key("d/a"));
        let text = serde_json::to_string(allocator.kept()).unwrap();
        let ranges = allocator.ips.ranges().to_vec();
        allocator = Allocator::new(&ranges, serde_json::from_str(&text).unwrap());
    }
    let said = refused(&allocator.fill_all(&mut [node_port("a", "", 30080), old.clone()]));
    assert!(said.len() == 1 && said[0].contains("nodePort 30080 already belongs to Service d/web"));
    // The owner goes, or wants another: the next one has it.
    assert_eq!(allocator.fill_all(&mut [thief.clone()]), Filled::default());
    let said = refused(&allocator.fill_all(&mut [thief.clone(), old.clone()]));
    assert!(said.len() == 1 && said[0].starts_with("Service d/web:"), "{said:?}");
    let moved = node_port("a", "10.96.0.9", 30082);
    assert_eq!(allocator.fill_all(&mut [moved, old]), Filled::default());
}

#[test]
fn an_address_that_was_given_to_one_is_not_given_to_another() {
    let mut allocator = dual();
    let before = filled(&mut allocator, json!({}));
    let ip = ips(&before)[0].clone();
    let mut services = [service("s", json!({})), service("a", json!({"clusterIP": ip}))];
    let said = refused(&allocator.fill_all(&mut services));
    assert!(said.len() == 1 && said[0].starts_with("Service d/a: "), "{said:?}");
    assert_eq!(ips(&services[0])[0], ip);
}

#[test]
fn without_history_the_oldest_comes_first_and_then_the_name() {
    let aged = |name: &str, created: Value| {
        let mut service = service(name, json!({"clusterIP": "10.96.0.1"}));
        service["metadata"]["creationTimestamp"] = created;
        service
    };
    let winner = |services: [Value; 2]| {
        let mut services = services;
        let mut allocator = dual();
        assert_eq!(refused(&allocator.fill_all(&mut services)).len(), 1);
        allocator.kept().cluster_ips.keys().next().unwrap().clone()
    };
    let (older, newer) = (json!("2026-01-01T00:00:00Z"), json!("2026-01-02T00:00:00Z"));
    assert_eq!(winner([aged("a", newer.clone()), aged("b", older.clone())]), "d/b");
    assert_eq!(winner([aged("b", older.clone()), aged("a", older)]), "d/a");
    assert_eq!(winner([aged("a", newer), aged("b", json!(null))]), "d/b");
}

/// The last good version of a refused Service may be in force.
#[test]
fn a_refused_service_keeps_what_it_had() {
    let mut allocator = allocator(&["10.96.0.0/30"]);
    let first = filled(&mut allocator, json!({}));
    let mut services = [service("s", json!({"clusterIP": "10.96.1"})), service("t", json!({}))];
    assert_eq!(refused(&allocator.fill_all(&mut services)).len(), 1);
    assert_ne!(ips(&services[1]), ips(&first));
    assert_eq!(allocator.fill_all(&mut services[1..]), Filled::default(), "gone is gone");
    assert!(!allocator.kept().cluster_ips.contains_key("d/s"));
}

#[test]
fn what_an_api_server_refuses_is_refused() {
    for (spec, why) in [
        (json!({"clusterIP": "10.96.1"}), "spec.clusterIP: \"10.96.1\" is not an IP address"),
        (json!({"clusterIPs": ["10.96.0.1", "x"]}), "spec.clusterIPs: \"x\" is not"),
        (json!({"clusterIP": "192.0.2.1"}), "192.0.2.1 is in none of the blocks"),
        (json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 10256}]}), "nodePort 10256"),
        (json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 32768}]}), "to 32767"),
        (json!({"type": "LoadBalancer", "healthCheckNodePort": 10256}), "port 10256 is not"),
    ] {
        let mut services = [service("s", spec.clone()), service("t", json!({}))];
        let mut allocator = dual();
        let said = refused(&allocator.fill_all(&mut services));
        assert!(said.len() == 1 && said[0].contains(why), "{spec}: {said:?}");
        assert_eq!(services[0]["spec"], spec, "as it was");
        assert!(allocator.kept().cluster_ips.keys().eq(["d/t"]));
    }
    for spec in [
        json!({"clusterIP": ""}),
        json!({"clusterIP": "None"}),
        json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 0}]}),
        json!({"ports": [{"port": 1, "nodePort": 10256}]}),
        json!({"type": "ExternalName", "clusterIP": "192.0.2.1"}),
    ] {
        assert_eq!(dual().fill_all(&mut [service("s", spec)]), Filled::default());
    }
}

/// Several node ports of one port number are all its own.
#[test]
fn every_node_port_of_a_service_is_remembered() {
    let ports = json!([{"port": 53, "protocol": "UDP", "nodePort": 30053},
        {"port": 53, "protocol": "TCP", "nodePort": 30054}]);
    let dns = service("dns", json!({"type": "NodePort", "ports": ports}));
    let mut allocator = dual();
    assert_eq!(allocator.fill_all(&mut [dns.clone()]), Filled::default());
    let ports = json!([{"port": 1, "nodePort": 30054}]);
    let thief = service("a", json!({"type": "NodePort", "ports": ports}));
    let said = refused(&allocator.fill_all(&mut [thief, dns]));
    assert!(said.len() == 1 && said[0].starts_with("Service d/a: "), "{said:?}");
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
    let said = refused(&dual().fill_all(&mut [clash("a"), clash("b")]));
    assert!(said.len() == 1 && said[0].contains("nodePort 30001"));
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
