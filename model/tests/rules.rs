//! The rest of services.md 1.1 that concerns reading, hostile values, and the size of what is kept.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use towpath_model::{
    Endpoint, EndpointSlice, Kind, Node, Object, ROWS, Service, SlicePort, decode,
    service::ServicePort,
    unknown_fields,
    wire::{decode_list, identify, pod::decode_pod},
};

fn service(spec: &Value) -> Arc<Service> {
    let json = json!({"metadata": {"name": "s", "namespace": "d"}, "spec": spec}).to_string();
    match decode(Kind::Service, json.as_bytes()) {
        Ok(Object::Service(service)) => service,
        other => unreachable!("{other:?}"),
    }
}

fn slice(rest: &Value) -> Arc<EndpointSlice> {
    let mut json = rest.clone();
    json["metadata"] =
        json!({"name": "x", "namespace": "d", "labels": {"kubernetes.io/service-name": "s"}});
    match decode(Kind::EndpointSlice, json.to_string().as_bytes()) {
        Ok(Object::EndpointSlice(slice)) => slice,
        other => unreachable!("{other:?}"),
    }
}

fn fields(problems: &[towpath_model::Problem]) -> Vec<&str> {
    problems.iter().map(|problem| &*problem.field).collect()
}

#[test]
fn addresses_that_cannot_be_used_are_refused_and_named() {
    for (written, read) in [
        ("10.0.0.1", Some("10.0.0.1")),
        ("10.0.0.011", Some("10.0.0.11")),
        ("fd00::0001", Some("fd00::1")),
        ("::ffff:10.0.0.1", None),
        ("::ffff:a00:1", None),
        ("fe80::1%eth0", None),
        ("10.0.0.1/32", None),
        ("0.0.0.0", None),
        ("00.0.0.000", None),
        ("::", None),
        ("0x0a.0.0.1", None),
        ("10.1", None),
        (" 10.0.0.1", None),
        ("", None),
    ] {
        let s = service(&json!({"externalIPs": [written, "192.0.2.1"]}));
        let ips: Vec<_> = s.external_ips.iter().map(ToString::to_string).collect();
        let expected: Vec<_> = read.into_iter().chain(["192.0.2.1"]).collect();
        assert_eq!(ips, expected, "{written:?}");
        let noted = read.is_none() || written == "10.0.0.011";
        assert_eq!(s.meta.problems.len(), usize::from(noted), "{written:?}");
    }
}

#[test]
fn source_ranges_are_trimmed_and_nonsense_admits_no_client() {
    let ranges = |texts: Value| {
        let s = service(&json!({"loadBalancerSourceRanges": texts}));
        let ranges = s.source_ranges.iter().map(|r| format!("{}/{}", r.base, r.prefix));
        (ranges.collect::<Vec<_>>().join(" "), s.meta.problems.len())
    };
    let (all, noted) = ranges(json!([" 10.1.2.3/8\n", "fd00::/8", "010.0.0.0/16"]));
    assert_eq!((all.as_str(), noted), ("10.0.0.0/8 fd00::/8 10.0.0.0/16", 0));
    let (some, noted) = ranges(json!(["10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0", "10.0.0.0/8"]));
    assert_eq!((some.as_str(), noted), ("10.0.0.0/8", 3));
    let (closed, noted) = ranges(json!(["everybody"]));
    assert_eq!((closed.as_str(), noted), ("0.0.0.0/32 ::/128", 1));
    assert_eq!(ranges(json!([])).0, "");
    assert_eq!(ranges(json!(null)).0, "");
}

