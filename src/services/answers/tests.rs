use std::time::Duration;

use serde_json::json;
use towpath_image::Capacities;
use towpath_model::{Code, Event, Key, Kind, NodeFact, Problem};

use crate::services::fixture::{Fixture, lists, name, object, service, slice, system_error};

/// A balanced Service with a health check on this port, made at this second.
fn balanced(name: &str, last: u8, made: u8, health_check: u16) -> Event {
    Event::Apply(object(
        Kind::Service,
        &json!({
            "metadata": {
                "name": name, "namespace": "d", "creationTimestamp": format!("2026-01-01T00:00:{made:02}Z"),
            },
            "spec": {
                "type": "LoadBalancer", "clusterIPs": [format!("10.96.0.{last}")],
                "externalTrafficPolicy": "Local", "healthCheckNodePort": health_check,
                "ports": [{ "name": "t", "protocol": "TCP", "port": 80, "nodePort": 30_000 + u16::from(last) }],
            },
        }),
    ))
}

/// Is there a problem with all these words?
fn says(fixture: &Fixture, words: &[&str]) -> bool {
    fixture.problems().iter().any(|problem| words.iter().all(|word| problem.contains(word)))
}

#[test]
fn the_older_of_two_services_is_asked_on_their_health_check_port() {
    let mut fixture = Fixture::new();
    let younger = balanced("a", 1, 30, 32_000);
    let older = balanced("z", 2, 10, 32_000);
    fixture.say(lists(vec![younger, older, slice("a", &[1]), slice("z", &[2])]));
    let served = |fixture: &Fixture| -> Vec<String> {
        fixture.checks.borrow().iter().map(|check| check.service.to_string()).collect()
    };
    assert_eq!(served(&fixture), ["d/z"], "the name does not decide");
    assert!(says(&fixture, &["d/a", "32000"]), "and the other is told");
    fixture.say(vec![Event::Delete(Kind::Service, name("z"))]);
    assert_eq!(served(&fixture), ["d/a"]);
    assert!(!says(&fixture, &["32000"]));
}

#[test]
fn addresses_of_nodes_that_find_no_room_are_a_problem_and_the_node_is_healthy() {
    let mut fixture = Fixture::with(Capacities { node_addresses: 1, ..Capacities::default() });
    let addresses = ["192.168.0.1", "192.168.0.2"].map(|ip| ip.parse().unwrap());
    fixture.say(vec![Event::Local(NodeFact::Addresses(addresses.into()))]);
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    assert!(
        says(&fixture, &["NODE_ADDRESSES", "is full", "3 address"]),
        "{:?}",
        fixture.problems()
    );
    let hours_later = 7_200_000;
    fixture.vitals.ticked(hours_later);
    assert!(fixture.vitals.healthy(hours_later), "a restart makes no room");
}

#[test]
fn a_service_without_room_leaves_the_node_healthy_and_a_kernel_that_refuses_does_not() {
    let mut fixture = Fixture::with(Capacities { services: 2, ..Capacities::default() });
    fixture.say(lists(vec![service("a", 1), slice("a", &[1]), service("b", 2), slice("b", &[2])]));
    assert!(says(&fixture, &["SERVICES is full"]));
    let hours_later = 7_200_000;
    fixture.vitals.ticked(hours_later);
    assert!(fixture.vitals.healthy(hours_later), "one Service harms no other");
    fixture.kernel.fail_after(0);
    fixture.say(vec![slice("a", &[3])]);
    assert!(!fixture.vitals.healthy(hours_later), "the kernel has refused for hours");
    assert!(fixture.vitals.alive(hours_later));
}

#[test]
fn a_kernel_that_cannot_be_read_for_repair_is_not_well() {
    let mut fixture = Fixture::new();
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    fixture.kernel.maps().unreadable = Some(system_error());
    fixture.audited(vec!["x".into()]);
    fixture.say(vec![slice("a", &[2])]);
    assert!(fixture.runner().is_pending(), "the repair is still to come");
    assert!(says(&fixture, &["d/a", "no memory"]), "{:?}", fixture.problems());
    let hours_later = 7_200_000;
    fixture.vitals.ticked(hours_later);
    assert!(!fixture.vitals.healthy(hours_later));
}

#[test]
fn what_is_not_served_says_why() {
    let mut fixture = Fixture::new();
    let claim = |name: &str, protocol: &str, made: u8| {
        Event::Apply(object(
            Kind::Service,
            &json!({
                "metadata": {
                    "name": name, "namespace": "d",
                    "creationTimestamp": format!("2026-01-01T00:00:{made:02}Z"),
                },
                "spec": { "clusterIPs": ["10.96.0.9"], "ports": [{ "port": 80, "protocol": protocol }] },
            }),
        ))
    };
    fixture.say(lists(vec![claim("a", "TCP", 30), claim("b", "TCP", 10), claim("c", "SCTP", 20)]));
    let of = |service: &str| {
        let service = fixture.services().plan().service(&name(service)).unwrap();
        let reply = super::service_reply(&fixture.asked(), service, true);
        (reply.ports[0].frontends[0].not_served.clone(), reply.problems)
    };
    assert_eq!(of("b"), (None, Vec::new()));
    let (why, problems) = of("a");
    assert_eq!(why.as_deref(), Some("it belongs to d/b"));
    assert!(
        problems.iter().any(|problem| problem.contains("port 80 belongs to d/b")),
        "{problems:?}"
    );
    assert_eq!(of("c").0.as_deref(), Some("SCTP is not served yet"));
}

