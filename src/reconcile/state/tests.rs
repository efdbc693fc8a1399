use serde_json::json;
use towpath_image::{Attachment, Programs as _};

use super::*;
use crate::reconcile::{
    Outcome, Wake,
    desk::{Desk, lists, name, object, service, slice, slice_conditions, slice_with},
};

/// What the ledger says of a Service: nothing, done, or why not.
fn outcome(desk: &Desk, service: &str) -> Option<Result<(), String>> {
    desk.state.ledger.entry(&name(service)).map(|entry| match &entry.outcome {
        Outcome::Done => Ok(()),
        Outcome::Failed(why) => Err(why.clone()),
    })
}

#[test]
fn a_change_that_the_kernel_refused_is_failed_until_it_is_in_force() {
    let mut desk = Desk::new();
    desk.say(lists(vec![service("a", 1), slice("a", &[1])]));
    assert_eq!(outcome(&desk, "a"), Some(Ok(())));
    desk.kernel.fail_after(0);
    desk.say(vec![slice("a", &[2])]);
    let failed = outcome(&desk, "a").unwrap().unwrap_err();
    assert!(failed.contains("no memory"), "{failed}");
    let deadline = Instant::now() + Duration::from_millis(1_200);
    while outcome(&desk, "a") != Some(Ok(())) {
        assert!(Instant::now() < deadline, "the retry is not later than a second");
        desk.state.tick();
        desk.state.turn();
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_service_that_found_no_room_is_done_when_it_has_some() {
    let mut desk = Desk::with(towpath_image::Capacities {
        services: 2,
        ..towpath_image::Capacities::default()
    });
    desk.say(lists(vec![service("a", 1), slice("a", &[1])]));
    desk.say(vec![service("b", 2), slice("b", &[2])]);
    assert!(outcome(&desk, "b").unwrap().is_err());
    assert_eq!(outcome(&desk, "a"), Some(Ok(())), "and nobody else is touched");
    desk.say(vec![Event::Delete(Kind::Service, name("a"))]);
    let deadline = Instant::now() + Duration::from_secs(5);
    while outcome(&desk, "b") != Some(Ok(())) {
        assert!(Instant::now() < deadline, "{:?}", outcome(&desk, "b"));
        desk.state.tick();
        while let Ok(Wake::Graced(began)) = desk.inbox.try_recv() {
            desk.state.graced(began);
        }
        desk.state.turn();
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn writes_that_fail_for_good_are_tried_less_and_less() {
    let mut desk = Desk::new();
    desk.say(lists(vec![service("a", 1), slice("a", &[1])]));
    let began = Instant::now();
    let mut turns = 0;
    desk.kernel.fail_after(0);
    desk.say(vec![slice("a", &[2])]);
    while began.elapsed() < Duration::from_millis(1_500) {
        desk.kernel.fail_after(0);
        desk.state.turn();
        turns += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    let failures = desk.metric("towpath_kernel_write_errors_total");
    assert!((2.0..=4.0).contains(&failures), "{failures} attempts in {turns} turns");
}

#[test]
fn an_answer_is_about_a_state_in_which_everything_heard_is_planned() {
    let Desk { state, wakes, inbox, .. } = Desk::new();
    wakes.try_send(Wake::Events(lists(vec![service("a", 1), slice("a", &[1])]))).unwrap();
    wakes.try_send(Wake::Tick).unwrap();
    let (reply, answer) = std_mpsc::channel();
    let question = move |state: &State| {
        let differences = state.plan.differences(&state.store.view());
        reply.send((differences, state.is_settled())).unwrap();
    };
    wakes.try_send(Wake::Ask(Box::new(question))).unwrap();
    wakes.try_send(Wake::Stop).unwrap();
    crate::reconcile::start(state, inbox).unwrap().join().unwrap();
    assert_eq!(answer.recv().unwrap(), (Vec::new(), true));
}

#[test]
fn changes_are_pending_until_the_kernel_has_them() {
    const SLICES: &str = "kubeproxy_sync_proxy_rules_endpoint_changes_pending";
    const SERVICES: &str = "kubeproxy_sync_proxy_rules_service_changes_pending";
    let mut desk = Desk::new();
    let pending = |desk: &Desk| (desk.metric(SERVICES), desk.metric(SLICES));
    let mut all = lists(vec![service("a", 1), slice("a", &[1])]);
    let last = all.pop().unwrap();
    desk.say(all);
    assert_eq!(pending(&desk), (1.0, 1.0), "before everything is listed");
    desk.say(vec![last]);
    assert_eq!(pending(&desk), (0.0, 0.0));
    desk.kernel.fail_after(0);
    desk.say(vec![slice("a", &[2])]);
    assert_eq!(pending(&desk), (0.0, 1.0), "refused by the kernel");
    std::thread::sleep(Duration::from_millis(150));
    desk.state.turn();
    assert_eq!(pending(&desk), (0.0, 0.0));
}

#[test]
fn programming_latency_counts_from_the_annotation_and_only_once_in_the_kernel() {
    const COUNT: &str = "kubeproxy_network_programming_duration_seconds_count";
    let mut desk = Desk::new();
    let at = |text: &str| json!({ "endpoints.kubernetes.io/last-change-trigger-time": text });
    let old = at("2020-01-01T00:00:00Z");
    desk.say(lists(vec![service("a", 1), slice_with("a", &[1], &old)]));
    assert_eq!(desk.metric(COUNT), 0.0, "changes of before the start do not count");
    // A clock that is ahead counts as no time at all.
    let new = at("2999-01-01T00:00:00Z");
    desk.kernel.fail_after(0);
    desk.say(vec![slice_with("a", &[2], &new)]);
    assert_eq!(desk.metric(COUNT), 0.0, "the kernel does not have it");
    std::thread::sleep(Duration::from_millis(150));
    desk.state.turn();
    assert_eq!(desk.metric(COUNT), 1.0);
    desk.say(vec![slice_with("a", &[3], &new)]);
    assert_eq!(desk.metric(COUNT), 1.0, "the annotation is that of the change before");
    desk.say(vec![Event::Delete(Kind::EndpointSlice, name("a"))]);
    assert_eq!(desk.metric(COUNT), 1.0, "nor has a deletion one of its own");
}

#[test]
fn an_endpoint_is_in_use_while_any_service_uses_it() {
    let mut desk = Desk::new();
    let udp = |last: u8| std::net::SocketAddr::from(([10, 0, 0, last], 5353));
    let both = lists(vec![service("a", 1), slice("a", &[1, 2]), service("b", 2), slice("b", &[1])]);
    let (told, tells) = std_mpsc::sync_channel(1);
    desk.state.effects.udp_gone = Some(told);
    desk.say(both);
    assert_eq!(tells.try_recv(), Ok(()), "once when everything is listed");
    desk.say(vec![slice("a", &[2])]);
    assert!(desk.state.udp.contains(&udp(1)), "b uses it");
    assert!(tells.try_recv().is_err(), "nobody need look");
    desk.say(vec![slice("b", &[3])]);
    assert!(!desk.state.udp.contains(&udp(1)));
    assert_eq!(tells.try_recv(), Ok(()));
    // Terminating, and still serving: kube-proxy leaves such flows alone, too.
    desk.say(vec![slice_conditions("a", 2, true), service("a", 1)]);
    assert!(desk.state.udp.contains(&udp(2)) && tells.try_recv().is_err());
    desk.say(vec![slice_conditions("a", 2, false)]);
    assert!(!desk.state.udp.contains(&udp(2)));
    assert_eq!(tells.try_recv(), Ok(()));
    desk.say(vec![Event::Delete(Kind::Service, name("b"))]);
    assert!(!desk.state.udp.contains(&udp(3)), "its slices may come later");
    assert!(tells.try_recv().is_ok());
}

#[test]
fn nobody_is_told_of_a_gone_endpoint_that_the_kernel_still_sends_to() {
    let mut desk = Desk::new();
    desk.say(lists(vec![service("a", 1), slice("a", &[1])]));
    let (told, tells) = std_mpsc::sync_channel(1);
    desk.state.effects.udp_gone = Some(told);
    desk.kernel.fail_after(0);
    desk.say(vec![slice("a", &[2])]);
    assert!(tells.try_recv().is_err());
    std::thread::sleep(Duration::from_millis(150));
    desk.state.turn();
    assert_eq!(tells.try_recv(), Ok(()));
}

#[test]
fn programs_that_were_detached_come_back_by_themselves() {
    let mut desk = Desk::new();
    desk.state.tick();
    let wanted = Attachment::of_sockets();
    desk.kernel.programs().attach(&wanted);
    desk.kernel.programs().attached.retain(|what| !what.hook.name().starts_with("connect"));
    desk.state.audited(Finding::default());
    assert_eq!(desk.kernel.programs().attached, wanted);
    assert_eq!(desk.metric("towpath_programs_reattached_total"), 2.0);
    assert_eq!(desk.state.guard.reattached(), 2);
}

#[test]
fn health_turns_red_at_once_when_the_loop_panics() {
    let Desk { state, wakes, inbox, vitals, .. } = Desk::new();
    let now = Clock::start().now_ms();
    assert!(vitals.healthy(now) && vitals.alive(now));
    wakes.try_send(Wake::Ask(Box::new(|_| panic!("on purpose")))).unwrap();
    assert!(crate::reconcile::start(state, inbox).unwrap().join().is_err());
    assert!(!vitals.healthy(now) && !vitals.alive(now));
}

#[test]
fn only_the_first_cluster_may_bind() {
    let mut desk = Desk::new();
    assert_eq!((desk.state.bind(7), desk.state.bind(7)), (Ok(()), Ok(())));
    let refused = desk.state.bind(8).unwrap_err().to_string();
    assert!(
        refused.contains("another cluster") && refused.contains("towpath cleanup"),
        "{refused}"
    );
}

#[test]
fn problems_come_and_go_with_their_objects() {
    let mut desk = Desk::new();
    let problems = |desk: &Desk| crate::reconcile::status(&desk.state).problems;
    let ours = lists(vec![
        Event::Apply(object(Kind::Node, &json!({ "metadata": { "name": "n0" } }))),
        service("a", 1),
        slice("a", &[1]),
    ]);
    desk.say(ours);
    assert_eq!(problems(&desk), Vec::<String>::new());
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
    desk.say(vec![Event::Apply(bad("10.96.0.01"))]);
    let said = problems(&desk).join("\n");
    for wanted in ["10.96.0.01", "192.0.2.1", "already belongs"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    desk.say(vec![Event::Delete(Kind::Service, name("b"))]);
    assert_eq!(problems(&desk), Vec::<String>::new());
    desk.kernel.fail_after(0);
    desk.say(vec![slice("a", &[2])]);
    let said = problems(&desk).join("\n");
    assert!(said.contains("Service d/a: writing failed on map FRONTENDS: no memory"), "{said}");
}
