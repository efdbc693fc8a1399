use std::{ops::Range, time::Duration};

use serde_json::json;
use towpath_image::ServiceImage;
use towpath_model::{Code, Event, Key, Kind, Problem, Relist};

use crate::services::fixture::{Fixture, list, lists, name, object, service, slice};

/// Services s00 .. with a slice each.
fn services(range: Range<u8>) -> Vec<Event> {
    range.map(|n| service(&format!("s{n:02}"), n)).collect()
}

fn slices(range: Range<u8>) -> Vec<Event> {
    range.map(|n| slice(&format!("s{n:02}"), &[n])).collect()
}

/// 80 Services with endpoints in the kernel, and a new daemon that heard nothing yet.
fn restarted() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.say(lists([services(1..81), slices(1..81)].concat()));
    Fixture::over(fixture.kernel)
}

/// How many frontends there are, and how many records with a backend.
fn held(fixture: &Fixture) -> (usize, usize) {
    count(&fixture.kernel.maps().image)
}

fn count(image: &ServiceImage) -> (usize, usize) {
    let filled = image.services.values().filter(|record| record.sets[0].count() > 0);
    (image.frontends.len(), filled.count())
}

fn asked(fixture: &mut Fixture) -> Vec<Kind> {
    let mut kinds = Vec::new();
    while let Ok(Relist(stream)) = fixture.relists.try_recv() {
        kinds.push(stream.kind);
    }
    kinds.sort();
    kinds
}

fn problems(fixture: &Fixture) -> String {
    fixture.problems().join("\n")
}

/// Two ports and a guard each, two records each.
const FULL: (usize, usize) = (240, 160);

#[test]
fn a_first_list_without_slices_empties_nothing_before_a_second_one_agrees() {
    let mut fixture = restarted();
    fixture.say(lists([services(1..81), slices(1..11)].concat()));
    assert_eq!((held(&fixture), asked(&mut fixture)), (FULL, vec![Kind::EndpointSlice]));
    let said = problems(&fixture);
    assert!(
        said.contains("EndpointSlice: the first list after the start would remove 140"),
        "{said}"
    );
    assert!(
        said.contains("Service d/s11: the first list after the start has no endpoint"),
        "{said}"
    );
    assert!(!fixture.runner().is_pending(), "nothing that health need turn red for");
    // New Services, new endpoints: published.
    fixture.say(vec![service("new", 200), slice("new", &[200]), slice("s01", &[101])]);
    assert_eq!(held(&fixture), (243, 162));
    fixture.say(list(Kind::EndpointSlice, slices(1..11)));
    assert_eq!(
        (held(&fixture), asked(&mut fixture)),
        ((243, 20), vec![]),
        "also what the list lacks: new"
    );
    assert!(!problems(&fixture).contains("first list"), "{}", problems(&fixture));
}

#[test]
fn a_first_list_without_services_removes_nothing_before_a_second_one_agrees() {
    let mut fixture = restarted();
    fixture.say(lists([services(1..11), slices(1..81)].concat()));
    assert_eq!(
        (held(&fixture), asked(&mut fixture)),
        (FULL, vec![Kind::Service, Kind::EndpointSlice])
    );
    fixture.say(list(Kind::Service, services(1..11)));
    assert_eq!(held(&fixture), FULL, "both were asked for");
    fixture.say(list(Kind::EndpointSlice, slices(1..81)));
    assert_eq!((held(&fixture).0, asked(&mut fixture)), (30, vec![]));
}

#[test]
fn a_fuller_second_list_brings_everything_back_without_a_write() {
    let mut fixture = restarted();
    let before = fixture.kernel.maps().image.clone();
    fixture.say(lists(slices(1..81)));
    fixture.say(list(Kind::Service, services(1..81)));
    fixture.say(list(Kind::EndpointSlice, slices(1..81)));
    assert_eq!(fixture.kernel.maps().image, before);
    assert!(
        !fixture.services().doubts_lists() && !problems(&fixture).contains("first list"),
        "{}",
        problems(&fixture)
    );
    fixture.say(list(Kind::Service, services(1..80)));
    assert_eq!(held(&fixture).0, 237, "later lists are compared by the store");
}

