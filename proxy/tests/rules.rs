//! The rules of services.md 1.1 to 1.3, one by one, as a socket on node n0 meets them.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "rules/fixture.rs"]
mod fixture;
#[path = "reference/kernel.rs"]
mod kernel;
#[path = "pipeline/mod.rs"]
mod pipeline;
#[path = "reference/question.rs"]
mod question;

use fixture::{Fixture, service, slice, slice_with};
use serde_json::{Value, json};
use towpath_model::{NodeFact, ObjectName};

/// A rule, the objects, and what each probe gets.
type Row = (&'static str, Vec<Value>, &'static [(&'static str, &'static str)]);

#[track_caller]
fn check(rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for (rule, objects, asks) in rows {
        judge(rule, &objects, asks, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn judge(rule: &str, objects: &[Value], asks: &[(&str, &str)], wrong: &mut Vec<String>) {
    let mut fixture = Fixture::new();
    fixture.say(objects);
    for (probe, expected) in asks {
        let found = fixture.ask(probe);
        if found != *expected {
            wrong.push(format!("{rule}: {probe} gets {found:?}, not {expected:?}"));
        }
    }
}

fn spec(spec: Value) -> Value {
    service(json!({ "spec": spec }))
}

fn ingress(entry: Value, spec: Value) -> Value {
    service(json!({ "spec": spec, "status": { "loadBalancer": { "ingress": [entry] } } }))
}

#[test]
fn which_services_are_proxied() {
    let labelled =
        |label: &str, value: &str| service(json!({ "metadata": { "labels": { label: value } } }));
    check(vec![
        ("a plain one", vec![service(json!({})), slice("1@n0")], &[("10.96.0.1 80", "1:8080")]),
        (
            "another proxy's",
            vec![labelled("service.kubernetes.io/service-proxy-name", "other"), slice("1@n0")],
            &[("10.96.0.1 80", "nothing"), ("10.96.0.1 81", "nothing")],
        ),
        (
            "any value counts, the empty one too",
            vec![labelled("service.kubernetes.io/service-proxy-name", ""), slice("1@n0")],
            &[("10.96.0.1 80", "nothing")],
        ),
        (
            "the headless label",
            vec![labelled("service.kubernetes.io/headless", ""), slice("1@n0")],
            &[("10.96.0.1 80", "nothing")],
        ),
        (
            "ExternalName",
            vec![spec(json!({ "type": "ExternalName", "externalName": "a.b" })), slice("1@n0")],
            &[("10.96.0.1 80", "nothing")],
        ),
        (
            "no clusterIP yet: not its nodePort either",
            vec![
                spec(json!({ "type": "NodePort", "clusterIPs": null, "clusterIP": "",
                    "ports": [{ "port": 80, "nodePort": 30001 }] })),
                slice("1@n0"),
            ],
            &[("10.96.0.1 80", "nothing"), ("192.168.0.10 30001", "nothing")],
        ),
        (
            "headless",
            vec![spec(json!({ "clusterIPs": ["None"], "clusterIP": "None" })), slice("1@n0")],
            &[("10.96.0.1 80", "nothing")],
        ),
    ]);
}

#[test]
fn a_service_that_stops_being_proxied_is_withdrawn_and_comes_back() {
    let node_port = json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30001 }] });
    let name = json!({ "type": "ExternalName", "externalName": "a.b", "clusterIPs": null });
    let other = json!({ "service.kubernetes.io/service-proxy-name": "other" });
    for gone in [spec(name), service(json!({ "metadata": { "labels": other } }))] {
        let mut fixture = Fixture::new();
        for _ in 0..2 {
            fixture.say(&[spec(node_port.clone()), slice("1@n0")]);
            assert_eq!(fixture.ask("10.96.0.1 80"), "1:8080");
            assert_eq!(fixture.ask("192.168.0.11 30001"), "1:8080");
            fixture.say(std::slice::from_ref(&gone));
            for probe in ["10.96.0.1 80", "10.96.0.1 81", "192.168.0.11 30001"] {
                assert_eq!(fixture.ask(probe), "nothing", "{probe}");
            }
        }
    }
}

