//! Each rule of services.md 1.2, as rows.

use super::*;
use crate::{Meta, ObjectName, SlicePort};

/// `address[:port] flags @node zone=a,b nodes=c`; flags: r ready, s serving, t terminating.
fn endpoint(text: &str) -> (Endpoint, u16) {
    let mut words = text.split_whitespace();
    let addr: std::net::SocketAddr = words.next().unwrap().parse().unwrap();
    let mut e = Endpoint {
        addr: addr.ip(),
        ready: false,
        serving: false,
        terminating: false,
        node: None,
        zone_hints: None,
        node_hints: None,
        hostname: None,
    };
    let list = |names: &str| Some(names.split(',').map(Arc::from).collect());
    for word in words {
        if let Some(node) = word.strip_prefix('@') {
            e.node = Some(node.into());
        } else if let Some(zones) = word.strip_prefix("zone=") {
            e.zone_hints = list(zones);
        } else if let Some(nodes) = word.strip_prefix("nodes=") {
            e.node_hints = list(nodes);
        } else {
            e.ready = word.contains('r');
            e.serving = word.contains('s');
            e.terminating = word.contains('t');
        }
    }
    (e, addr.port())
}

fn slice(port_name: &str, protocol: Protocol, rows: &[&str]) -> EndpointSlice {
    let parsed: Vec<_> = rows.iter().map(|row| endpoint(row)).collect();
    let port = parsed.first().map_or(80, |(_, port)| *port);
    assert!(parsed.iter().all(|(_, p)| *p == port), "one port number per slice");
    EndpointSlice {
        meta: Meta {
            name: ObjectName::new("ns", "svc-1"),
            uid: "".into(),
            resource_version: "".into(),
            created: "".into(),
            problems: Box::new([]),
        },
        service: ObjectName::new("ns", "svc"),
        proxy_name: None,
        headless_label: false,
        family: parsed.first().map(|(e, _)| Family::of(e.addr)),
        ports: Box::new([SlicePort { name: port_name.into(), protocol, port }]),
        endpoints: parsed.into_iter().map(|(e, _)| e).collect(),
        triggered: None,
    }
}

const BOTH: Usage = Usage { cluster: true, local: true };
const HERE: Place<'_> = Place { node: "n1", zone: Some("a") };

fn chosen(rows: &[&str], usage: Usage, place: Place<'_>) -> Selection {
    let slice = slice("http", Protocol::Tcp, rows);
    let candidates = candidates([&slice], "http", Protocol::Tcp, Family::V4);
    assert_eq!(candidates.len(), rows.len(), "rows name distinct endpoints");
    select(&candidates, usage, place)
}

/// The last byte of each address.
fn last(set: &[(IpAddr, u16)]) -> Vec<u8> {
    set.iter()
        .map(|(ip, _)| match ip {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        })
        .collect()
}

#[track_caller]
fn check(rows: &[&str], cluster: (&[u8], Why), local: (&[u8], Why), has_any: bool) {
    let s = chosen(rows, BOTH, HERE);
    assert_eq!((last(&s.cluster).as_slice(), s.cluster_why), cluster, "cluster of {rows:?}");
    assert_eq!((last(&s.local).as_slice(), s.local_why), local, "local of {rows:?}");
    assert_eq!(s.has_any, has_any, "has_any of {rows:?}");
    assert_eq!(s.cluster_terminating, s.cluster_why == Why::Terminating);
    assert_eq!(s.local_terminating, s.local_why == Why::Terminating);
}