#[test]
fn slots_that_rest_are_not_free() {
    let mut fixture = Fixture::new();
    let backends = |fixture: &Fixture| {
        let maps = super::maps(&fixture.asked());
        maps.into_iter().find(|map| map.name == "BACKENDS").unwrap().entries
    };
    fixture.say(lists(vec![service("a", 1), slice("a", &[1, 2])]));
    assert_eq!(backends(&fixture), 4, "two for each port");
    fixture.say(vec![slice("a", &[3, 4, 5])]);
    assert_eq!(backends(&fixture), 4 + 6, "the old ones rest");
    fixture.pass(Duration::from_secs(2));
    assert_eq!(backends(&fixture), 6, "they have rested, though no change took them since");
}

/// What `towpath services [NAME]` is answered of Services that are not routed.
#[test]
fn a_service_that_is_not_routed_is_named_with_the_reason() {
    let mut fixture = Fixture::new();
    assert_eq!(super::not_routed::unlisted(&fixture.asked()).len(), 3, "nothing was listed yet");
    let made = |name: &str, spec: serde_json::Value| {
        let meta = json!({ "name": name, "namespace": "d" });
        Event::Apply(object(Kind::Service, &json!({ "metadata": meta, "spec": spec })))
    };
    let key = Key { kind: Kind::Service, name: name("bad") };
    let problem = Problem::new(Code::FieldUnusable, Some(key.clone()), "spec.ports", "no", "mend");
    fixture.say(lists(vec![
        service("a", 1),
        made("none", json!({ "clusterIP": "None" })),
        made("outside", json!({ "type": "ExternalName", "externalName": "example.org" })),
        Event::Bad(key, problem),
    ]));
    let of = |fixture: &Fixture, name: Option<&str>| -> Vec<(String, bool)> {
        let mut replies = super::not_routed::withheld(&fixture.asked(), name);
        replies.extend(super::not_routed::unread(&fixture.asked(), name, None).0);
        if let Some(name) = name {
            replies.extend(super::not_routed::by_choice(&fixture.asked(), name, None).0);
        }
        replies.into_iter().map(|one| (format!("{}: {}", one.name, one.why), one.wrong)).collect()
    };
    assert!(super::not_routed::unlisted(&fixture.asked()).is_empty());
    let bad = "d/bad: TP2002 Service d/bad: spec.ports: no; mend";
    let unread = of(&fixture, None);
    assert!(matches!(&*unread, [(why, true)] if why.starts_with(bad)), "{unread:?}");
    assert!(of(&fixture, Some("a")).is_empty(), "it is routed");
    for (name, words) in [
        ("none", "d/none: it is headless (clusterIP: None)"),
        ("d/outside", "d/outside: it is of type ExternalName"),
    ] {
        let found = of(&fixture, Some(name));
        assert!(matches!(&*found, [(why, false)] if why.starts_with(words)), "{found:?}");
    }
    assert!(of(&fixture, Some("other/none")).is_empty());
}

#[test]
fn a_service_whose_newest_version_cannot_be_read_has_its_problem() {
    let mut fixture = Fixture::new();
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    let key = Key { kind: Kind::Service, name: name("a") };
    let problem = Problem::new(Code::FieldUnusable, Some(key.clone()), "spec.ports", "no", "mend");
    fixture.say(vec![Event::Bad(key, problem)]);
    let service = fixture.services().plan().service(&name("a")).unwrap();
    let problems = super::service_reply(&fixture.asked(), service, true).problems;
    assert!(
        problems.iter().any(|p| p.contains("TP2002") && p.contains("spec.ports")),
        "{problems:?}"
    );
}

#[test]
fn a_port_without_endpoints_tells_what_its_slices_have() {
    let slice_with = |spec: serde_json::Value| {
        let mut slice = json!({
            "metadata": {
                "name": "a-1", "namespace": "d",
                "labels": { "kubernetes.io/service-name": "a" },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "t", "protocol": "TCP", "port": 80 }],
            "endpoints": [],
        });
        let fields = spec.as_object().unwrap().clone();
        slice.as_object_mut().unwrap().extend(fields);
        vec![Event::Apply(object(Kind::EndpointSlice, &slice))]
    };
    let endpoint = json!([{ "addresses": ["10.1.0.1"] }]);
    let port = json!([{ "name": "mysql", "protocol": "TCP", "port": 3306 }]);
    for (slices, said) in [
        (vec![], "no EndpointSlice has the label kubernetes.io/service-name: a"),
        (slice_with(json!({})), "EndpointSlice a-1: it has no endpoints"),
        (
            slice_with(json!({ "ports": port, "endpoints": endpoint })),
            "EndpointSlice a-1: no port \"t\" with protocol TCP; its ports: \"mysql\" 3306/TCP",
        ),
        (
            slice_with(json!({ "addressType": "FQDN", "endpoints": [{ "addresses": ["a.org"] }] })),
            "EndpointSlice a-1: its addressType is neither IPv4 nor IPv6",
        ),
        (
            slice_with(
                json!({ "addressType": "IPv6", "endpoints": [{ "addresses": ["fd00::1"] }] }),
            ),
            "EndpointSlice a-1: its addresses are IPv6",
        ),
        (
            slice_with(json!({ "endpoints": [{ "addresses": ["127.0.0.1"] }] })),
            "EndpointSlice a-1: its addresses cannot be routed",
        ),
    ] {
        let mut fixture = Fixture::new();
        let mut events = vec![service("a", 1)];
        events.extend(slices);
        fixture.say(lists(events));
        let service = fixture.services().plan().service(&name("a")).unwrap();
        let reply = super::service_reply(&fixture.asked(), service, true);
        let port = reply.ports.iter().find(|port| port.name == "t").unwrap();
        assert_eq!(port.no_endpoints, [said]);
    }
}