#[test]
fn how_ports_meet_endpoints() {
    let two = json!([{ "name": "a", "port": 80 }, { "name": "b", "port": 81 }]);
    let named = |name: &str, port: u16| json!([{ "name": name, "protocol": "TCP", "port": port }]);
    let of = |x: &str, endpoints: &str, ports: Value| {
        slice_with(endpoints, json!({ "metadata": { "name": x }, "ports": ports }))
    };
    check(vec![
        (
            "by name, never by number",
            vec![spec(json!({ "ports": two })), of("x", "1@n0", named("b", 80))],
            &[("10.96.0.1 80", "refused"), ("10.96.0.1 81", "1:80")],
        ),
        (
            "a named targetPort differs from slice to slice",
            vec![
                spec(json!({ "ports": [{ "name": "a", "port": 80, "targetPort": "web" }] })),
                of("x", "1@n0", named("a", 8080)),
                of("y", "2@n0", named("a", 9090)),
            ],
            &[("10.96.0.1 80", "1:8080 2:9090")],
        ),
        (
            "the slice's port is the one, not targetPort",
            vec![spec(json!({ "ports": [{ "port": 80, "targetPort": 1234 }] })), slice("1@n0")],
            &[("10.96.0.1 80", "1:8080")],
        ),
        (
            "protocols on one port are strangers",
            vec![
                spec(json!({ "ports": [{ "name": "a", "port": 53, "protocol": "UDP" },
                    { "name": "b", "port": 53, "protocol": "TCP" }] })),
                of("x", "1@n0", json!([{ "name": "a", "protocol": "UDP", "port": 53 }])),
            ],
            &[("10.96.0.1 53 udp", "1:53"), ("10.96.0.1 53", "refused")],
        ),
        (
            "a port without a number is no port",
            vec![
                service(json!({})),
                slice_with("1@n0", json!({ "ports": [{ "name": "", "protocol": "TCP" }] })),
            ],
            &[("10.96.0.1 80", "refused")],
        ),
        (
            "port 0 is no port",
            vec![service(json!({})), of("x", "1@n0", named("", 0))],
            &[("10.96.0.1 80", "refused")],
        ),
    ]);
}

#[test]
fn which_slices_and_endpoints_count() {
    let bare = |endpoint: Value| slice_with("", json!({ "endpoints": [endpoint] }));
    check(vec![
        (
            "no service-name label: no Service's",
            vec![service(json!({})), slice_with("1@n0", json!({ "metadata": { "labels": null } }))],
            &[("10.96.0.1 80", "refused")],
        ),
        (
            "a slice with the headless label is not seen",
            vec![
                service(json!({})),
                slice_with(
                    "1@n0",
                    json!({ "metadata": { "labels": { "service.kubernetes.io/headless": "" } } }),
                ),
            ],
            &[("10.96.0.1 80", "refused")],
        ),
        (
            "another namespace's",
            vec![
                service(json!({})),
                slice_with("1@n0", json!({ "metadata": { "namespace": "e" } })),
            ],
            &[("10.96.0.1 80", "refused")],
        ),
        (
            "names are not addresses",
            vec![service(json!({})), slice_with("1@n0", json!({ "addressType": "FQDN" }))],
            &[("10.96.0.1 80", "refused")],
        ),
        (
            "only the first address",
            vec![service(json!({})), bare(json!({ "addresses": ["10.0.0.1", "10.0.0.2"] }))],
            &[("10.96.0.1 80", "1:8080")],
        ),
        (
            "absent conditions: ready, serving, not terminating",
            vec![service(json!({})), bare(json!({ "addresses": ["10.0.0.1"], "conditions": {} }))],
            &[("10.96.0.1 80", "1:8080")],
        ),
        (
            "each family its own endpoints",
            vec![
                spec(
                    json!({ "clusterIPs": ["10.96.0.1", "fd96::1"], "ipFamilies": ["IPv4", "IPv6"] }),
                ),
                slice("1@n0"),
                slice_with("2@n0", json!({ "addressType": "IPv6", "metadata": { "name": "y" } })),
            ],
            &[("10.96.0.1 80", "1:8080"), ("fd96::1 80", "v6:2:8080")],
        ),
        (
            "never across families",
            vec![
                spec(
                    json!({ "clusterIPs": ["10.96.0.1", "fd96::1"], "ipFamilies": ["IPv4", "IPv6"] }),
                ),
                slice("1@n0"),
            ],
            &[("fd96::1 80", "refused")],
        ),
        (
            "loopback, link-local, multicast and unspecified endpoints lead to the node itself",
            vec![
                service(json!({})),
                slice_with(
                    "1@n0",
                    json!({ "endpoints": [
                    { "addresses": ["127.0.0.1"] }, { "addresses": ["169.254.169.254"] },
                    { "addresses": ["224.0.0.1"] }, { "addresses": ["0.0.0.0"] },
                    { "addresses": ["10.0.0.7"] }] }),
                ),
            ],
            &[("10.96.0.1 80", "7:8080")],
        ),
    ]);
}

