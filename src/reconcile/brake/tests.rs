use std::{ops::Range, sync::mpsc as std_mpsc};

use serde_json::json;
use towpath_image::ServiceImage;
use towpath_model::{Event, Key, Kind, Problem, Relist};

use crate::reconcile::{
    desk::{Desk, lists, name, object, service, slice},
    status,
};

/// Services s00 .. with a slice each.
fn services(range: Range<u8>) -> Vec<Event> {
    range.map(|n| service(&format!("s{n:02}"), n)).collect()
}

fn slices(range: Range<u8>) -> Vec<Event> {
    range.map(|n| slice(&format!("s{n:02}"), &[n])).collect()
}

/// One kind's list; the Nodes' is always whole.
fn list(kind: Kind, objects: Vec<Event>) -> Vec<Event> {
    [vec![Event::Init(kind.into())], objects, vec![Event::InitDone(kind.into())]].concat()
}

/// 80 Services with endpoints in the kernel, and a new daemon that heard nothing yet.
fn restarted() -> Desk {
    let mut desk = Desk::new();
    desk.say(lists([services(1..81), slices(1..81)].concat()));
    Desk::over(desk.kernel)
}

/// How many frontends there are, and how many records with a backend.
fn held(desk: &Desk) -> (usize, usize) {
    count(&desk.kernel.hand().image)
}

fn count(image: &ServiceImage) -> (usize, usize) {
    let filled = image.services.values().filter(|record| record.sets[0].count() > 0);
    (image.frontends.len(), filled.count())
}

fn asked(desk: &mut Desk) -> Vec<Kind> {
    let mut kinds = Vec::new();
    while let Ok(Relist(stream)) = desk.relists.try_recv() {
        kinds.push(stream.kind);
    }
    kinds.sort();
    kinds
}

fn problems(desk: &Desk) -> String {
    status(&desk.state).problems.join("\n")
}

/// Two ports and a guard each, two records each.
const FULL: (usize, usize) = (240, 160);

#[test]
fn a_first_list_without_slices_empties_nothing_before_a_second_one_agrees() {
    let mut desk = restarted();
    desk.say(lists([services(1..81), slices(1..11)].concat()));
    assert_eq!((held(&desk), asked(&mut desk)), (FULL, vec![Kind::EndpointSlice]));
    let said = problems(&desk);
    assert!(
        said.contains("EndpointSlice: the first list after the start would remove 140"),
        "{said}"
    );
    assert!(
        said.contains("Service d/s11: the first list after the start has no endpoint"),
        "{said}"
    );
    assert!(!desk.state.layout.pending(), "nothing that health need turn red for");
    // New Services, new endpoints: published.
    desk.say(vec![service("new", 200), slice("new", &[200]), slice("s01", &[101])]);
    assert_eq!(held(&desk), (243, 162));
    desk.say(list(Kind::EndpointSlice, slices(1..11)));
    assert_eq!(
        (held(&desk), asked(&mut desk)),
        ((243, 20), vec![]),
        "also what the list lacks: new"
    );
    assert!(!problems(&desk).contains("first list"), "{}", problems(&desk));
}

#[test]
fn a_first_list_without_services_removes_nothing_before_a_second_one_agrees() {
    let mut desk = restarted();
    desk.say(lists([services(1..11), slices(1..81)].concat()));
    assert_eq!((held(&desk), asked(&mut desk)), (FULL, vec![Kind::Service, Kind::EndpointSlice]));
    desk.say(list(Kind::Service, services(1..11)));
    assert_eq!(held(&desk), FULL, "both were asked for");
    desk.say(list(Kind::EndpointSlice, slices(1..81)));
    assert_eq!((held(&desk).0, asked(&mut desk)), (30, vec![]));
}

#[test]
fn a_fuller_second_list_brings_everything_back_without_a_write() {
    let mut desk = restarted();
    let before = desk.kernel.hand().image.clone();
    desk.say(lists(slices(1..81)));
    desk.say(list(Kind::Service, services(1..81)));
    desk.say(list(Kind::EndpointSlice, slices(1..81)));
    assert_eq!(desk.kernel.hand().image, before);
    assert!(
        !desk.state.brake.holds() && !problems(&desk).contains("first list"),
        "{}",
        problems(&desk)
    );
    desk.say(list(Kind::Service, services(1..80)));
    assert_eq!(held(&desk).0, 237, "later lists are compared by the store");
}

