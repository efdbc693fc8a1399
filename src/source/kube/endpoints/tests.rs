use towpath_model::{Key, decode};

use super::*;

fn slice(name: &str, service: &str, addresses: &[&str]) -> Event {
    slice_in("default", name, service, addresses)
}

fn slice_in(namespace: &str, name: &str, service: &str, addresses: &[&str]) -> Event {
    let endpoints: Vec<String> =
        addresses.iter().map(|ip| format!(r#"{{"addresses":["{ip}"]}}"#)).collect();
    let family = if addresses.iter().any(|ip| ip.contains(':')) { "IPv6" } else { "IPv4" };
    let json = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","labels":{{"kubernetes.io/service-name":"{service}"}}}},
        "addressType":"{family}","ports":[{{"name":"https","port":6443,"protocol":"TCP"}}],
        "endpoints":[{}]}}"#,
        endpoints.join(",")
    );
    Event::Apply(decode(Kind::EndpointSlice, json.as_bytes()).unwrap())
}

fn gone(name: &str) -> Event {
    Event::Delete(Kind::EndpointSlice, ObjectName::new("default", name))
}

const INIT: Event = Event::Init(Stream::all(Kind::EndpointSlice));
const DONE: Event = Event::InitDone(Stream::all(Kind::EndpointSlice));

/// After these events, with `9.9.9.9:1` remembered: the addresses, without their port 6443.
#[track_caller]
fn check(events: &[Event], expected: &str) {
    let mut endpoints = Endpoints::new(vec!["9.9.9.9:1".parse().unwrap()]);
    for event in events {
        let before = endpoints.addresses();
        let changed = endpoints.ingest(event);
        assert_eq!(changed, before != endpoints.addresses(), "{event:?}");
    }
    let all: Vec<String> = endpoints.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(all.join(" ").replace(":6443", ""), expected, "{events:?}");
}

#[test]
fn the_current_slices_of_kubernetes_are_what_counts() {
    let v4 = || slice("kubernetes", "kubernetes", &["10.0.0.1", "10.0.0.2"]);
    let v6 = || slice("kubernetes-v6", "kubernetes", &["fd00::1"]);
    let other = || slice("web-x", "web", &["10.9.9.9"]);
    for (events, expected) in [
        (vec![], "9.9.9.9:1"),
        // Until the list is complete, what is remembered counts too.
        (vec![INIT, v4()], "9.9.9.9:1 10.0.0.1 10.0.0.2"),
        (vec![INIT, v4(), other(), DONE], "10.0.0.1 10.0.0.2"),
        (vec![INIT, v4(), v6(), DONE], "10.0.0.1 10.0.0.2 [fd00::1]"),
        // One family changes, the other stays.
        (
            vec![INIT, v4(), v6(), DONE, slice("kubernetes-v6", "kubernetes", &["fd00::2"])],
            "10.0.0.1 10.0.0.2 [fd00::2]",
        ),
        // What leaves goes: an endpoint, a slice, a slice that belongs to another Service now.
        (vec![INIT, v4(), DONE, slice("kubernetes", "kubernetes", &["10.0.0.2"])], "10.0.0.2"),
        (vec![INIT, v4(), v6(), DONE, gone("kubernetes")], "[fd00::1]"),
        (vec![INIT, v4(), v6(), DONE, slice("kubernetes", "web", &["10.0.0.1"])], "[fd00::1]"),
        (vec![INIT, v4(), v6(), DONE, INIT, v6(), DONE], "[fd00::1]"),
        (vec![INIT, v4(), v6(), DONE, INIT, v6()], "10.0.0.1 10.0.0.2 [fd00::1]"),
        // Never to nothing.
        (vec![INIT, DONE], "9.9.9.9:1"),
        (vec![INIT, v4(), DONE, gone("kubernetes")], "10.0.0.1 10.0.0.2"),
        (vec![INIT, v4(), DONE, slice("kubernetes", "kubernetes", &[])], "10.0.0.1 10.0.0.2"),
        (vec![INIT, v4(), DONE, INIT, DONE], "10.0.0.1 10.0.0.2"),
        (vec![INIT, v4(), DONE, gone("kubernetes"), v6()], "[fd00::1]"),
    ] {
        check(&events, expected);
    }
}