#[test]
fn which_endpoints_are_chosen() {
    let here = || spec(json!({ "internalTrafficPolicy": "Local" }));
    let again = |endpoints: &str| slice_with(endpoints, json!({ "metadata": { "name": "y" } }));
    let plain = |endpoints: &str| vec![service(json!({})), slice(endpoints)];
    let rows = vec![
        ("all ready ones", plain("1@n0, 2@n1, 3"), "1:8080 2:8080 3:8080"),
        ("not ready: never", plain("1@n0/s, 2@n1"), "2:8080"),
        (
            "ready and terminating (publishNotReadyAddresses): ready",
            plain("1@n0/rst, 2@n1/st"),
            "1:8080",
        ),
        (
            "none ready: those that drain, wherever",
            plain("1@n0/st, 2@n1/st, 3@n0/t, 4@n0/s"),
            "1:8080 2:8080",
        ),
        ("terminating and not serving: never", plain("1@n0/t"), "refused"),
        ("neither ready nor terminating: never", plain("1@n0/s"), "refused"),
        ("no endpoint", plain(""), "refused"),
        ("no slice", vec![service(json!({}))], "refused"),
        ("all hint a node, one this one", plain("1@n1 node=n0, 2@n0 node=n1"), "1:8080"),
        ("node hints before zone hints", plain("1 node=n0 zone=z1, 2 node=n1 zone=z0"), "1:8080"),
        (
            "no node hint for here: zone hints",
            plain("1 node=n1 zone=z0, 2 node=n1 zone=z1"),
            "1:8080",
        ),
        ("all hint a zone, one this one", plain("1@n1 zone=z0, 2@n0 zone=z1"), "1:8080"),
        (
            "one without a hint disables it",
            plain("1@n0 zone=z0, 2@n1 zone=z1, 3"),
            "1:8080 2:8080 3:8080",
        ),
        ("one that is not ready disables nothing", plain("1 zone=z0, 2 zone=z1, 3/s"), "1:8080"),
        ("no hint for this zone", plain("1 zone=z1, 2 zone=z1"), "1:8080 2:8080"),
        (
            "hints of draining ones do not matter",
            plain("1/st zone=z0, 2/st zone=z1"),
            "1:8080 2:8080",
        ),
        ("Local: ready ones here", vec![here(), slice("1@n0, 2@n1, 3@n0/st")], "1:8080"),
        (
            "Local: draining ones here, though others are ready",
            vec![here(), slice("1@n0/st, 2@n1")],
            "1:8080",
        ),
        ("Local ignores hints", vec![here(), slice("1@n0 zone=z1, 2@n1 zone=z0")], "1:8080"),
        ("no node: never local", vec![here(), slice("1, 2@n1")], "left"),
        ("Local, and nothing anywhere", vec![here(), slice("1@n1/t")], "refused"),
        ("Local, and only draining ones elsewhere", vec![here(), slice("1@n1/st")], "left"),
        (
            "twice: the one that does not terminate",
            vec![service(json!({})), slice("1@n0/st, 2@n0"), again("1@n0")],
            "1:8080 2:8080",
        ),
        (
            "twice: in either order",
            vec![service(json!({})), slice("1@n0"), again("1@n0/st, 2@n0")],
            "1:8080 2:8080",
        ),
        (
            "twice: not terminating and not ready wins too",
            vec![service(json!({})), slice("1@n0/st"), again("1@n0/s")],
            "refused",
        ),
    ];
    let mut wrong = Vec::new();
    for (rule, objects, expected) in rows {
        judge(rule, &objects, &[("10.96.0.1 80", expected)], &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_node_without_a_zone_follows_no_zone_hints_until_it_has_one() {
    let node = |labels: Value| {
        json!({ "kind": "Node", "metadata": { "name": "n0", "labels": labels },
            "status": { "addresses": [{ "type": "InternalIP", "address": "192.168.0.10" }] } })
    };
    let mut fixture = Fixture::new();
    fixture.say(&[service(json!({})), slice("1 zone=z0, 2 zone=z1"), node(json!({}))]);
    assert_eq!(fixture.ask("10.96.0.1 80"), "1:8080 2:8080");
    fixture.say(&[node(json!({ "topology.kubernetes.io/zone": "z1" }))]);
    assert_eq!(fixture.ask("10.96.0.1 80"), "2:8080");
}

#[test]
fn where_frontends_are() {
    let balanced = |spec: Value| ingress(json!({ "ip": "1.1.1.1" }), spec);
    let node_port = || json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30001 }] });
    check(vec![
        (
            "an unknown port of a clusterIP is refused, of every protocol",
            vec![service(json!({})), slice("1@n0")],
            &[("10.96.0.1 81", "unknown port"), ("10.96.0.1 80 udp", "unknown port")],
        ),
        (
            "a nodePort on every node, on loopback for the host, not on other addresses",
            vec![spec(node_port()), slice("1@n1")],
            &[
                ("192.168.0.10 30001", "1:8080"),
                ("192.168.0.11 30001 host", "1:8080"),
                ("127.0.0.1 30001 host", "1:8080"),
                ("127.0.0.1 30001", "nothing"),
                ("10.96.0.1 30001", "unknown port"),
                ("192.168.0.12 30001", "nothing"),
                ("::1 30001 host", "nothing"),
                ("192.168.0.10 30001 udp", "nothing"),
                ("192.168.0.10 22", "nothing"),
            ],
        ),
        (
            "nodePort 0 is none",
            vec![
                spec(json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 0 }] })),
                slice("1@n0"),
            ],
            &[("10.96.0.1 80", "1:8080"), ("192.168.0.10 80", "nothing")],
        ),
        (
            "externalIPs in the allowed blocks only",
            vec![spec(json!({ "externalIPs": ["2.2.2.2", "3.3.3.3"] })), slice("1@n0")],
            &[("2.2.2.2 80", "1:8080"), ("3.3.3.3 80", "nothing"), ("2.2.2.2 81", "nothing")],
        ),
        (
            "loadBalancerIP is a wish of the cloud controller's",
            vec![
                spec(json!({ "type": "LoadBalancer", "loadBalancerIP": "1.1.1.1" })),
                slice("1@n0"),
            ],
            &[("1.1.1.1 80", "nothing")],
        ),
        (
            "a load balancer's address; other ports of it are left alone",
            vec![balanced(json!({ "type": "LoadBalancer" })), slice("1@n0")],
            &[("1.1.1.1 80", "1:8080"), ("1.1.1.1 81", "nothing")],
        ),
        (
            "ipMode Proxy: packets really go there",
            vec![ingress(json!({ "ip": "1.1.1.1", "ipMode": "Proxy" }), json!({})), slice("1@n0")],
            &[("1.1.1.1 80", "nothing"), ("10.96.0.1 80", "1:8080")],
        ),
        (
            "only a host name",
            vec![ingress(json!({ "hostname": "lb.example" }), json!({})), slice("1@n0")],
            &[("10.96.0.1 80", "1:8080")],
        ),
        (
            "source ranges filter load balancer addresses only",
            vec![
                balanced(json!({ "type": "LoadBalancer", "externalIPs": ["2.2.2.2"],
                    "loadBalancerSourceRanges": [" 10.0.0.0/8 "],
                    "ports": [{ "port": 80, "nodePort": 30001 }] })),
                slice("1@n0"),
            ],
            &[
                ("1.1.1.1 80", "left"),
                ("2.2.2.2 80", "1:8080"),
                ("10.96.0.1 80", "1:8080"),
                ("192.168.0.10 30001", "1:8080"),
            ],
        ),
        (
            "ranges of the other family are no filter",
            vec![balanced(json!({ "loadBalancerSourceRanges": ["fd00::/8"] })), slice("1@n0")],
            &[("1.1.1.1 80", "1:8080")],
        ),
        (
            "a VIP that is a node's address comes before nodePorts",
            vec![
                ingress(
                    json!({ "ip": "192.168.0.11" }),
                    json!({ "type": "LoadBalancer",
                    "externalTrafficPolicy": "Local",
                    "ports": [{ "port": 30001, "nodePort": 30001 }] }),
                ),
                slice("1@n0"),
            ],
            &[("192.168.0.11 30001", "1:8080"), ("192.168.0.11 22", "nothing")],
        ),
    ]);
}