#[test]
fn a_second_list_that_lacks_other_objects_does_not_agree() {
    let mut desk = restarted();
    desk.say(lists(services(1..81)));
    assert_eq!(asked(&mut desk), [Kind::EndpointSlice]);
    desk.say(list(Kind::EndpointSlice, slices(1..6)));
    assert_eq!(asked(&mut desk), [], "it lacks less");
    let mut desk = restarted();
    desk.say(lists([services(1..81), slices(1..41)].concat()));
    assert_eq!(asked(&mut desk), [Kind::EndpointSlice]);
    let other_half = [
        list(Kind::EndpointSlice, slices(41..81)),
        (1..41).map(|n| Event::Delete(Kind::EndpointSlice, name(&format!("s{n:02}")))).collect(),
    ];
    desk.say(other_half.concat());
    assert_eq!(held(&desk), (240, 80), "what was heard and then went is no loss of the start's");
    assert_eq!(asked(&mut desk), []);
}

#[test]
fn little_goes_at_once() {
    let mut desk = restarted();
    desk.say(lists([services(1..65), slices(1..65)].concat()));
    assert_eq!((held(&desk).0, asked(&mut desk)), (192, vec![]), "48 of 240");
    let mut desk = Desk::new();
    desk.say(lists(Vec::new()));
    assert_eq!(asked(&mut desk), [], "nothing was there");
}

#[test]
fn a_daemon_that_dies_while_it_waits_loses_nothing() {
    let mut desk = restarted();
    desk.say(lists(Vec::new()));
    for _ in 0..2 {
        desk = Desk::over(desk.kernel);
        desk.say(lists(Vec::new()));
        assert_eq!((held(&desk), asked(&mut desk).len()), (FULL, 2));
    }
    // Nor one whose writes fail, or whose audit found something.
    desk.kernel.fail_after(0);
    desk.say(vec![service("new", 200)]);
    desk.say(vec![service("newer", 201)]);
    desk.state.audited(crate::reconcile::Finding { at_ms: 0, differences: vec!["x".into()] });
    std::thread::sleep(std::time::Duration::from_millis(150));
    desk.state.turn();
    assert_eq!(held(&desk), (246, 160));
}

#[test]
fn a_source_that_does_not_listen_is_told_again() {
    let mut desk = restarted();
    let (relists, mut source) = tokio::sync::mpsc::channel(1);
    desk.state.effects.relists = relists;
    desk.say(lists(Vec::new()));
    assert_eq!(source.try_recv(), Ok(Relist(Kind::Service.into())));
    assert!(source.try_recv().is_err(), "it was full");
    desk.state.tick();
    assert_eq!(source.try_recv(), Ok(Relist(Kind::EndpointSlice.into())));
    desk.state.tick();
    assert!(source.try_recv().is_err(), "once");
}

#[test]
fn sockets_are_looked_at_once_the_lists_are_believed() {
    let mut desk = restarted();
    let (told, tells) = std_mpsc::sync_channel(1);
    desk.state.effects.udp_gone = Some(told);
    desk.say(lists(services(1..81)));
    assert!(tells.try_recv().is_err(), "their endpoints may be alive");
    desk.say(list(Kind::EndpointSlice, Vec::new()));
    assert_eq!(tells.try_recv(), Ok(()));
}

fn bad(kind: Kind, object: &str) -> Event {
    let key = Key { kind, name: name(object) };
    Event::Bad(key.clone(), Problem::new(Some(key), "spec", "not understood", "mend it"))
}

#[test]
fn what_an_unreadable_service_had_before_the_start_stays_until_it_is_read_or_deleted() {
    let start = |mended: Vec<Event>| {
        let mut desk = restarted();
        // Another one went while no daemon was there: nobody can tell whose its frontends are.
        desk.say(lists([services(1..79), slices(1..81), vec![bad(Kind::Service, "s79")]].concat()));
        assert_eq!(held(&desk), FULL);
        let said = problems(&desk);
        assert!(said.contains("Service d/s79: it could not be read since the start"), "{said}");
        assert!(said.contains("6 frontends"), "{said}");
        assert!(!desk.state.layout.pending());
        desk.say(vec![Event::Delete(Kind::Service, name("s01"))]);
        assert_eq!(held(&desk).0, 237, "what was planned goes as ever");
        desk.say(mended);
        assert!(!problems(&desk).contains("since the start"), "{}", problems(&desk));
        held(&desk).0
    };
    assert_eq!(start(vec![service("s79", 79)]), 234);
    assert_eq!(start(vec![Event::Delete(Kind::Service, name("s79"))]), 231);
}

#[test]
fn a_service_takes_over_an_address_that_is_only_held() {
    let mut desk = restarted();
    desk.say(lists([services(1..80), slices(1..81), vec![bad(Kind::Service, "s80")]].concat()));
    desk.say(vec![service("next", 80), slice("next", &[7])]);
    let image = desk.kernel.hand().image.clone();
    let key = desk.state.plan.service(&name("next")).unwrap().ports[0].frontends[0].key;
    let index = image.frontends[&key].service();
    assert_eq!(image.extent(image.services[&index].sets[0]).len(), 1);
    assert_eq!(
        Some(index),
        desk.state.layout.index_of(desk.state.plan.owner(&key).unwrap().identity)
    );
}

