use super::*;
use crate::{Code, wire::decode};

fn service(name: &str, ip: &str) -> Object {
    let json = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"d"}},"spec":{{"clusterIP":"{ip}","ports":[{{"port":80}}]}}}}"#
    );
    decode(Kind::Service, json.as_bytes()).unwrap()
}

fn names(store: &Store) -> Vec<String> {
    store.view().services().map(|s| s.meta.name.name.to_string()).collect()
}

fn list(store: &mut Store, services: impl IntoIterator<Item = String>) -> Option<Relist> {
    store.feed(Event::Init(Kind::Service.into()));
    for name in services {
        store.feed(Event::Apply(service(&name, "10.96.0.1")));
    }
    store.feed(Event::InitDone(Kind::Service.into()))
}

fn many(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|n| format!("s{n:04}"))
}

#[test]
fn an_unlisted_kind_holds_up_only_those_who_need_it() {
    let mut store = Store::new("n");
    let [service, node] = [Stream::all(Kind::Service), Stream::all(Kind::Node)];
    let synced = |store: &Store, needs: &[Stream]| {
        store.view().synced(needs).map(|synced| synced.streams().to_vec())
    };
    store.feed(Event::Init(service.clone()));
    assert_eq!(synced(&store, std::slice::from_ref(&service)), None);
    store.feed(Event::InitDone(service.clone()));
    assert_eq!(synced(&store, std::slice::from_ref(&service)), Some(vec![service.clone()]));
    assert_eq!(synced(&store, &[service.clone(), node.clone()]), None, "nodes are forbidden");
    assert!(store.view().listed(&service) && !store.view().listed(&node));
    store.feed(Event::InitDone(node.clone()));
    assert!(synced(&store, &[service.clone(), node]).is_some());
    let narrow = Stream::in_namespace(Kind::Service, "d");
    store.feed(Event::Init(narrow.clone()));
    assert!(!store.view().listed(&narrow) && synced(&store, &[service]).is_some());
}

#[test]
fn what_came_and_went_between_two_commits_is_no_change() {
    let mut store = Store::new("n");
    store.feed(Event::Apply(service("a", "10.96.0.1")));
    store.feed(Event::Delete(Kind::Service, ObjectName::new("d", "a")));
    assert!(store.commit().1.is_empty());
    store.feed(Event::Apply(service("a", "10.96.0.1")));
    let (_, changes) = store.commit();
    assert!(changes.services.len() == 1 && changes.services[0].old.is_none());
    store.feed(Event::Apply(service("a", "10.96.0.1")));
    assert!(store.commit().1.is_empty(), "applied again, the same");
}

#[test]
fn a_bad_version_keeps_the_last_good_one_also_over_a_relist() {
    let mut store = Store::new("n");
    list(&mut store, many(0..2));
    let key = Key { kind: Kind::Service, name: ObjectName::new("d", "s0000") };
    let problem = Problem::new(Code::FieldUnusable, Some(key.clone()), "spec", "why", "what");
    store.feed(Event::Init(Kind::Service.into()));
    store.feed(Event::Bad(key.clone(), problem));
    store.feed(Event::InitDone(Kind::Service.into()));
    assert_eq!(names(&store), ["s0000"], "the bad one stays, the one that is gone goes");
    assert_eq!(store.problems().count(), 1);
    store.feed(Event::Apply(service("s0000", "10.96.0.2")));
    assert_eq!(store.problems().count(), 0);
}

/// A Service whose address says its version.
fn version(number: u8) -> Object {
    let json = format!(
        r#"{{"metadata":{{"name":"a","namespace":"d","resourceVersion":"{number}"}},
           "spec":{{"clusterIP":"10.96.0.{number}","ports":[{{"port":80}}]}}}}"#
    );
    decode(Kind::Service, json.as_bytes()).unwrap()
}

