use std::sync::mpsc as std_mpsc;

use serde_json::json;
use towpath_image::Attachment;
use towpath_model::Event;

use super::*;
use crate::{
    agent::Daemon,
    clock::ManualClock,
    reconcile::{self, State, Wake},
    services::fixture::{
        Fixture, lists, name, object, service, slice, slice_conditions, slice_with,
    },
};

/// What the ledger says of a Service: nothing, done, or why not.
fn outcome(fixture: &Fixture, service: &str) -> Option<Result<(), String>> {
    let key = Key { kind: Kind::Service, name: name(service) };
    fixture.runner().ledger().entry(&key).map(|entry| match &entry.outcome {
        Outcome::Done => Ok(()),
        Outcome::Failed(why) => Err(why.clone()),
    })
}

#[test]
fn a_change_that_the_kernel_refused_is_failed_until_it_is_in_force() {
    let mut fixture = Fixture::new();
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    assert_eq!(outcome(&fixture, "a"), Some(Ok(())));
    fixture.kernel.fail_after(0);
    fixture.say(vec![slice("a", &[2])]);
    let failed = outcome(&fixture, "a").unwrap().unwrap_err();
    assert!(failed.contains("no memory"), "{failed}");
    fixture.pass(Duration::from_secs(1));
    assert_eq!(outcome(&fixture, "a"), Some(Ok(())), "the retry is not later than a second");
}

#[test]
fn a_service_that_found_no_room_is_done_when_it_has_some() {
    let mut fixture = Fixture::with(towpath_image::Capacities {
        services: 2,
        ..towpath_image::Capacities::default()
    });
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    fixture.say(vec![service("b", 2), slice("b", &[2])]);
    assert!(outcome(&fixture, "b").unwrap().is_err());
    assert_eq!(outcome(&fixture, "a"), Some(Ok(())), "and no other is touched");
    fixture.say(vec![Event::Delete(Kind::Service, name("a"))]);
    fixture.pass(Duration::from_secs(4));
    assert_eq!(outcome(&fixture, "b"), Some(Ok(())));
}

/// A daemon died after the last frontend of a Service was deleted and before its record was cleared.
#[test]
fn a_record_that_nothing_leads_to_at_the_start_rests_and_is_cleared() {
    let mut fixture = Fixture::new();
    fixture.say(lists(vec![service("a", 1), service("b", 2)]));
    let kernel = fixture.kernel.clone();
    let first = kernel.maps().image.frontends.keys().next().unwrap().addr;
    kernel.maps().image.frontends.retain(|key, _| key.addr != first);
    let left = kernel.maps().image.frontends.clone();
    let mut fixture = Fixture::over(kernel);
    fixture.say(lists(vec![service("b", 2)]));
    assert_eq!(fixture.kernel.maps().image.frontends, left, "there was nothing to write");
    fixture.pass(Duration::from_secs(4));
    let led_to: BTreeSet<u32> = left.values().map(|word| word.service()).collect();
    let image = &fixture.kernel.maps().image;
    assert!(image.services.keys().all(|index| led_to.contains(index)), "{:?}", image.services);
}

#[test]
fn writes_that_fail_for_good_are_tried_less_and_less() {
    let mut fixture = Fixture::new();
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    fixture.kernel.fail_after(0);
    fixture.say(vec![slice("a", &[2])]);
    for _ in 0..150 {
        fixture.kernel.fail_after(0);
        fixture.clock.advance(Duration::from_millis(10));
        fixture.state.turn();
    }
    assert_eq!(fixture.metric("towpath_kernel_write_errors_total"), 3.0, "at 0, 0.1 and 1.1 s");
}