#[test]
fn conditions_decide() {
    use Why::{NoEndpoints, NoneLocal, NoneUsable, Ready, ReadyLocal, Terminating};
    check(&[], (&[], NoEndpoints), (&[], NoEndpoints), false);
    check(&["10.0.0.1:80 rs @n1"], (&[1], Ready), (&[1], ReadyLocal), true);
    check(&["10.0.0.1:80 rs @n2"], (&[1], Ready), (&[], NoneLocal), true);
    // An endpoint without a node is local nowhere.
    check(&["10.0.0.1:80 rs"], (&[1], Ready), (&[], NoneLocal), true);
    // Ready wins over draining, for each set on its own.
    check(&["10.0.0.1:80 rs @n2", "10.0.0.2:80 st @n1"], (&[1], Ready), (&[2], Terminating), true);
    check(&["10.0.0.2:80 st @n2"], (&[2], Terminating), (&[], NoneLocal), true);
    // Terminating without serving, and serving without ready: never used.
    check(&["10.0.0.1:80 t @n1", "10.0.0.2:80 s @n1"], (&[], NoneUsable), (&[], NoneUsable), false);
    // publishNotReadyAddresses: ready and terminating at once is plain ready.
    check(&["10.0.0.1:80 rt @n1"], (&[1], Ready), (&[1], ReadyLocal), true);
    // Ready without serving is odd but ready.
    check(&["10.0.0.1:80 r @n1", "10.0.0.2:80 st @n1"], (&[1], Ready), (&[1], ReadyLocal), true);
}

#[test]
fn hints_decide() {
    use Why::{
        ReadyHintsElsewhere, ReadyHintsIncomplete, ReadyLocal, ReadySameNode, ReadySameZone,
        Terminating,
    };
    let cluster = |rows: &[&str], set: &[u8], why| {
        let s = chosen(rows, BOTH, HERE);
        assert_eq!((last(&s.cluster).as_slice(), s.cluster_why), (set, why), "{rows:?}");
    };
    let (a, b) = ("10.0.0.1:80 rs zone=a", "10.0.0.2:80 rs zone=b");
    cluster(&[a, b], &[1], ReadySameZone);
    cluster(&[a, b, "10.0.0.3:80 rs"], &[1, 2, 3], ReadyHintsIncomplete);
    cluster(&[b], &[2], ReadyHintsElsewhere);
    cluster(&["10.0.0.1:80 rs zone=b,a", b], &[1], ReadySameZone);
    // Node hints come before zone hints, and all need one.
    let (n1, n2) = ("10.0.0.1:80 rs zone=a nodes=n1", "10.0.0.2:80 rs zone=a nodes=n2");
    cluster(&[n1, n2], &[1], ReadySameNode);
    cluster(&[n1, "10.0.0.2:80 rs zone=a"], &[1, 2], ReadySameZone);
    cluster(&[n2, "10.0.0.3:80 rs zone=b nodes=n3"], &[2], ReadySameZone);
    cluster(&["10.0.0.1:80 rs nodes=n1", "10.0.0.2:80 rs zone=a"], &[1, 2], ReadyHintsIncomplete);
    // Only ready endpoints are asked: one that drains without a hint disables nothing.
    cluster(&[a, b, "10.0.0.3:80 st"], &[1], ReadySameZone);
    // Terminating fallback ignores hints.
    cluster(&["10.0.0.1:80 st zone=a", "10.0.0.2:80 st zone=b"], &[1, 2], Terminating);
    // The local set ignores hints.
    let s = chosen(&["10.0.0.1:80 rs @n1 zone=b", "10.0.0.2:80 rs @n2 zone=a"], BOTH, HERE);
    assert_eq!((last(&s.local), s.local_why), (vec![1], ReadyLocal));
    assert_eq!((last(&s.cluster), s.topology), (vec![2], Topology::SameZone));
}

#[test]
fn an_unknown_zone_disables_zone_hints_only() {
    let place = Place { node: "n1", zone: None };
    let s = chosen(&["10.0.0.1:80 rs zone=a", "10.0.0.2:80 rs zone=b"], BOTH, place);
    assert_eq!((last(&s.cluster), s.cluster_why), (vec![1, 2], Why::ReadyZoneUnknown));
    let s = chosen(&["10.0.0.1:80 rs nodes=n1", "10.0.0.2:80 rs nodes=n2"], BOTH, place);
    assert_eq!((last(&s.cluster), s.topology), (vec![1], Topology::SameNode));
}