#[test]
fn a_second_list_that_lacks_other_objects_does_not_agree() {
    let mut fixture = restarted();
    fixture.say(lists(services(1..81)));
    assert_eq!(asked(&mut fixture), [Kind::EndpointSlice]);
    fixture.say(list(Kind::EndpointSlice, slices(1..6)));
    assert_eq!(asked(&mut fixture), [], "it lacks less");
    let mut fixture = restarted();
    fixture.say(lists([services(1..81), slices(1..41)].concat()));
    assert_eq!(asked(&mut fixture), [Kind::EndpointSlice]);
    let other_half = [
        list(Kind::EndpointSlice, slices(41..81)),
        (1..41).map(|n| Event::Delete(Kind::EndpointSlice, name(&format!("s{n:02}")))).collect(),
    ];
    fixture.say(other_half.concat());
    assert_eq!(held(&fixture), (240, 80), "what was heard and then went is no loss of the start's");
    assert_eq!(asked(&mut fixture), []);
}

#[test]
fn little_goes_at_once() {
    let mut fixture = restarted();
    fixture.say(lists([services(1..65), slices(1..65)].concat()));
    assert_eq!((held(&fixture).0, asked(&mut fixture)), (192, vec![]), "48 of 240");
    let mut fixture = Fixture::new();
    fixture.say(lists(Vec::new()));
    assert_eq!(asked(&mut fixture), [], "nothing was there");
}

#[test]
fn a_daemon_that_dies_while_it_waits_loses_nothing() {
    let mut fixture = restarted();
    fixture.say(lists(Vec::new()));
    for _ in 0..2 {
        fixture = Fixture::over(fixture.kernel);
        fixture.say(lists(Vec::new()));
        assert_eq!((held(&fixture), asked(&mut fixture).len()), (FULL, 2));
    }
    // Nor one whose writes fail, or whose audit found something.
    fixture.kernel.fail_after(0);
    fixture.say(vec![service("new", 200)]);
    fixture.say(vec![service("newer", 201)]);
    fixture.audited(vec!["x".into()]);
    fixture.pass(Duration::from_millis(200));
    assert_eq!(held(&fixture), (246, 160));
}

#[test]
fn a_source_that_does_not_listen_is_told_again() {
    let mut fixture = Fixture::with_relists(restarted().kernel, 1);
    fixture.say(lists(Vec::new()));
    assert_eq!(asked(&mut fixture), [Kind::Service], "it was full");
    fixture.state.tick();
    assert_eq!(asked(&mut fixture), [Kind::EndpointSlice]);
    fixture.state.tick();
    assert_eq!(asked(&mut fixture), [], "once");
}

#[test]
fn sockets_are_looked_at_once_the_lists_are_believed() {
    let mut fixture = restarted();
    fixture.say(lists(services(1..81)));
    assert!(fixture.udp_gone.try_recv().is_err(), "their endpoints may be alive");
    fixture.say(list(Kind::EndpointSlice, Vec::new()));
    assert_eq!(fixture.udp_gone.try_recv(), Ok(()));
}

fn bad(kind: Kind, object: &str) -> Event {
    let key = Key { kind, name: name(object) };
    Event::Bad(
        key.clone(),
        Problem::new(Code::FieldUnusable, Some(key), "spec", "not understood", "mend it"),
    )
}

#[test]
fn what_an_unreadable_service_had_before_the_start_stays_until_it_is_read_or_deleted() {
    let start = |mended: Vec<Event>| {
        let mut fixture = restarted();
        // Another one went while no daemon was there: whose its frontends were cannot be told.
        fixture
            .say(lists([services(1..79), slices(1..81), vec![bad(Kind::Service, "s79")]].concat()));
        assert_eq!(held(&fixture), FULL);
        let said = problems(&fixture);
        assert!(said.contains("Service d/s79: it could not be read since the start"), "{said}");
        assert!(said.contains("6 frontends"), "{said}");
        assert!(!fixture.runner().is_pending());
        fixture.say(vec![Event::Delete(Kind::Service, name("s01"))]);
        assert_eq!(held(&fixture).0, 237, "what was planned goes as ever");
        fixture.say(mended);
        assert!(!problems(&fixture).contains("since the start"), "{}", problems(&fixture));
        held(&fixture).0
    };
    assert_eq!(start(vec![service("s79", 79)]), 234);
    assert_eq!(start(vec![Event::Delete(Kind::Service, name("s79"))]), 231);
}

