use serde_json::{Value, json};

use super::*;

fn allocator(ranges: &[&str]) -> Allocator {
    let ranges: Vec<_> = ranges.iter().map(|r| Cidr::parse(r).unwrap()).collect();
    Allocator::new(&ranges, Allocations::default())
}

fn dual() -> Allocator {
    allocator(&["10.96.0.0/16", "fd00:96::/108"])
}

fn service(name: &str, spec: Value) -> Written {
    aged(name, Value::Null, spec)
}

fn aged(name: &str, created: Value, spec: Value) -> Written {
    let metadata = json!({"name": name, "namespace": "d", "creationTimestamp": created});
    let json = json!({"metadata": metadata, "spec": spec}).to_string();
    Written::read(json.as_bytes()).unwrap()
}

fn ips(written: &Written) -> Vec<String> {
    written.service.cluster_ips.iter().map(ToString::to_string).collect()
}

fn ports(written: &Written) -> Vec<u16> {
    written.service.ports.iter().map(|port| port.node_port).collect()
}

/// All of them, of which each can be read.
fn fill(allocator: &mut Allocator, services: &mut [Written]) -> Filled {
    allocator.fill_all(services, &BTreeSet::new())
}

/// Why each Service was refused; nothing else was wrong.
#[track_caller]
fn refused(filled: &Filled) -> Vec<String> {
    assert_eq!(filled.problems, []);
    filled.refused.values().map(ToString::to_string).collect()
}

fn filled(allocator: &mut Allocator, spec: Value) -> Written {
    let mut services = [service("s", spec)];
    assert_eq!(fill(allocator, &mut services), Filled::default());
    let [service] = services;
    service
}

#[test]
fn families_follow_the_policy() {
    let families = |spec: Value| {
        let service = filled(&mut dual(), spec);
        let families = service.service.cluster_ips.iter().map(|ip| Family::of(*ip));
        assert!(families.eq(service.service.ip_families.iter().copied()));
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
        let mut services = [service("s", json!({"ipFamilyPolicy": policy}))];
        let filled = fill(&mut allocator(&["10.96.0.0/16"]), &mut services);
        (ips(&services[0]).len(), filled.problems.len())
    };
    assert_eq!(single("PreferDualStack"), (1, 0));
    assert_eq!(single("RequireDualStack"), (1, 1), "served with what there is, and said");
}

#[test]
fn headless_and_external_services_get_no_address() {
    let headless = filled(&mut dual(), json!({"clusterIP": "None", "selector": {"a": "b"}}));
    assert!(headless.service.headless && ips(&headless).is_empty());
    assert_eq!(headless.service.ip_families, [Family::V4]);
    let headless = filled(&mut dual(), json!({"clusterIP": "None"}));
    assert_eq!(headless.service.ip_families, [Family::V4, Family::V6]);
    let external = json!({"type": "ExternalName", "externalName": "a.b"});
    let mut allocator = dual();
    assert_eq!(filled(&mut allocator, external.clone()), service("s", external));
    assert_eq!(allocator.kept(), &Allocations::default());
    assert_eq!(ips(&filled(&mut dual(), Value::Null)).len(), 1);
}

#[test]
fn what_is_asked_for_by_number_is_respected() {
    let spec = json!({"clusterIP": "10.96.0.010", "ipFamilyPolicy": "SingleStack"});
    assert_eq!(ips(&filled(&mut dual(), spec)), ["10.96.0.10"]);
    let spec = json!({"clusterIP": "10.96.0.10", "ipFamilyPolicy": "PreferDualStack"});
    let both = filled(&mut dual(), spec);
    assert!(ips(&both).len() == 2 && ips(&both)[0] == "10.96.0.10");
    // A later one that asks for what another has by number gets a problem.
    let mut services = [
        service("b", json!({"clusterIP": "10.96.0.1"})),
        service("a", json!({"clusterIP": "10.96.0.1"})),
    ];
    let before = services[0].clone();
    let refused = refused(&fill(&mut dual(), &mut services));
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("Service d/b: spec.clusterIP: 10.96.0.1 already belongs"));
    assert_eq!(services[0], before, "nothing is given");
}