#[test]
fn unused_sets_stay_empty() {
    let rows = ["10.0.0.1:80 rs @n1", "10.0.0.2:80 rs @n2"];
    let s = chosen(&rows, Usage { cluster: true, local: false }, HERE);
    assert_eq!((s.cluster.len(), s.local.len(), s.local_why), (2, 0, Why::NotUsed));
    let s = chosen(&rows, Usage { cluster: false, local: true }, HERE);
    assert_eq!((s.cluster.len(), s.local.len(), s.cluster_why), (0, 1, Why::NotUsed));
    // has_any counts remote endpoints too.
    let s = chosen(&rows[1..], Usage { cluster: false, local: true }, HERE);
    assert!(s.local.is_empty() && s.has_any);
}

#[test]
fn slices_are_united_by_port_name_and_protocol() {
    let one = slice("http", Protocol::Tcp, &["10.0.0.1:8080 rs", "10.0.0.2:8080 rs"]);
    let two = slice("http", Protocol::Tcp, &["10.0.0.2:9090 rs", "10.0.0.3:9090 rs"]);
    let udp = slice("http", Protocol::Udp, &["10.0.0.4:8080 rs"]);
    let other = slice("admin", Protocol::Tcp, &["10.0.0.5:8080 rs"]);
    let six = slice("http", Protocol::Tcp, &["[fd00::6]:8080 rs"]);
    let mut fqdn = slice("http", Protocol::Tcp, &["10.0.0.7:8080 rs"]);
    fqdn.family = None;
    let all = [&one, &two, &udp, &other, &six, &fqdn];
    let four = candidates(all, "http", Protocol::Tcp, Family::V4);
    let targets: Vec<_> = four.iter().map(|c| format!("{}:{}", c.addr, c.port)).collect();
    assert_eq!(targets, ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.2:9090", "10.0.0.3:9090"]);
    assert_eq!(candidates(all, "http", Protocol::Tcp, Family::V6).len(), 1);
    assert_eq!(candidates(all, "", Protocol::Tcp, Family::V4), []);
}

#[test]
fn duplicates_keep_the_one_that_lives() {
    let dying = slice("http", Protocol::Tcp, &["10.0.0.1:80 st @n2"]);
    let alive = slice("http", Protocol::Tcp, &["10.0.0.1:80 s @n1"]);
    let ready = slice("http", Protocol::Tcp, &["10.0.0.1:80 rs @n3"]);
    for order in [[&dying, &alive, &ready], [&ready, &alive, &dying], [&alive, &dying, &ready]] {
        let c = candidates(order, "http", Protocol::Tcp, Family::V4);
        assert_eq!(c.iter().map(|c| c.node).collect::<Vec<_>>(), [Some("n3")]);
    }
    // Not terminating wins even when it is not ready: the address has a new owner.
    for order in [[&dying, &alive], [&alive, &dying]] {
        let c = candidates(order, "http", Protocol::Tcp, Family::V4);
        assert_eq!(c.iter().map(|c| c.node).collect::<Vec<_>>(), [Some("n1")]);
    }
}

#[test]
fn other_nodes_and_health_checks() {
    let slice = slice(
        "http",
        Protocol::Tcp,
        &["10.0.0.1:80 rs @n1", "10.0.0.2:80 st @n1", "10.0.0.3:80 st @n2", "10.0.0.4:80 rs"],
    );
    let c = candidates([&slice], "http", Protocol::Tcp, Family::V4);
    assert_eq!(last(&local_set(&c, "n1")), [1]);
    assert_eq!(last(&local_set(&c, "n2")), [3]);
    assert_eq!(local_set(&c, "n3"), []);
    let s = select(&c, BOTH, HERE);
    let counts =
        Counts { total: 4, ready: 2, serving: 4, terminating: 2, unusable: 0, local_ready: 1 };
    assert_eq!(s.counts, counts);
}