#[test]
fn a_service_takes_over_an_address_that_is_only_held() {
    let mut fixture = restarted();
    fixture.say(lists([services(1..80), slices(1..81), vec![bad(Kind::Service, "s80")]].concat()));
    fixture.say(vec![service("next", 80), slice("next", &[7])]);
    let image = fixture.kernel.maps().image.clone();
    let key = fixture.services().plan().service(&name("next")).unwrap().ports[0].frontends[0].key;
    let index = image.frontends[&key].service();
    assert_eq!(image.extent(image.services[&index].sets[0]).len(), 1);
    assert_eq!(
        Some(index),
        fixture
            .services()
            .layout()
            .index_of(fixture.services().plan().owner(&key).unwrap().identity)
    );
}

#[test]
fn endpoints_of_an_unreadable_slice_stay_until_it_is_read_or_deleted() {
    let start = |mended: Event| {
        let mut fixture = Fixture::new();
        let all =
            [services(1..4), vec![slice("s01", &[1]), slice("s02", &[2]), slice("s03", &[3])]];
        fixture.say(lists(all.concat()));
        let mut fixture = Fixture::over(fixture.kernel);
        // Of s02 there is only a slice that cannot be read; s03 has none any more.
        fixture.say(lists(
            [services(1..4), vec![slice("s01", &[1]), bad(Kind::EndpointSlice, "s02-x7k")]]
                .concat(),
        ));
        assert_eq!(held(&fixture), (9, 4), "s03 has no endpoints; that is certain");
        let said = problems(&fixture);
        assert!(said.contains("Service d/s02: an EndpointSlice of it cannot be read"), "{said}");
        assert!(!fixture.runner().is_pending() && !said.contains("s03"), "{said}");
        fixture.say(vec![mended]);
        assert!(!problems(&fixture).contains("s02"), "{}", problems(&fixture));
        held(&fixture)
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
    let mut fixture = Fixture::new();
    fixture.say(lists(vec![service("a", 1), slice("a", &[1, 2])]));
    let mut fixture = Fixture::over(fixture.kernel);
    fixture.say(lists(vec![service("a", 1), slice("a", &[3]), bad(Kind::EndpointSlice, "a-x")]));
    let image = fixture.kernel.maps().image.clone();
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
    let mut fixture = Fixture::new();
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    let mut fixture = Fixture::over(fixture.kernel);
    let label = json!({ "kubernetes.io/service-name": "a" });
    let first = [1, 2].map(|last| tcp_slice("a", last, &label));
    let [same, other] = first;
    fixture.say(lists(vec![service("a", 1), same, bad(Kind::EndpointSlice, "a-x")]));
    assert!(
        problems(&fixture).contains("cannot be read"),
        "UDP had endpoints: {}",
        problems(&fixture)
    );
    fixture.say(vec![other]);
    let image = fixture.kernel.maps().image.clone();
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
    let mut fixture = Fixture::new();
    fixture.say(lists(vec![service("a", 1), slice("a", &[1])]));
    let mut fixture = Fixture::over(fixture.kernel);
    let value = json!({
        "metadata": { "name": "a-imported", "namespace": "d" },
        "addressType": "IPv4", "endpoints": [], "ports": [],
    });
    let bad = towpath_model::decode(Kind::EndpointSlice, value.to_string().as_bytes()).unwrap_err();
    let foreign = Event::Bad(*bad.key.unwrap(), *bad.problem);
    fixture.say(lists(vec![service("a", 1), foreign]));
    assert_eq!(held(&fixture).1, 0, "it was read: it is no slice of a");
}