#[test]
fn allocations_are_kept_whatever_else_comes_and_goes() {
    let mut one = allocator(&["10.96.0.0/28"]);
    let mut services: Vec<_> = (0..8)
        .map(|n| service(&format!("s{n}"), json!({"type": "NodePort", "ports": [{"port": 80}]})))
        .collect();
    assert_eq!(fill(&mut one, &mut services), Filled::default());
    let text = serde_json::to_string(one.kept()).unwrap();
    let kept: Allocations = serde_json::from_str(&text).unwrap();
    let mut two = Allocator::new(&[Cidr::parse("10.96.0.0/28").unwrap()], kept);
    // The same Services without what was filled in, in another order, among new ones.
    let mut again: Vec<_> = (0..14)
        .rev()
        .map(|n| service(&format!("s{n}"), json!({"type": "NodePort", "ports": [{"port": 80}]})))
        .collect();
    assert_eq!(fill(&mut two, &mut again), Filled::default());
    for old in &services {
        assert!(again.contains(old), "{old:?} has moved");
    }
    // Gone ones are given back; a full block is a problem that names the Service.
    let mut more = [again, vec![service("s99", json!({}))]].concat();
    let Filled { problems, refused } = fill(&mut two, &mut more);
    assert!(refused.is_empty());
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].about.as_ref().map(ToString::to_string).unwrap(), "Service d/s99");
    assert_eq!(fill(&mut two, &mut more[1..]), Filled::default());
    assert_eq!(two.kept().cluster_ips.len(), 14);
}

/// The whole history of two Services that want the same, by number or not.
#[test]
fn what_belongs_to_a_service_is_taken_by_no_other() {
    let node_port = |name: &str, ip: &str, port: u16| {
        let ports = json!([{"port": 80, "nodePort": port}]);
        service(name, json!({"type": "NodePort", "clusterIP": ip, "ports": ports}))
    };
    let mut allocator = dual();
    let old = node_port("web", "10.96.0.1", 30080);
    assert_eq!(fill(&mut allocator, &mut [old.clone()]), Filled::default());
    // Before it in the alphabet, and older: it comes later all the same; also to a new daemon.
    let mut thief = node_port("a", "10.96.0.1", 30081);
    Arc::make_mut(&mut thief.service).meta.created = "2001-01-01T00:00:00Z".into();
    for _daemon in 0..2 {
        let mut both = [thief.clone(), old.clone()];
        let said = refused(&fill(&mut allocator, &mut both));
        assert!(said.len() == 1 && said[0].starts_with("Service d/a: spec.clusterIP: 10.96.0.1"));
        assert!(said[0].contains("belongs to Service d/web"), "{said:?}");
        assert!(!allocator.kept().cluster_ips.contains_key("d/a"));
        let text = serde_json::to_string(allocator.kept()).unwrap();
        let ranges = allocator.ips.ranges().to_vec();
        allocator = Allocator::new(&ranges, serde_json::from_str(&text).unwrap());
    }
    let said = refused(&fill(&mut allocator, &mut [node_port("a", "", 30080), old.clone()]));
    assert!(said.len() == 1 && said[0].contains("nodePort 30080 already belongs to Service d/web"));
    // The owner goes, or wants another: the next one has it.
    assert_eq!(fill(&mut allocator, &mut [thief.clone()]), Filled::default());
    let said = refused(&fill(&mut allocator, &mut [thief.clone(), old.clone()]));
    assert!(said.len() == 1 && said[0].starts_with("Service d/web:"), "{said:?}");
    let moved = node_port("a", "10.96.0.9", 30082);
    assert_eq!(fill(&mut allocator, &mut [moved, old]), Filled::default());
}

#[test]
fn an_address_that_was_given_to_one_is_not_given_to_another() {
    let mut allocator = dual();
    let before = filled(&mut allocator, json!({}));
    let ip = ips(&before)[0].clone();
    let mut services = [service("s", json!({})), service("a", json!({"clusterIP": ip}))];
    let said = refused(&fill(&mut allocator, &mut services));
    assert!(said.len() == 1 && said[0].starts_with("Service d/a: "), "{said:?}");
    assert_eq!(ips(&services[0])[0], ip);
}