#[test]
fn a_slice_that_cannot_be_read_keeps_its_addresses_over_a_list() {
    let key = Key { kind: Kind::EndpointSlice, name: ObjectName::new("default", "kubernetes") };
    let bad = Event::Bad(
        key.clone(),
        Problem::new(Code::FieldUnusable, Some(key), "endpoints", "x", "y"),
    );
    let v4 = slice("kubernetes", "kubernetes", &["10.0.0.1"]);
    check(&[INIT, v4, DONE, INIT, bad, DONE], "10.0.0.1");
}

#[test]
fn what_is_remembered_is_recalled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not/yet/there");
    assert_eq!(recall(&path), (Vec::new(), None));
    let all: Vec<SocketAddr> =
        vec!["10.0.0.1:6443".parse().unwrap(), "[fd00::1]:1".parse().unwrap()];
    remember(&path, &all).unwrap();
    assert_eq!(recall(&path), (all, None));
}

#[test]
fn a_damaged_file_is_said_and_what_can_be_read_of_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, b"10.0.0.1:6443\n\xff\xfe\n10.0.0.2\n").unwrap();
    let (addresses, problem) = recall(&path);
    assert_eq!(addresses, ["10.0.0.1:6443".parse().unwrap()]);
    let problem = problem.unwrap().to_string();
    assert!(problem.contains("2 of its lines are no addresses"), "{problem}");
    // Not a file at all; and one without an end.
    let (addresses, problem) = recall(dir.path());
    assert!(addresses.is_empty() && problem.is_some());
    fs::write(&path, "10.0.0.1:6443\n".repeat(1 << 20)).unwrap();
    assert_eq!(recall(&path).0.len(), ENDPOINTS_MAX);
}

#[test]
fn slices_that_only_say_they_are_of_kubernetes_do_not_count() {
    let v4 = || slice("kubernetes", "kubernetes", &["10.0.0.1"]);
    for foreign in [
        slice("kubernetes-x7k2p", "kubernetes", &["10.6.6.6"]),
        slice("a", "kubernetes", &["10.6.6.6"]),
        // The name of one family with addresses of the other.
        slice("kubernetes-v6", "kubernetes", &["10.6.6.6"]),
        slice("kubernetes-v4", "kubernetes", &["fd00::6"]),
        // A tenant who writes slices is not given the token of this node.
        slice_in("evil", "kubernetes", "kubernetes", &["10.6.6.6"]),
    ] {
        check(&[INIT, v4(), foreign.clone(), DONE], "10.0.0.1");
        check(&[INIT, foreign, DONE], "9.9.9.9:1");
    }
    let second = || slice("kubernetes-v4", "kubernetes", &["10.0.0.2"]);
    check(
        &[INIT, slice("kubernetes", "kubernetes", &["fd00::1"]), second(), DONE],
        "10.0.0.2 [fd00::1]",
    );
}

#[test]
fn only_so_many_are_asked_and_the_first_slice_comes_first() {
    let many: Vec<String> = (0..200).map(|at| format!("10.0.0.{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut endpoints = Endpoints::new(Vec::new());
    endpoints.ingest(&slice("kubernetes-v4", "kubernetes", &many));
    endpoints.ingest(&slice("kubernetes", "kubernetes", &["fd00::1"]));
    let addresses = endpoints.addresses();
    assert_eq!((addresses.len(), endpoints.count()), (ENDPOINTS_MAX, 201));
    assert!(addresses.iter().any(SocketAddr::is_ipv6), "{addresses:?}");
}