#[test]
fn an_answer_is_about_a_state_in_which_everything_heard_is_planned() {
    let Fixture { state, wakes, inbox, .. } = Fixture::new();
    wakes.try_send(Wake::Events(lists(vec![service("a", 1), slice("a", &[1])]))).unwrap();
    wakes.try_send(Wake::Tick).unwrap();
    let (reply, answer) = std_mpsc::channel();
    let question = move |state: &State<Daemon>| {
        let runner = state.areas().services.as_ref().unwrap();
        let differences = runner.area().plan.differences(&state.view());
        reply.send((differences, runner.is_settled())).unwrap();
    };
    wakes.try_send(Wake::Ask(Box::new(question))).unwrap();
    wakes.try_send(Wake::Stop).unwrap();
    reconcile::start(state, inbox).unwrap().join().unwrap();
    assert_eq!(answer.recv().unwrap(), (Vec::new(), true));
}

#[test]
fn changes_are_pending_until_the_kernel_has_them() {
    const SLICES: &str = "kubeproxy_sync_proxy_rules_endpoint_changes_pending";
    const SERVICES: &str = "kubeproxy_sync_proxy_rules_service_changes_pending";
    let mut fixture = Fixture::new();
    let pending = |fixture: &Fixture| (fixture.metric(SERVICES), fixture.metric(SLICES));
    let mut all = lists(vec![service("a", 1), slice("a", &[1])]);
    let last = all.pop().unwrap();
    fixture.say(all);
    assert_eq!(pending(&fixture), (1.0, 1.0), "before everything is listed");
    fixture.say(vec![last]);
    assert_eq!(pending(&fixture), (0.0, 0.0));
    fixture.kernel.fail_after(0);
    fixture.say(vec![slice("a", &[2])]);
    assert_eq!(pending(&fixture), (0.0, 1.0), "refused by the kernel");
    fixture.pass(Duration::from_millis(200));
    assert_eq!(pending(&fixture), (0.0, 0.0));
}

#[test]
fn programming_latency_counts_from_the_annotation_and_only_once_in_the_kernel() {
    const COUNT: &str = "kubeproxy_network_programming_duration_seconds_count";
    let mut fixture = Fixture::new();
    let at = |text: &str| json!({ "endpoints.kubernetes.io/last-change-trigger-time": text });
    let old = at("2020-01-01T00:00:00Z");
    fixture.say(lists(vec![service("a", 1), slice_with("a", &[1], &old)]));
    assert_eq!(fixture.metric(COUNT), 0.0, "changes of before the start do not count");
    // A clock that is ahead counts as no time at all.
    let new = at("2999-01-01T00:00:00Z");
    fixture.kernel.fail_after(0);
    fixture.say(vec![slice_with("a", &[2], &new)]);
    assert_eq!(fixture.metric(COUNT), 0.0, "the kernel does not have it");
    fixture.pass(Duration::from_millis(200));
    assert_eq!(fixture.metric(COUNT), 1.0);
    fixture.say(vec![slice_with("a", &[3], &new)]);
    assert_eq!(fixture.metric(COUNT), 1.0, "the annotation is that of the change before");
    fixture.say(vec![Event::Delete(Kind::EndpointSlice, name("a"))]);
    assert_eq!(fixture.metric(COUNT), 1.0, "nor has a deletion one of its own");
}

#[test]
fn an_endpoint_is_in_use_while_any_service_uses_it() {
    let mut fixture = Fixture::new();
    let udp = |last: u8| std::net::SocketAddr::from(([10, 0, 0, last], 5353));
    let both = lists(vec![service("a", 1), slice("a", &[1, 2]), service("b", 2), slice("b", &[1])]);
    fixture.say(both);
    assert_eq!(fixture.udp_gone.try_recv(), Ok(()), "once when everything is listed");
    fixture.say(vec![slice("a", &[2])]);
    assert!(fixture.services().udp.contains(&udp(1)), "b uses it");
    assert!(fixture.udp_gone.try_recv().is_err(), "there is nothing to look for");
    fixture.say(vec![slice("b", &[3])]);
    assert!(!fixture.services().udp.contains(&udp(1)));
    assert_eq!(fixture.udp_gone.try_recv(), Ok(()));
    // Terminating, and still serving: kube-proxy leaves such flows alone, too.
    fixture.say(vec![slice_conditions("a", 2, true), service("a", 1)]);
    assert!(fixture.services().udp.contains(&udp(2)) && fixture.udp_gone.try_recv().is_err());
    fixture.say(vec![slice_conditions("a", 2, false)]);
    assert!(!fixture.services().udp.contains(&udp(2)));
    assert_eq!(fixture.udp_gone.try_recv(), Ok(()));
    fixture.say(vec![Event::Delete(Kind::Service, name("b"))]);
    assert!(!fixture.services().udp.contains(&udp(3)), "its slices may come later");
    assert!(fixture.udp_gone.try_recv().is_ok());
}