#[test]
fn what_policies_govern() {
    let outside = |internal: &str, external: &str| {
        ingress(
            json!({ "ip": "1.1.1.1" }),
            json!({ "type": "LoadBalancer", "externalIPs": ["2.2.2.2"],
                "internalTrafficPolicy": internal, "externalTrafficPolicy": external,
                "ports": [{ "port": 80, "nodePort": 30001 }] }),
        )
    };
    check(vec![
        (
            "internalTrafficPolicy Local: the clusterIP alone",
            vec![outside("Local", "Cluster"), slice("1@n1")],
            &[
                ("10.96.0.1 80", "left"),
                ("1.1.1.1 80", "1:8080"),
                ("2.2.2.2 80", "1:8080"),
                ("192.168.0.10 30001", "1:8080"),
                ("192.168.0.11 30001", "1:8080"),
            ],
        ),
        (
            "externalTrafficPolicy Local from a socket here: short-circuited to all, also without a \
             local endpoint (kubernetes#131765)",
            vec![outside("Cluster", "Local"), slice("1@n1")],
            &[
                ("10.96.0.1 80", "1:8080"),
                ("1.1.1.1 80", "1:8080"),
                ("1.1.1.1 80 host", "1:8080"),
                ("2.2.2.2 80", "1:8080"),
                ("192.168.0.10 30001", "1:8080"),
                ("127.0.0.1 30001 host", "1:8080"),
            ],
        ),
        (
            "externalTrafficPolicy Local on a remote node: that node's own",
            vec![outside("Cluster", "Local"), slice("1@n0, 2@n1, 3@n1/st")],
            &[("192.168.0.11 30001", "2:8080"), ("192.168.0.10 30001", "1:8080 2:8080")],
        ),
        (
            "a remote node's draining ones",
            vec![outside("Cluster", "Local"), slice("1@n0, 3@n1/st")],
            &[("192.168.0.11 30001", "3:8080")],
        ),
        (
            "a remote node without any: no connection",
            vec![outside("Cluster", "Local"), slice("1@n0, 3@n1/t")],
            &[("192.168.0.11 30001", "left"), ("192.168.0.11 30001 host", "left")],
        ),
        (
            "nothing usable: refused everywhere",
            vec![outside("Local", "Cluster"), slice("1@n0/t")],
            &[
                ("10.96.0.1 80", "refused"),
                ("1.1.1.1 80", "refused"),
                ("2.2.2.2 80", "refused"),
                ("192.168.0.11 30001", "refused"),
            ],
        ),
    ]);
}

