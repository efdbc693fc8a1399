//! What sockets get while maps are full: a Service comes in whole or stays as it was.
//!
//! One test per promise. Objects go in as JSON, answers are the kernel's own decisions.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "room/fixture.rs"]
mod fixture;
#[path = "pipeline/mod.rs"]
mod pipeline;

use fixture::{Fixture, Got, none_left, one_of, service, slice};
use serde_json::json;
use towpath_image::Capacities;
use towpath_proxy::PlanDelta;

const VIP: &str = "10.96.0.1";
const OTHER: &str = "10.96.0.2";

fn small(backends: u32, frontends: u32) -> Capacities {
    Capacities { frontends, services: 8, backends, node_addresses: 8 }
}

#[test]
fn a_service_that_no_longer_fits_keeps_its_sets_and_its_flags() {
    let mut fixture = Fixture::new(small(4, 20));
    fixture.service(service("a", VIP));
    fixture.slice(slice("a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    fixture.turns(3);
    assert_eq!(fixture.ask(VIP, 80), one_of(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    // Another policy and more endpoints than there is room for, at once.
    let mut local = service("a", VIP);
    local["spec"]["internalTrafficPolicy"] = "Local".into();
    fixture.service(local);
    fixture.slice(slice("a", &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]));
    fixture.turns(3);
    assert_eq!(fixture.0.layout.refused().count(), 1);
    assert_eq!(fixture.ask(VIP, 80), one_of(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), "as before");
    fixture.slice(slice("a", &["10.0.0.7"]));
    fixture.turns(3);
    assert_eq!(
        (fixture.ask(VIP, 80), fixture.0.layout.refused().count()),
        (one_of(&["10.0.0.7"]), 0)
    );
}

#[test]
fn a_service_that_never_fit_is_left_alone_as_a_whole() {
    let mut fixture = Fixture::new(small(2, 20));
    fixture.service(service("a", VIP));
    fixture.slice(slice("a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    fixture.turns(3);
    let refused: Vec<_> = fixture.0.layout.refused().collect();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].why.contains("BACKENDS"), "{}", refused[0].why);
    assert_eq!(fixture.ask(VIP, 80), Got::NotAService, "not even the refusal of unknown ports");
    fixture.slice(slice("a", &["10.0.0.1"]));
    fixture.turns(3);
    assert_eq!(
        (fixture.ask(VIP, 80), fixture.ask(VIP, 81)),
        (one_of(&["10.0.0.1"]), Got::UnknownPort)
    );
}

#[test]
fn a_service_with_one_port_too_many_is_refused_whole_and_others_go_on() {
    let mut fixture = Fixture::new(small(3, 20));
    let mut two = service("a", VIP);
    let more = json!({ "name": "q", "protocol": "TCP", "port": 81 });
    two["spec"]["ports"].as_array_mut().unwrap().push(more);
    fixture.service(two);
    let mut slices = slice("a", &["10.0.0.1", "10.0.0.2"]);
    let more = json!({ "name": "q", "protocol": "TCP", "port": 9090 });
    slices["ports"].as_array_mut().unwrap().push(more);
    fixture.slice(slices);
    fixture.service(service("b", OTHER));
    fixture.slice(slice("b", &["10.0.0.9"]));
    fixture.turns(3);
    assert!(fixture.0.layout.refused().all(|refused| &*refused.service.name == "a"));
    assert!(fixture.0.layout.refused().count() > 0);
    assert_eq!(fixture.ask(VIP, 80), Got::NotAService, "half a Service is none");
    assert_eq!(fixture.ask(OTHER, 80), one_of(&["10.0.0.9"]));
}

#[test]
fn what_does_not_fit_is_not_written_in_vain() {
    // Both sets are in use; the cluster set fits, the local one does not.
    let mut fixture = Fixture::new(small(5, 20));
    let mut both = service("a", VIP);
    both["spec"]["internalTrafficPolicy"] = "Local".into();
    both["spec"]["type"] = "NodePort".into();
    both["spec"]["ports"][0]["nodePort"] = 30001.into();
    fixture.service(both);
    fixture.slice(slice("a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    fixture.turns(3);
    assert_eq!(fixture.0.layout.refused().count(), 1);
    for _ in 0..3 {
        assert_eq!(fixture.turn().ops, [], "nothing to do until there is room");
    }
}

#[test]
fn a_frontend_that_moves_to_a_service_without_room_leads_to_no_other() {
    let mut fixture = Fixture::new(small(2, 20));
    fixture.service(service("a", VIP));
    fixture.slice(slice("a", &["10.0.0.1"]));
    fixture.turns(3);
    fixture.delete_service("a");
    fixture.service(service("b", VIP));
    fixture.slice(slice("b", &["10.0.0.2", "10.0.0.3", "10.0.0.4"]));
    fixture.turns(3);
    assert_eq!(fixture.0.layout.refused().count(), 1);
    assert_eq!(fixture.ask(VIP, 80), Got::NotAService, "a's endpoints are not b's");
}

#[test]
fn full_maps_of_every_kind_say_so_and_recover() {
    for (capacities, map) in [
        (Capacities { services: 1, ..small(40, 20) }, "SERVICES"),
        (small(40, 3), "FRONTENDS"),
        (small(1, 20), "BACKENDS"),
    ] {
        let mut fixture = Fixture::new(capacities);
        fixture.service(service("a", VIP));
        fixture.slice(slice("a", &["10.0.0.1"]));
        fixture.turns(3);
        fixture.service(service("b", OTHER));
        fixture.slice(slice("b", &["10.0.0.2"]));
        fixture.turns(3);
        let refused: Vec<_> = fixture.0.layout.refused().map(|r| r.why.clone()).collect();
        assert!(!refused.is_empty(), "{map}");
        assert!(refused.iter().all(|why| why.contains(map)), "{map}: {refused:?}");
        assert_eq!(fixture.ask(VIP, 80), one_of(&["10.0.0.1"]), "{map}");
        assert_eq!(fixture.ask(OTHER, 80), Got::NotAService, "{map}");
        fixture.delete_service("a");
        fixture.turns(4);
        assert_eq!(fixture.ask(OTHER, 80), one_of(&["10.0.0.2"]), "{map}");
        assert_eq!(fixture.ask(OTHER, 81), Got::UnknownPort, "{map}");
        assert!(!fixture.0.layout.pending() && fixture.0.layout.refused().count() == 0, "{map}");
    }
}

#[test]
fn adopting_what_is_right_changes_nothing() {
    let mut fixture = Fixture::new(Capacities::default());
    fixture.service(service("a", VIP));
    fixture.slice(slice("a", &["10.0.0.1", "10.0.0.2"]));
    fixture.turns(3);
    assert_eq!(fixture.0.restart().ops, []);
    assert!(!fixture.0.layout.pending());
}

#[test]
fn a_repair_forgets_what_only_a_wrong_plan_wanted() {
    let mut fixture = Fixture::new(Capacities::default());
    fixture.service(service("a", VIP));
    fixture.slice(slice("a", &["10.0.0.1"]));
    fixture.service(service("b", OTHER));
    fixture.turns(3);
    // The plan lost its way: it still holds a Service that is gone.
    fixture.delete_service("b");
    let fresh = fixture.plan_from_scratch();
    fixture.0.layout.readopt(fixture.0.kernel.image.clone(), fixture.0.now);
    fixture.0.publish(&fresh.everything());
    fixture.0.grace();
    fixture.0.now += 1_100;
    fixture.0.publish(&PlanDelta::default());
    assert_eq!(fixture.ask(OTHER, 80), Got::NotAService);
    assert_eq!(fixture.ask(OTHER, 81), Got::NotAService, "nor is its guard left");
    assert_eq!(fixture.ask(VIP, 80), one_of(&["10.0.0.1"]));
    assert_eq!(fixture.0.kernel.image.services.len(), 1);
}

#[test]
fn a_write_that_fails_anywhere_is_carried_on_from_there() {
    for successes in 0..24 {
        let mut fixture = Fixture::new(small(40, 20));
        fixture.service(service("a", VIP));
        fixture.slice(slice("a", &["10.0.0.1", "10.0.0.2"]));
        fixture.turns(2);
        fixture.0.fail_after(successes);
        let mut sticky = service("a", VIP);
        sticky["spec"]["sessionAffinity"] = "ClientIP".into();
        fixture.service(sticky);
        fixture.slice(slice("a", &["10.0.0.3"]));
        fixture.service(service("b", OTHER));
        fixture.turns(4);
        assert_eq!(fixture.ask(VIP, 80), one_of(&["10.0.0.3"]), "after {successes}");
        assert_eq!(fixture.ask(OTHER, 80), Got::Refused, "after {successes}");
        assert!(!fixture.0.layout.pending(), "after {successes}");
        fixture.assert_no_overlap("after a failure");
        fixture.delete_service("a");
        fixture.delete_service("b");
        fixture.turns(5);
        none_left(&fixture.0.kernel.image);
    }
}

#[test]
fn a_set_larger_than_a_word_can_count_is_cut_and_says_so() {
    let all: Vec<String> =
        (0..65_540u32).map(|n| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut fixture = Fixture::new(Capacities::default());
    fixture.service(service("a", VIP));
    fixture.slice(slice("a", &all));
    fixture.turn();
    assert_eq!(fixture.ask(VIP, 80), one_of(&all[..65_535]), "the first ones, whatever the order");
    let problems = fixture.0.plan.problems();
    assert!(problems.iter().any(|p| p.why.contains("only the first 65535")), "{problems:?}");
    fixture.slice(slice("a", &all[..65_535]));
    fixture.turn();
    assert!(fixture.0.plan.problems().is_empty(), "exactly as many as a word can count");
}