#[test]
fn an_older_version_of_a_list_counts_unless_a_newer_one_that_is_bad_came_after_it() {
    let (all, narrow) = (Stream::all(Kind::Service), Stream::in_namespace(Kind::Service, "d"));
    let key = Key { kind: Kind::Service, name: ObjectName::new("d", "a") };
    let bad = || {
        let problem = Problem::new(Code::FieldUnusable, Some(key.clone()), "spec", "x", "y");
        Event::Bad(key.clone(), problem)
    };
    let after = |list: [Event; 2]| {
        let mut store = Store::new("n");
        for stream in [&all, &narrow] {
            store.feed(Event::Init(stream.clone()));
            store.feed(Event::Apply(version(10)));
            store.feed(Event::InitDone(stream.clone()));
        }
        store.feed(Event::Init(all.clone()));
        for event in list {
            store.feed(event);
        }
        store.feed(Event::InitDone(all.clone()));
        let kept: Vec<_> = store.view().services().map(|s| s.cluster_ips[0].to_string()).collect();
        (kept.join(" "), store.bad().count())
    };
    assert_eq!(after([Event::Apply(version(5)), bad()]), ("10.96.0.10".to_owned(), 1));
    assert_eq!(after([bad(), Event::Apply(version(5))]), ("10.96.0.5".to_owned(), 0));
}

#[test]
fn a_list_that_would_remove_much_waits_for_a_second_one_that_agrees() {
    let mut store = Store::new("n");
    assert_eq!(list(&mut store, many(0..100)), None);
    assert_eq!(list(&mut store, many(0..40)), Some(Relist(Kind::Service.into())));
    assert_eq!(names(&store).len(), 100, "held back");
    assert_eq!(store.braked().collect::<Vec<_>>(), [(&Stream::all(Kind::Service), 60)]);
    assert_eq!(list(&mut store, many(0..100)), None);
    assert!(names(&store).len() == 100 && store.braked().count() == 0, "the second disagrees");
    assert_eq!(list(&mut store, many(0..40)), Some(Relist(Kind::Service.into())));
    assert_eq!(list(&mut store, many(0..40)), None);
    assert_eq!(names(&store).len(), 40, "the second agrees");
    assert_eq!(list(&mut store, many(0..30)), None, "ten of forty are not much");
    assert_eq!(names(&store).len(), 30);
}

#[test]
fn slices_are_found_by_the_service_they_name_now() {
    let slice = |service: &str| {
        let json = format!(
            r#"{{"metadata":{{"name":"x","namespace":"d","labels":{{"kubernetes.io/service-name":"{service}"}}}},"addressType":"IPv4"}}"#
        );
        Event::Apply(decode(Kind::EndpointSlice, json.as_bytes()).unwrap())
    };
    let mut store = Store::new("n");
    store.feed(slice("a"));
    store.feed(slice("b"));
    let of =
        |store: &Store, name: &str| store.view().slices_of(&ObjectName::new("d", name)).count();
    assert_eq!((of(&store, "a"), of(&store, "b")), (0, 1));
    store.feed(Event::Delete(Kind::EndpointSlice, ObjectName::new("d", "x")));
    assert_eq!(of(&store, "b"), 0);
}

#[test]
fn a_second_list_that_lacks_other_objects_does_not_agree() {
    let mut store = Store::new("n");
    list(&mut store, many(0..200));
    assert_eq!(list(&mut store, many(0..100)), Some(Relist(Kind::Service.into())));
    assert_eq!(
        list(&mut store, many(100..200)),
        Some(Relist(Kind::Service.into())),
        "the other half"
    );
    assert_eq!(names(&store).len(), 200);
    store.feed(Event::Delete(Kind::Service, ObjectName::new("d", "s0000")));
    assert_eq!(names(&store).len(), 199, "a deletion that is said needs no list");
    assert_eq!(list(&mut store, many(100..190)), None, "agrees, and lacks a few more");
    assert_eq!(names(&store).len(), 90);
}

#[test]
fn the_first_list_and_small_ones_are_not_braked() {
    let mut store = Store::new("n");
    for name in many(0..100) {
        store.feed(Event::Apply(service(&name, "10.96.0.1")));
    }
    assert_eq!(list(&mut store, many(0..10)), None, "the first list");
    assert_eq!(names(&store).len(), 10);
    assert_eq!(list(&mut store, many(0..0)), None, "ten objects");
    list(&mut store, many(0..200));
    assert_eq!(list(&mut store, many(0..140)), None, "thirty percent");
    list(&mut store, many(0..200));
    assert_eq!(list(&mut store, many(0..139)), Some(Relist(Kind::Service.into())));
}