#[test]
fn who_gets_a_contested_frontend() {
    let other = |created: &str, patch: Value| {
        let mut other = service(patch);
        other["metadata"]["name"] = "t".into();
        other["metadata"]["creationTimestamp"] = created.into();
        other
    };
    let own = |endpoints: &str| {
        slice_with(
            endpoints,
            json!({ "metadata": { "name": "y",
            "labels": { "kubernetes.io/service-name": "t" } } }),
        )
    };
    let external =
        || json!({ "spec": { "clusterIPs": ["10.96.0.2"], "externalIPs": ["2.2.2.2"] } });
    let stolen = json!({ "spec": { "clusterIPs": ["10.96.0.2"] },
        "status": { "loadBalancer": { "ingress": [{ "ip": "10.96.0.1" }] } } });
    check(vec![
        (
            "the older Service",
            vec![
                spec(json!({ "externalIPs": ["2.2.2.2"] })),
                slice("1@n0"),
                other("2026-01-01T00:00:00Z", external()),
                own("2@n0"),
            ],
            &[("2.2.2.2 80", "2:8080"), ("10.96.0.1 80", "1:8080"), ("10.96.0.2 80", "2:8080")],
        ),
        (
            "the younger one does not",
            vec![
                spec(json!({ "externalIPs": ["2.2.2.2"] })),
                slice("1@n0"),
                other("2026-01-03T00:00:00Z", external()),
                own("2@n0"),
            ],
            &[("2.2.2.2 80", "1:8080"), ("10.96.0.2 80", "2:8080")],
        ),
        (
            "a clusterIP is never taken by a load balancer's address, however old",
            vec![
                service(json!({})),
                slice("1@n0"),
                other("2020-01-01T00:00:00Z", stolen),
                own("2@n0"),
            ],
            &[("10.96.0.1 80", "1:8080"), ("10.96.0.2 80", "2:8080")],
        ),
    ]);
}

