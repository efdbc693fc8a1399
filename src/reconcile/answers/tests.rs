use std::time::{Duration, Instant};

use serde_json::json;
use towpath_image::Capacities;
use towpath_model::{Event, Kind, NodeFact};

use super::status;
use crate::reconcile::{
    Finding, Wake,
    desk::{Desk, lists, object, service, slice, system_error},
};

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
fn says(desk: &Desk, words: &[&str]) -> bool {
    let problems = status(&desk.state).problems;
    problems.iter().any(|problem| words.iter().all(|word| problem.contains(word)))
}

#[test]
fn the_older_of_two_services_is_asked_on_their_health_check_port() {
    let mut desk = Desk::new();
    let younger = balanced("a", 1, 30, 32_000);
    let older = balanced("z", 2, 10, 32_000);
    desk.say(lists(vec![younger, older, slice("a", &[1]), slice("z", &[2])]));
    let served = |desk: &Desk| -> Vec<String> {
        desk.checks.borrow().iter().map(|check| check.service.to_string()).collect()
    };
    assert_eq!(served(&desk), ["d/z"], "the name does not decide");
    assert!(says(&desk, &["d/a", "32000"]), "and the other is told");
    desk.say(vec![Event::Delete(Kind::Service, crate::reconcile::desk::name("z"))]);
    assert_eq!(served(&desk), ["d/a"]);
    assert!(!says(&desk, &["32000"]));
}

#[test]
fn addresses_of_nodes_that_find_no_room_are_a_problem_and_the_node_is_healthy() {
    let mut desk = Desk::with(Capacities { node_addresses: 1, ..Capacities::default() });
    let addresses = ["192.168.0.1", "192.168.0.2"].map(|ip| ip.parse().unwrap());
    desk.say(vec![Event::Local(NodeFact::Addresses(addresses.into()))]);
    desk.say(lists(vec![service("a", 1), slice("a", &[1])]));
    assert!(
        says(&desk, &["NODE_ADDRESSES is full", "3 address"]),
        "{:?}",
        status(&desk.state).problems
    );
    let hours_later = 7_200_000;
    desk.vitals.ticked(hours_later);
    assert!(desk.vitals.healthy(hours_later), "a restart makes no room");
}

#[test]
fn a_service_without_room_leaves_the_node_healthy_and_a_kernel_that_refuses_does_not() {
    let mut desk = Desk::with(Capacities { services: 2, ..Capacities::default() });
    desk.say(lists(vec![service("a", 1), slice("a", &[1]), service("b", 2), slice("b", &[2])]));
    assert!(says(&desk, &["SERVICES is full"]));
    let hours_later = 7_200_000;
    desk.vitals.ticked(hours_later);
    assert!(desk.vitals.healthy(hours_later), "one Service harms no other");
    desk.kernel.fail_after(0);
    desk.say(vec![slice("a", &[3])]);
    assert!(!desk.vitals.healthy(hours_later), "the kernel has refused for hours");
    assert!(desk.vitals.alive(hours_later));
}

#[test]
fn a_kernel_that_cannot_be_read_for_repair_is_not_well() {
    let mut desk = Desk::new();
    desk.say(lists(vec![service("a", 1), slice("a", &[1])]));
    desk.kernel.hand().unreadable = Some(system_error());
    desk.state.audited(Finding { at_ms: 1, differences: vec!["x".into()] });
    desk.say(vec![slice("a", &[2])]);
    let reply = status(&desk.state);
    assert!(reply.kernel.pending, "the repair is still to come");
    assert!(says(&desk, &["d/a", "no memory"]), "{:?}", reply.problems);
    let hours_later = 7_200_000;
    desk.vitals.ticked(hours_later);
    assert!(!desk.vitals.healthy(hours_later));
}

#[test]
fn what_is_not_served_says_why() {
    let mut desk = Desk::new();
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
    desk.say(lists(vec![claim("a", "TCP", 30), claim("b", "TCP", 10), claim("c", "SCTP", 20)]));
    let of = |name: &str| {
        let service = desk.state.plan.service(&crate::reconcile::desk::name(name)).unwrap();
        let reply = super::service_reply(&desk.state, service);
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
    let mut desk = Desk::new();
    let backends = |desk: &Desk| {
        let maps = status(&desk.state).kernel.maps;
        maps.into_iter().find(|map| map.name == "BACKENDS").unwrap().entries
    };
    desk.say(lists(vec![service("a", 1), slice("a", &[1, 2])]));
    assert_eq!(backends(&desk), 4, "two for each port");
    desk.say(vec![slice("a", &[3, 4, 5])]);
    assert_eq!(backends(&desk), 4 + 6, "the old ones rest");
    let deadline = Instant::now() + Duration::from_secs(5);
    while backends(&desk) != 6 {
        assert!(Instant::now() < deadline, "they have rested, though nobody took them since");
        desk.state.tick();
        while let Ok(Wake::Graced(began)) = desk.inbox.try_recv() {
            desk.state.graced(began);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