#[test]
fn a_list_that_begins_again_forgets_what_the_first_one_had() {
    let mut store = Store::new("n");
    store.feed(Event::Init(Kind::Service.into()));
    store.feed(Event::Apply(service("a", "10.96.0.1")));
    store.feed(Event::Init(Kind::Service.into()));
    store.feed(Event::Apply(service("b", "10.96.0.1")));
    assert_eq!(names(&store), ["a", "b"], "nothing goes before the end");
    store.feed(Event::InitDone(Kind::Service.into()));
    assert_eq!(names(&store), ["b"]);
    store.feed(Event::Delete(Kind::Service, ObjectName::new("d", "never seen")));
    assert_eq!(names(&store), ["b"]);
}

#[test]
fn a_new_version_of_the_same_content_is_no_change() {
    let version = |version: &str, ip: &str| {
        let json = format!(
            r#"{{"metadata":{{"name":"n","resourceVersion":"{version}"}},"status":{{"addresses":[{{"type":"InternalIP","address":"{ip}"}}]}}}}"#
        );
        Event::Apply(decode(Kind::Node, json.as_bytes()).unwrap())
    };
    let mut store = Store::new("n");
    store.feed(version("1", "10.0.0.1"));
    store.commit();
    store.feed(version("2", "10.0.0.1"));
    assert!(store.commit().1.is_empty(), "a heartbeat");
    store.feed(version("3", "10.0.0.2"));
    assert_eq!(store.commit().1.nodes.len(), 1);
}

#[test]
fn a_node_of_another_name_is_not_ours_and_said() {
    let mut store = Store::new("worker-1");
    assert_eq!(store.view().own_node_problem(), None, "not before the nodes were listed");
    store.feed(Event::Init(Kind::Node.into()));
    let json = br#"{"metadata":{"name":"Worker-1.example.org"}}"#;
    store.feed(Event::Apply(decode(Kind::Node, json).unwrap()));
    store.feed(Event::InitDone(Kind::Node.into()));
    assert!(store.view().own_node().is_none());
    let problem = store.view().own_node_problem().unwrap().to_string();
    assert!(problem.starts_with("Node worker-1: ") && problem.contains("Worker-1.example.org"));
    let json = br#"{"metadata":{"name":"worker-1"}}"#;
    store.feed(Event::Apply(decode(Kind::Node, json).unwrap()));
    assert_eq!(store.view().own_node_problem(), None);
}

fn cidr(name: &str) -> Event {
    let json = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"cidrs":["10.96.0.0/16"]}}}}"#);
    Event::Apply(decode(Kind::ServiceCIDR, json.as_bytes()).unwrap())
}

#[test]
fn an_absent_kind_counts_as_listed_and_empty() {
    let all = Stream::all(Kind::ServiceCIDR);
    let mut store = Store::new("n");
    assert_eq!(store.feed(Event::Absent(Kind::ServiceCIDR)), None);
    assert!(store.view().listed(&all) && !store.view().listed(&Kind::Service.into()));
    // It comes to be known.
    store.feed(Event::Init(all.clone()));
    store.feed(cidr("a"));
    assert!(store.view().listed(&all), "what was believed stands until the list is complete");
    store.feed(Event::InitDone(all.clone()));
    assert_eq!(store.view().service_cidrs().len(), 1);
    // Where there were objects, a second answer has to agree, and nothing may come between.
    let doubted = Some(Relist(all.clone()));
    assert_eq!(store.feed(Event::Absent(Kind::ServiceCIDR)), doubted);
    store.feed(Event::Init(all.clone()));
    assert_eq!(store.feed(Event::Absent(Kind::ServiceCIDR)), doubted);
    assert_eq!((store.view().service_cidrs().len(), store.view().listed(&all)), (1, true));
    assert_eq!(store.feed(Event::Absent(Kind::ServiceCIDR)), None);
    assert_eq!((store.view().service_cidrs().len(), store.view().listed(&all)), (0, true));
    store.feed(Event::End(all.clone()));
    assert!(!store.view().listed(&all), "nothing is known of what is not asked for");
}

