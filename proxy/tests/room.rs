//! What sockets get while maps are full: a Service comes in whole or stays as it was.
//!
//! One scenario per promise. Objects go in as JSON, answers are the kernel's own decisions.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "room/bench.rs"]
mod bench;

use bench::{Bench, Got, none_left, one_of, service, slice};
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
    let mut bench = Bench::new(small(4, 20));
    bench.service(service("a", VIP));
    bench.slice(slice("a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    bench.turns(3);
    assert_eq!(bench.ask(VIP, 80), one_of(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    // Another policy and more endpoints than there is room for, at once.
    let mut local = service("a", VIP);
    local["spec"]["internalTrafficPolicy"] = "Local".into();
    bench.service(local);
    bench.slice(slice("a", &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]));
    bench.turns(3);
    assert_eq!(bench.layout.refused().count(), 1);
    assert_eq!(bench.ask(VIP, 80), one_of(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), "as before");
    bench.slice(slice("a", &["10.0.0.7"]));
    bench.turns(3);
    assert_eq!((bench.ask(VIP, 80), bench.layout.refused().count()), (one_of(&["10.0.0.7"]), 0));
}

#[test]
fn a_service_that_never_fit_is_left_alone_as_a_whole() {
    let mut bench = Bench::new(small(2, 20));
    bench.service(service("a", VIP));
    bench.slice(slice("a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    bench.turns(3);
    let refused: Vec<_> = bench.layout.refused().collect();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].why.contains("BACKENDS"), "{}", refused[0].why);
    assert_eq!(bench.ask(VIP, 80), Got::NotAService, "not even the refusal of unknown ports");
    bench.slice(slice("a", &["10.0.0.1"]));
    bench.turns(3);
    assert_eq!((bench.ask(VIP, 80), bench.ask(VIP, 81)), (one_of(&["10.0.0.1"]), Got::UnknownPort));
}

#[test]
fn a_service_with_one_port_too_many_is_refused_whole_and_others_go_on() {
    let mut bench = Bench::new(small(3, 20));
    let mut two = service("a", VIP);
    let more = json!({ "name": "q", "protocol": "TCP", "port": 81 });
    two["spec"]["ports"].as_array_mut().unwrap().push(more);
    bench.service(two);
    let mut slices = slice("a", &["10.0.0.1", "10.0.0.2"]);
    let more = json!({ "name": "q", "protocol": "TCP", "port": 9090 });
    slices["ports"].as_array_mut().unwrap().push(more);
    bench.slice(slices);
    bench.service(service("b", OTHER));
    bench.slice(slice("b", &["10.0.0.9"]));
    bench.turns(3);
    assert!(bench.layout.refused().all(|refused| &*refused.service.name == "a"));
    assert!(bench.layout.refused().count() > 0);
    assert_eq!(bench.ask(VIP, 80), Got::NotAService, "half a Service is none");
    assert_eq!(bench.ask(OTHER, 80), one_of(&["10.0.0.9"]));
}

#[test]
fn what_does_not_fit_is_not_written_in_vain() {
    // Both sets are in use; the cluster set fits, the local one does not.
    let mut bench = Bench::new(small(5, 20));
    let mut both = service("a", VIP);
    both["spec"]["internalTrafficPolicy"] = "Local".into();
    both["spec"]["type"] = "NodePort".into();
    both["spec"]["ports"][0]["nodePort"] = 30001.into();
    bench.service(both);
    bench.slice(slice("a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]));
    bench.turns(3);
    assert_eq!(bench.layout.refused().count(), 1);
    for _ in 0..3 {
        assert_eq!(bench.turn().ops, [], "nothing to do until there is room");
    }
}

#[test]
fn a_frontend_that_moves_to_a_service_without_room_leads_to_nobody_else() {
    let mut bench = Bench::new(small(2, 20));
    bench.service(service("a", VIP));
    bench.slice(slice("a", &["10.0.0.1"]));
    bench.turns(3);
    bench.delete_service("a");
    bench.service(service("b", VIP));
    bench.slice(slice("b", &["10.0.0.2", "10.0.0.3", "10.0.0.4"]));
    bench.turns(3);
    assert_eq!(bench.layout.refused().count(), 1);
    assert_eq!(bench.ask(VIP, 80), Got::NotAService, "a's endpoints are not b's");
}

#[test]
fn full_maps_of_every_kind_say_so_and_recover() {
    for (capacities, map) in [
        (Capacities { services: 1, ..small(40, 20) }, "SERVICES"),
        (small(40, 3), "FRONTENDS"),
        (small(1, 20), "BACKENDS"),
    ] {
        let mut bench = Bench::new(capacities);
        bench.service(service("a", VIP));
        bench.slice(slice("a", &["10.0.0.1"]));
        bench.turns(3);
        bench.service(service("b", OTHER));
        bench.slice(slice("b", &["10.0.0.2"]));
        bench.turns(3);
        let refused: Vec<_> = bench.layout.refused().map(|r| r.why.clone()).collect();
        assert!(!refused.is_empty(), "{map}");
        assert!(refused.iter().all(|why| why.contains(map)), "{map}: {refused:?}");
        assert_eq!(bench.ask(VIP, 80), one_of(&["10.0.0.1"]), "{map}");
        assert_eq!(bench.ask(OTHER, 80), Got::NotAService, "{map}");
        bench.delete_service("a");
        bench.turns(4);
        assert_eq!(bench.ask(OTHER, 80), one_of(&["10.0.0.2"]), "{map}");
        assert_eq!(bench.ask(OTHER, 81), Got::UnknownPort, "{map}");
        assert!(!bench.layout.pending() && bench.layout.refused().count() == 0, "{map}");
    }
}

#[test]
fn adopting_what_is_right_changes_nothing() {
    let mut bench = Bench::new(Capacities::default());
    bench.service(service("a", VIP));
    bench.slice(slice("a", &["10.0.0.1", "10.0.0.2"]));
    bench.turns(3);
    assert_eq!(bench.restart().ops, []);
    assert!(!bench.layout.pending());
}

#[test]
fn a_repair_forgets_what_only_a_wrong_plan_wanted() {
    let mut bench = Bench::new(Capacities::default());
    bench.service(service("a", VIP));
    bench.slice(slice("a", &["10.0.0.1"]));
    bench.service(service("b", OTHER));
    bench.turns(3);
    // The plan lost its way: it still holds a Service that is gone.
    bench.delete_service("b");
    let fresh = bench.plan_from_scratch();
    bench.layout.readopt(bench.kernel.image.clone(), bench.now);
    bench.publish(&fresh.everything());
    bench.layout.graced(bench.now + 1);
    bench.now += 1_100;
    bench.publish(&PlanDelta::default());
    assert_eq!(bench.ask(OTHER, 80), Got::NotAService);
    assert_eq!(bench.ask(OTHER, 81), Got::NotAService, "nor is its guard left");
    assert_eq!(bench.ask(VIP, 80), one_of(&["10.0.0.1"]));
    assert_eq!(bench.kernel.image.services.len(), 1);
}

#[test]
fn a_write_that_fails_anywhere_is_carried_on_from_there() {
    for successes in 0..24 {
        let mut bench = Bench::new(small(40, 20));
        bench.service(service("a", VIP));
        bench.slice(slice("a", &["10.0.0.1", "10.0.0.2"]));
        bench.turns(2);
        bench.fail_after(successes);
        let mut sticky = service("a", VIP);
        sticky["spec"]["sessionAffinity"] = "ClientIP".into();
        bench.service(sticky);
        bench.slice(slice("a", &["10.0.0.3"]));
        bench.service(service("b", OTHER));
        bench.turns(4);
        assert_eq!(bench.ask(VIP, 80), one_of(&["10.0.0.3"]), "after {successes}");
        assert_eq!(bench.ask(OTHER, 80), Got::Refused, "after {successes}");
        assert!(!bench.layout.pending(), "after {successes}");
        bench.assert_no_overlap("after a failure");
        bench.delete_service("a");
        bench.delete_service("b");
        bench.turns(5);
        none_left(&bench.kernel.image);
    }
}

#[test]
fn a_set_larger_than_a_word_can_count_is_cut_and_says_so() {
    let all: Vec<String> =
        (0..65_540u32).map(|n| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut bench = Bench::new(Capacities::default());
    bench.service(service("a", VIP));
    bench.slice(slice("a", &all));
    bench.turn();
    assert_eq!(bench.ask(VIP, 80), one_of(&all[..65_535]), "the first ones, whatever the order");
    let problems = bench.plan.problems();
    assert!(problems.iter().any(|p| p.why.contains("only the first 65535")), "{problems:?}");
    bench.slice(slice("a", &all[..65_535]));
    bench.turn();
    assert!(bench.plan.problems().is_empty(), "exactly as many as a word can count");
}