#[test]
fn affinity_has_a_default_and_limits() {
    let affinity = |config: Value| {
        let s = service(&json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config}));
        (s.affinity_seconds, s.meta.problems.len())
    };
    let timeout = |seconds: i64| affinity(json!({"clientIP": {"timeoutSeconds": seconds}}));
    assert_eq!(affinity(json!(null)), (Some(10_800), 0));
    assert_eq!(affinity(json!({"clientIP": null})), (Some(10_800), 0));
    assert_eq!(timeout(1), (Some(1), 0));
    assert_eq!(timeout(86_400), (Some(86_400), 0));
    assert_eq!(timeout(86_401), (Some(86_400), 1));
    assert_eq!(timeout(0), (Some(1), 1));
    assert_eq!(timeout(-5), (Some(1), 1));
    assert_eq!(service(&json!({"sessionAffinity": "Sticky"})).affinity_seconds, None);
}

#[test]
fn ports_of_a_slice_that_lead_nowhere_are_named() {
    let s = slice(&json!({"addressType": "IPv4", "ports": [
        {"name": "ok", "port": 1}, {"port": 2}, {"name": "nil"}, {"name": "zero", "port": 0},
        {"name": "big", "port": 65536}, {"name": "quic", "port": 3, "protocol": "QUIC"},
        {"name": "sctp", "port": 65535, "protocol": "SCTP"}]}));
    assert_eq!(s.ports.iter().map(|port| &*port.name).collect::<Vec<_>>(), ["ok", "sctp"]);
    assert_eq!(
        fields(&s.meta.problems),
        ["ports[1].name", "ports[2].port", "ports[3].port", "ports[4].port", "ports[5].protocol"]
    );
}