#[test]
fn endpoints_of_an_unreadable_slice_stay_until_it_is_read_or_deleted() {
    let start = |mended: Event| {
        let mut desk = Desk::new();
        let all =
            [services(1..4), vec![slice("s01", &[1]), slice("s02", &[2]), slice("s03", &[3])]];
        desk.say(lists(all.concat()));
        let mut desk = Desk::over(desk.kernel);
        // Of s02 there is only a slice that nobody can read; s03 has none any more.
        desk.say(lists(
            [services(1..4), vec![slice("s01", &[1]), bad(Kind::EndpointSlice, "s02-x7k")]]
                .concat(),
        ));
        assert_eq!(held(&desk), (9, 4), "s03 has no endpoints; that is certain");
        let said = problems(&desk);
        assert!(said.contains("Service d/s02: an EndpointSlice of it cannot be read"), "{said}");
        assert!(!desk.state.layout.pending() && !said.contains("s03"), "{said}");
        desk.say(vec![mended]);
        assert!(!problems(&desk).contains("s02"), "{}", problems(&desk));
        held(&desk)
    };
    let read = object(
        Kind::EndpointSlice,
        &json!({
            "metadata": { "name": "s02-x7k", "namespace": "d",
                          "labels": { "kubernetes.io/service-name": "s02" } },
            "addressType": "IPv4", "endpoints": [{ "addresses": ["10.0.0.2"] }],
            "ports": [{ "name": "t", "protocol": "TCP", "port": 8080 }],
        }),
    );
    assert_eq!(start(Event::Apply(read)), (9, 3), "one port of two");
    assert_eq!(start(Event::Delete(Kind::EndpointSlice, name("s02-x7k"))), (9, 2));
}

#[test]
fn a_readable_slice_is_more_than_what_was_there_before_the_start() {
    let mut desk = Desk::new();
    desk.say(lists(vec![service("a", 1), slice("a", &[1, 2])]));
    let mut desk = Desk::over(desk.kernel);
    desk.say(lists(vec![service("a", 1), slice("a", &[3]), bad(Kind::EndpointSlice, "a-x")]));
    let image = desk.kernel.hand().image.clone();
    let ends: Vec<usize> = image.services.values().map(|r| image.extent(r.sets[0]).len()).collect();
    assert_eq!(ends, [1, 1]);
}

/// The slice SERVICE with TCP endpoints only.
fn tcp_slice(service: &str, last: u8, labels: &serde_json::Value) -> Event {
    Event::Apply(object(
        Kind::EndpointSlice,
        &json!({
            "metadata": { "name": service, "namespace": "d", "labels": labels },
            "addressType": "IPv4", "endpoints": [{ "addresses": [format!("10.0.0.{last}")] }],
            "ports": [{ "name": "t", "protocol": "TCP", "port": 8080 }],
        }),
    ))
}

#[test]
fn a_port_that_is_held_leaves_the_others_alone() {
    let mut desk = Desk::new();
    desk.say(lists(vec![service("a", 1), slice("a", &[1])]));
    let mut desk = Desk::over(desk.kernel);
    let label = json!({ "kubernetes.io/service-name": "a" });
    let first = [1, 2].map(|last| tcp_slice("a", last, &label));
    let [same, other] = first;
    desk.say(lists(vec![service("a", 1), same, bad(Kind::EndpointSlice, "a-x")]));
    assert!(problems(&desk).contains("cannot be read"), "UDP had endpoints: {}", problems(&desk));
    desk.say(vec![other]);
    let image = desk.kernel.hand().image.clone();
    let mut ends: Vec<(String, u16)> = image
        .services
        .values()
        .flat_map(|record| image.extent(record.sets[0]))
        .map(|end| (std::net::IpAddr::from(end.addr).to_string(), u16::from_be(end.port)))
        .collect();
    ends.sort();
    assert_eq!(ends, [("10.0.0.1".into(), 5353), ("10.0.0.2".into(), 8080)], "TCP has moved on");
}

#[test]
fn a_slice_that_names_no_service_holds_nothing() {
    let mut desk = Desk::new();
    desk.say(lists(vec![service("a", 1), slice("a", &[1])]));
    let mut desk = Desk::over(desk.kernel);
    let value = json!({
        "metadata": { "name": "a-imported", "namespace": "d" },
        "addressType": "IPv4", "endpoints": [], "ports": [],
    });
    let bad = towpath_model::decode(Kind::EndpointSlice, value.to_string().as_bytes()).unwrap_err();
    let foreign = Event::Bad(*bad.key.unwrap(), *bad.problem);
    desk.say(lists(vec![service("a", 1), foreign]));
    assert_eq!(held(&desk).1, 0, "it was read: it is no slice of a");
}