#[test]
fn without_history_the_oldest_comes_first_and_then_the_name() {
    let aged = |name, created| aged(name, created, json!({"clusterIP": "10.96.0.1"}));
    let winner = |services: [Written; 2]| {
        let mut services = services;
        let mut allocator = dual();
        assert_eq!(refused(&fill(&mut allocator, &mut services)).len(), 1);
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
    assert_eq!(refused(&fill(&mut allocator, &mut services)).len(), 1);
    assert_ne!(ips(&services[1]), ips(&first));
    assert_eq!(fill(&mut allocator, &mut services[1..]), Filled::default(), "gone is gone");
    assert!(!allocator.kept().cluster_ips.contains_key("d/s"));
}

/// Only a version that was accepted owns anything, for as long as it is in force.
#[test]
fn what_cannot_be_read_owns_what_its_last_version_had_and_nothing_else() {
    let unread = BTreeSet::from([ObjectName::new("d", "a")]);
    let spec = |ip: &str, port: u16| {
        let ports = json!([{"port": 80, "nodePort": port}]);
        json!({"type": "NodePort", "clusterIP": ip, "ports": ports})
    };
    let mut allocator = dual();
    // It was never accepted: what it may ask for is free.
    let mut good = [service("good", spec("10.96.0.1", 30080))];
    assert_eq!(allocator.fill_all(&mut good, &unread), Filled::default());
    assert_eq!(allocator.kept().cluster_ips.len(), 1);
    // Once it was, it keeps both; also for the next daemon.
    fill(&mut allocator, &mut [service("a", spec("10.96.0.2", 30082))]);
    for _daemon in 0..2 {
        for thief in [spec("10.96.0.2", 30083), spec("10.96.0.3", 30082)] {
            let said = refused(&allocator.fill_all(&mut [service("b", thief)], &unread));
            assert!(said.len() == 1 && said[0].contains("belongs to Service d/a"), "{said:?}");
        }
        allocator = Allocator::new(allocator.ips.ranges(), allocator.kept().clone());
    }
    // It is gone.
    let mut heir = [service("b", spec("10.96.0.2", 30082))];
    assert_eq!(fill(&mut allocator, &mut heir), Filled::default());
    assert!(allocator.kept().cluster_ips.keys().eq(["d/b"]));
}

/// What it would have given up is still its own, and no other's.
#[test]
fn a_refused_service_gives_nothing_up() {
    let ip = |name: &str, ip: &str| service(name, json!({"clusterIP": ip}));
    let mut allocator = dual();
    let first = [ip("a", "10.96.0.1"), ip("b", "10.96.0.2")];
    assert_eq!(fill(&mut allocator, &mut first.clone()), Filled::default());
    for wrong in ["192.0.2.1", "10.96.0.2"] {
        let mut services = [ip("a", wrong), ip("b", "10.96.0.2"), ip("c", "10.96.0.1")];
        let said = refused(&fill(&mut allocator, &mut services));
        assert!(said.len() == 2 && said[1].contains("belongs to Service d/a"), "{said:?}");
    }
    // What is refused for its own sake asks for nothing.
    let wrong = json!({"type": "NodePort", "clusterIP": "10.96.0.3", "ports": [
        {"port": 1, "nodePort": 10256}]});
    let mut services = [service("a", wrong), ip("b", "10.96.0.3")];
    assert_eq!(refused(&fill(&mut allocator, &mut services)).len(), 1);
    // Two that change places are no thieves.
    let mut services = [ip("a", "10.96.0.3"), ip("b", "10.96.0.1")];
    assert_eq!(fill(&mut allocator, &mut services), Filled::default());
}

#[test]
fn what_an_api_server_refuses_is_refused() {
    for (spec, why) in [
        (json!({"clusterIP": "10.96.1"}), "spec.clusterIP: \"10.96.1\" is not an IP address"),
        (json!({"clusterIPs": ["10.96.0.1", "x"]}), "spec.clusterIPs: \"x\" is not"),
        (json!({"clusterIP": "192.0.2.1"}), "192.0.2.1 is in none of the blocks"),
        (
            json!({"type": "NodePort", "ports": [{"port": 2}, {"port": 1, "nodePort": 10256}]}),
            "spec.ports[1].nodePort: 10256 is not from 30000",
        ),
        (json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 32768}]}), "to 32767"),
        (json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 70000}]}), "to 32767"),
        (
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 10256}),
            "spec.healthCheckNodePort: 10256 is not from 30000",
        ),
        (json!({"type": "LoadBalancer", "healthCheckNodePort": 30256}), "Local has one"),
        (json!({"type": "LoadBalancer", "clusterIP": "None"}), "needs a clusterIP"),
        (json!({"type": "NodePort", "clusterIPs": ["None"]}), "needs a clusterIP"),
        (json!({"type": "ExternalName", "clusterIP": "10.96.0.1"}), "has no clusterIP"),
        (
            json!({"ports": [{"port": 1, "nodePort": 30256}]}),
            "ports[0].nodePort: a Service of type",
        ),
    ] {
        let mut services = [service("s", spec.clone()), service("t", json!({}))];
        let before = services[0].clone();
        let mut allocator = dual();
        let said = refused(&fill(&mut allocator, &mut services));
        assert!(said.len() == 1 && said[0].contains(why), "{spec}: {said:?}");
        assert_eq!(services[0], before, "as it was");
        assert!(allocator.kept().cluster_ips.keys().eq(["d/t"]));
    }
    for spec in [
        json!({"clusterIP": ""}),
        json!({"clusterIP": "None"}),
        json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 0}]}),
        json!({"type": "ExternalName", "clusterIP": ""}),
    ] {
        assert_eq!(fill(&mut dual(), &mut [service("s", spec)]), Filled::default());
    }
}