#[test]
fn endpoints_keep_their_first_address_and_share_names() {
    let s = slice(&json!({"addressType": "IPv4", "endpoints": [
        {"addresses": ["10.0.0.1"], "nodeName": "n", "hints": {"forZones": [{"name": "z"}]}},
        {"addresses": ["10.0.0.2", "garbage"], "nodeName": "n", "zone": "z",
            "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "n"}]}},
        {"addresses": ["10.0.0.3"], "nodeName": "", "hints": {"forZones": []}},
        {"addresses": ["a.b"]}]}));
    let [a, b, c] = &*s.endpoints else { unreachable!("{s:?}") };
    assert!(Arc::ptr_eq(a.node.as_ref().unwrap(), b.node.as_ref().unwrap()));
    assert!(Arc::ptr_eq(&b.node_hints.as_ref().unwrap()[0], a.node.as_ref().unwrap()));
    assert!(c.node.is_none() && c.zone_hints.is_none());
    assert_eq!(fields(&s.meta.problems), ["endpoints[3].addresses[0]"]);
}

#[test]
fn labels_decide_who_serves() {
    let json = json!({"metadata": {"name": "s", "labels": {
        "service.kubernetes.io/service-proxy-name": "", "service.kubernetes.io/headless": "",
        "other": 5}, "annotations": {"kubectl": "x".repeat(100_000)}}});
    let Ok(Object::Service(s)) = decode(Kind::Service, json.to_string().as_bytes()) else {
        unreachable!("any value counts, labels out of use may be anything")
    };
    assert!(s.proxy_name.as_deref() == Some("") && s.headless_label);
}

#[test]
fn names_are_found_in_objects_that_cannot_be_read() {
    let named = |json: &str| identify(json.as_bytes()).map(|(kind, name)| format!("{kind} {name}"));
    let twice = r#"{"kind":"Service","kind":"Service","metadata":{"namespace":"d","name":"s"}}"#;
    assert_eq!(named(twice).as_deref(), Some(" d/s"), "a kind written twice hides no name");
    assert_eq!(
        named(r#"{"kind":"Service","metadata":{"namespace":"d","name":"a","labels":7},"spec":8}"#),
        Some("Service d/a".into())
    );
    assert_eq!(named(r#"{"metadata":{"name":"a","namespace":7}}"#), Some(" a".into()));
    assert_eq!(named(r#"{"metadata":{"name":7}}"#), None);
    assert_eq!(named(r#"{"metadata":"a"}"#), None);
    assert_eq!(named(r#"{"metadata":{"name":"a""#), None);
}

/// Targets: 1.3 KB a Service, 80 bytes an endpoint (operations.md 1.3). A field more shows here.
#[test]
fn what_is_kept_stays_small() {
    assert!(size_of::<Endpoint>() <= 80, "{}", size_of::<Endpoint>());
    assert!(size_of::<SlicePort>() <= 24, "{}", size_of::<SlicePort>());
    assert!(size_of::<EndpointSlice>() <= 224, "{}", size_of::<EndpointSlice>());
    assert!(size_of::<Service>() <= 416, "{}", size_of::<Service>());
    assert!(size_of::<ServicePort>() <= 48, "{}", size_of::<ServicePort>());
    assert!(size_of::<Node>() <= 160, "{}", size_of::<Node>());
}

/// JSON of any shape, with the field names that are read.
fn anything() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("10.0.0.1"),
        Just("fd00::1"),
        Just("None"),
        Just("IPv4"),
        Just("TCP"),
        Just("Local"),
        Just("ClientIP"),
        Just("\u{1f980}"),
        Just(""),
        Just("10.0.0.0/8"),
        Just("NodePort"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..70_000i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let name = prop::sample::select(vec![
        "metadata",
        "name",
        "namespace",
        "labels",
        "kubernetes.io/service-name",
        "spec",
        "ports",
        "port",
        "protocol",
        "targetPort",
        "nodePort",
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "type",
        "status",
        "loadBalancer",
        "ingress",
        "ip",
        "ipMode",
        "endpoints",
        "addresses",
        "conditions",
        "ready",
        "hints",
        "forZones",
        "addressType",
        "taints",
        "key",
        "podIPs",
        "containers",
        "containerPort",
        "selector",
        "sessionAffinity",
        "sessionAffinityConfig",
        "clientIP",
        "timeoutSeconds",
        "loadBalancerSourceRanges",
        "items",
        "address",
    ]);
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => prop::collection::vec((name.clone(), inner), 0..8).prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn json_of_any_shape_is_taken_or_refused_with_a_reason(value in anything(), named in any::<bool>()) {
        let mut value = value;
        if named && value.is_object() {
            value["metadata"] = json!({"name": "x", "labels": {"kubernetes.io/service-name": "s"}});
        }
        let json = value.to_string();
        for kind in ROWS.iter().map(|row| row.kind) {
            match decode(kind, json.as_bytes()) {
                Ok(object) => prop_assert_eq!(object.kind(), kind),
                Err(bad) => {
                    prop_assert!(!bad.problem.why.is_empty() && !bad.problem.field.is_empty());
                    prop_assert_eq!(bad.key.is_some(), identify(json.as_bytes()).is_some());
                }
            }
            let _list = decode_list(kind, json.as_bytes(), |_| ());
            let _fields = unknown_fields(kind.as_str(), &value);
        }
        let _pod = decode_pod(json.as_bytes());
        let ranges = [towpath_model::service::Cidr::parse("10.96.0.0/16").unwrap()];
        let mut allocator =
            towpath_model::synth::Allocator::new(&ranges, towpath_model::synth::Allocations::default());
        if let Ok(written) = towpath_model::synth::Written::read(json.as_bytes()) {
            let mut filled = [written.clone(), written];
            let _problems = allocator.fill_all(&mut filled, &std::collections::BTreeSet::new());
            let _slices = towpath_model::synth::slices(&filled[0], [], |_| None);
        }
    }

    #[test]
    fn a_cut_object_is_refused(at in 0..100usize) {
        let json = br#"{"metadata":{"name":"s","namespace":"d"},"spec":{"ports":[{"name":"a","port":80,"protocol":"TCP"}]}}"#;
        prop_assert!(decode(Kind::Service, &json[..at]).is_err());
        prop_assert!(decode_list(Kind::Service, &json[..at], |_| ()).is_err());
    }
}