#[test]
fn a_gone_endpoint_is_not_reported_while_the_kernel_still_sends_to_it() {
    let mut fixture = Fixture::new();
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    assert_eq!(fixture.udp_gone.try_recv(), Ok(()), "the first plan");
    fixture.kernel.fail_after(0);
    fixture.say(vec![slice("a", &[2])]);
    assert!(fixture.udp_gone.try_recv().is_err());
    fixture.pass(Duration::from_millis(200));
    assert_eq!(fixture.udp_gone.try_recv(), Ok(()));
}

#[test]
fn programs_that_were_detached_come_back_by_themselves() {
    let mut fixture = Fixture::new();
    fixture.state.tick();
    let connects =
        Attachment::of_sockets().into_iter().filter(|a| a.hook.name().starts_with("con"));
    for connect in connects {
        assert!(fixture.kernel.programs().detach(&connect));
    }
    fixture.audited(Vec::new());
    assert_eq!(fixture.kernel.programs().attached, Attachment::of_sockets());
    assert_eq!(fixture.metric("towpath_programs_reattached_total"), 2.0);
    assert_eq!(fixture.state.programs_reattached(), 2);
}

#[test]
fn health_turns_red_at_once_when_the_loop_panics() {
    let Fixture { state, wakes, inbox, vitals, .. } = Fixture::new();
    let now = ManualClock::default().now_ms();
    assert!(vitals.healthy(now) && vitals.alive(now));
    wakes.try_send(Wake::Ask(Box::new(|_| panic!("on purpose")))).unwrap();
    assert!(reconcile::start(state, inbox).unwrap().join().is_err());
    assert!(!vitals.healthy(now) && !vitals.alive(now));
}

#[test]
fn only_the_first_cluster_may_bind() {
    let mut fixture = Fixture::new();
    assert_eq!((fixture.state.bind(7), fixture.state.bind(7)), (Ok(()), Ok(())));
    let refused = fixture.state.bind(8).unwrap_err().to_string();
    assert!(
        refused.contains("another cluster") && refused.contains("towpath cleanup"),
        "{refused}"
    );
}

#[test]
fn problems_come_and_go_with_their_objects() {
    let mut fixture = Fixture::new();
    let problems = |fixture: &Fixture| fixture.problems();
    let ours = lists(vec![
        Event::Apply(object(Kind::Node, &json!({ "metadata": { "name": "n0" } }))),
        service("a", 1),
        slice("a", &[1]),
    ]);
    fixture.say(ours);
    assert_eq!(problems(&fixture), Vec::<String>::new());
    // Read around, refused when planned, contested, not understood.
    let bad = |ip: &str| {
        object(
            Kind::Service,
            &json!({
                "metadata": { "name": "b", "namespace": "d", "creationTimestamp": "2026-01-01T00:00:00Z" },
                "spec": { "clusterIPs": [ip], "ports": [{ "port": 80 }], "externalIPs": ["192.0.2.1"] },
            }),
        )
    };
    fixture.say(vec![Event::Apply(bad("10.96.0.01"))]);
    let said = problems(&fixture).join("\n");
    for wanted in ["10.96.0.01", "192.0.2.1", "already belongs"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    fixture.say(vec![Event::Delete(Kind::Service, name("b"))]);
    assert_eq!(problems(&fixture), Vec::<String>::new());
    fixture.kernel.fail_after(0);
    fixture.say(vec![slice("a", &[2])]);
    let said = problems(&fixture).join("\n");
    assert!(said.contains("Service d/a: writing failed on map FRONTENDS: no memory"), "{said}");
}