#[test]
fn an_address_that_this_node_answers_itself_has_the_other_endpoints_behind_it() {
    let ports = |dns: u16| {
        json!([{ "name": "dns", "protocol": "UDP", "port": dns },
               { "name": "metrics", "protocol": "UDP", "port": 9153 }])
    };
    let endpoints = |which: &str| slice_with(which, json!({ "ports": ports(5353) }));
    let mut fixture = Fixture::new();
    let own = "10.0.0.1".parse().unwrap();
    fixture.note(NodeFact::Addresses(vec![own]));
    // 1 is this machine's address; 3 is a pod on it, which is alive whatever the daemon is.
    fixture.say(&[spec(json!({ "ports": ports(53) })), endpoints("1@n0, 2@n1, 3@n0")]);
    assert_eq!(fixture.ask("10.96.0.1 53 udp"), "1:5353 2:5353 3:5353");
    let service = Some(ObjectName::new("d", "s"));
    fixture.note(NodeFact::AnswersDns(service));
    let own_server = "Service d/s: left alone: this node's own DNS server answers there";
    let behind = |fixture: &Fixture| fixture.without_own_dns("10.96.0.1", 53);
    assert_eq!(behind(&fixture), ("2:5353 3:5353".to_owned(), own_server.to_owned()));
    assert_eq!(
        fixture.ask("10.96.0.1 9153 udp"),
        "1:9153 2:9153 3:9153",
        "its other ports as ever"
    );
    // An address that the node gets, or gives up.
    fixture.note(NodeFact::Addresses(vec![own, "10.0.0.3".parse().unwrap()]));
    assert_eq!(behind(&fixture).0, "2:5353");
    fixture.note(NodeFact::Addresses(vec![]));
    assert_eq!(behind(&fixture).0, "1:5353 2:5353 3:5353");
    // No endpoint elsewhere: never refused, a server that comes back answers at once.
    fixture.note(NodeFact::Addresses(vec![own]));
    fixture.say(&[endpoints("1@n0")]);
    assert_eq!(behind(&fixture), ("left".to_owned(), own_server.to_owned()));
    fixture.note(NodeFact::AnswersDns(None));
    assert_eq!(fixture.ask("10.96.0.1 53 udp"), "1:5353");
}