/// Several node ports of one port number are all its own.
#[test]
fn every_node_port_of_a_service_is_remembered() {
    let ports = json!([{"name": "udp", "port": 53, "protocol": "UDP", "nodePort": 30053},
        {"name": "tcp", "port": 53, "protocol": "TCP", "nodePort": 30054}]);
    let dns = service("dns", json!({"type": "NodePort", "ports": ports}));
    let mut allocator = dual();
    assert_eq!(fill(&mut allocator, &mut [dns.clone()]), Filled::default());
    let ports = json!([{"port": 1, "nodePort": 30054}]);
    let thief = service("a", json!({"type": "NodePort", "ports": ports}));
    let said = refused(&fill(&mut allocator, &mut [thief, dns]));
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
    let node_port = filled(&mut dual(), spec("NodePort"));
    let given = ports(&node_port);
    assert!(given[0] >= 30000 && given[0] == given[1] && given[2] == 31000, "{given:?}");
    assert_eq!(&*node_port.service.ports[0].name, "a", "order is kept");
    assert_eq!(node_port.service.health_check_node_port, 0);
    let balanced = filled(&mut dual(), spec("LoadBalancer"));
    assert!(balanced.service.health_check_node_port >= 30000);
    let mut without = spec("LoadBalancer");
    without["allocateLoadBalancerNodePorts"] = json!(false);
    let mut allocator = dual();
    assert_eq!(ports(&filled(&mut allocator, without)), [0, 0, 31000]);
    assert_eq!(allocator.kept().node_ports["d/s"]["81"], 31000);
    let clash = |name: &str| {
        service(name, json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30001}]}))
    };
    let said = refused(&fill(&mut dual(), &mut [clash("a"), clash("b")]));
    assert!(said.len() == 1 && said[0].contains("nodePort 30001"));
}

#[test]
fn a_service_changes_and_goes() {
    let mut allocator = dual();
    let first = filled(&mut allocator, json!({"type": "NodePort", "ports": [{"port": 80}]}));
    let port = ports(&first)[0];
    let again = filled(&mut allocator, json!({"type": "NodePort", "ports": [{"port": 80}]}));
    assert_eq!(again, first, "an update keeps both");
    let external = filled(&mut allocator, json!({"type": "ExternalName"}));
    assert!(ips(&external).is_empty() && allocator.kept() == &Allocations::default());
    let other = json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": port}]});
    assert_eq!(fill(&mut allocator, &mut [service("t", other)]), Filled::default(), "it is free");
    assert_eq!(fill(&mut allocator, &mut []), Filled::default());
    assert_eq!(allocator.kept(), &Allocations::default());
}