#[test]
fn the_end_of_a_stream_takes_what_no_other_one_brings() {
    let [shop, bank] = ["shop", "bank"].map(|name| Stream::in_namespace(Kind::Service, name));
    let card = Stream::named(Kind::Service, ObjectName::new("bank", "card"));
    let mut store = Store::new("n");
    let apply = |namespace: &str, name: &str| {
        let json = format!(r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}"}}}}"#);
        Event::Apply(decode(Kind::Service, json.as_bytes()).unwrap())
    };
    let bad = |name: &str| {
        let key = Key { kind: Kind::Service, name: ObjectName::new("bank", name) };
        Event::Bad(key.clone(), Problem::new(Code::FieldUnusable, Some(key), "spec", "why", "what"))
    };
    for stream in [&shop, &bank, &card] {
        store.feed(Event::Init(stream.clone()));
    }
    for (namespace, name) in [("shop", "cart"), ("bank", "card"), ("bank", "till")] {
        store.feed(apply(namespace, name));
    }
    store.feed(bad("till"));
    store.feed(bad("card"));
    assert_eq!(store.feed(Event::InitDone(shop.clone())), None);
    assert_eq!(store.feed(Event::End(shop)), None, "it shared nothing with the others");
    assert_eq!(names(&store), ["card", "till"]);
    let again = Some(Relist(card.clone()));
    assert_eq!(store.feed(Event::End(bank)), again, "what it said last may have been old news");
    assert!(!store.doubts(&card), "its own last list is believed");
    assert_eq!((names(&store), store.bad().count()), (vec!["card".to_owned()], 1));
    store.feed(Event::End(card));
    assert_eq!((names(&store).len(), store.bad().count()), (0, 0));
}

#[test]
fn a_list_speaks_for_its_scope_whichever_stream_brought_an_object() {
    let (all, narrow) = (Stream::all(Kind::Service), Stream::in_namespace(Kind::Service, "d"));
    let mut store = Store::new("n");
    list(&mut store, many(0..3));
    store.feed(Event::Init(all.clone()));
    store.feed(Event::Init(narrow.clone()));
    store.feed(Event::Apply(service("s0000", "10.96.0.1")));
    store.feed(Event::InitDone(narrow));
    assert_eq!(names(&store), ["s0000"], "seen once, while both were listing");
    store.feed(Event::Apply(service("s0001", "10.96.0.1")));
    store.feed(Event::InitDone(all));
    assert_eq!(names(&store), ["s0000", "s0001"]);
}

#[test]
fn the_brake_of_a_stream_counts_what_it_covers() {
    let narrow = Stream::in_namespace(Kind::Service, "d");
    let mut store = Store::new("n");
    let narrow_list = |store: &mut Store, services: std::ops::Range<usize>| {
        store.feed(Event::Init(narrow.clone()));
        for name in many(services) {
            store.feed(Event::Apply(service(&name, "10.96.0.1")));
        }
        store.feed(Event::InitDone(narrow.clone()))
    };
    for number in 0..1_000 {
        let json = format!(r#"{{"metadata":{{"name":"x{number}","namespace":"other"}}}}"#);
        store.feed(Event::Apply(decode(Kind::Service, json.as_bytes()).unwrap()));
    }
    assert_eq!(narrow_list(&mut store, 0..100), None);
    assert_eq!(narrow_list(&mut store, 0..40), Some(Relist(narrow.clone())), "60 of 100");
    assert_eq!(store.braked().collect::<Vec<_>>(), [(&narrow, 60)]);
    assert!(store.doubts(&narrow));
    assert_eq!(store.view().services().len(), 1_100);
    assert_eq!(narrow_list(&mut store, 0..40), None);
    assert_eq!(store.view().services().len(), 1_040);
}
