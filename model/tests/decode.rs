//! What is read of the API's objects: one row per rule of services.md 1.1.
#![expect(clippy::panic, reason = "a test")]

use proptest::prelude::*;
use towpath_model::{
    Family, Kind, Object, Protocol, ROWS, decode,
    service::{ServiceType, TargetPort, TrafficPolicy},
    wire::{decode_list, pod::decode_pod},
};

fn service(spec: &str) -> std::sync::Arc<towpath_model::Service> {
    let json = format!(r#"{{"metadata":{{"name":"s","namespace":"d"}},"spec":{spec}}}"#);
    match decode(Kind::Service, json.as_bytes()) {
        Ok(Object::Service(service)) => service,
        other => panic!("{other:?}"),
    }
}

fn slice(rest: &str) -> std::sync::Arc<towpath_model::EndpointSlice> {
    let json = format!(
        r#"{{"metadata":{{"name":"x","namespace":"d","labels":{{"kubernetes.io/service-name":"s"}}}},{rest}}}"#
    );
    match decode(Kind::EndpointSlice, json.as_bytes()) {
        Ok(Object::EndpointSlice(slice)) => slice,
        other => panic!("{other:?}"),
    }
}

fn why(problems: &[towpath_model::Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn defaults_are_the_apis() {
    let s =
        service(r#"{"clusterIP":"10.96.0.1","ports":[{"port":80}],"sessionAffinity":"ClientIP"}"#);
    assert_eq!(s.service_type, ServiceType::ClusterIp);
    assert_eq!(s.affinity_seconds, Some(10_800));
    assert_eq!(s.external_policy, TrafficPolicy::Cluster);
    let port = &s.ports[0];
    assert_eq!(
        (port.protocol, port.node_port, &port.target),
        (Protocol::Tcp, 0, &TargetPort::Number(80))
    );
    assert!(s.meta.problems.is_empty() && !s.headless);
}

#[test]
fn headless_and_unallocated_have_no_cluster_ip() {
    assert!(service(r#"{"clusterIP":"None","clusterIPs":["None"]}"#).headless);
    let s = service(r#"{"clusterIP":"","clusterIPs":[""]}"#);
    assert!(!s.headless && s.cluster_ips.is_empty());
    let s = service("null");
    assert!(s.cluster_ips.is_empty() && s.ports.is_empty());
}

#[test]
fn what_is_wrong_is_named_and_the_rest_is_in_force() {
    let s = service(
        r#"{"type":"Fancy","clusterIPs":["10.0.0.011","10.0.0.12","fd00::1"],"externalTrafficPolicy":"Near",
            "ports":[{"name":"a","port":80},{"name":"a","port":81},{"name":"b","port":0},{"name":"c","port":82,"protocol":"QUIC"},{"name":"d","port":70000},{"name":"e","port":83}],
            "loadBalancerSourceRanges":[" 10.0.0.0/8 ","nonsense"],"sessionAffinity":"ClientIP",
            "sessionAffinityConfig":{"clientIP":{"timeoutSeconds":100000}}}"#,
    );
    assert_eq!(
        s.cluster_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.11", "fd00::1"]
    );
    assert_eq!(s.ports.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["a", "e"]);
    assert_eq!((s.source_ranges.len(), s.affinity_seconds), (1, Some(86_400)));
    let text = why(&s.meta.problems);
    for part in [
        "Fancy",
        "10.0.0.011",
        "leading zeros",
        "10.0.0.12",
        "Near",
        "spec.ports[1].name",
        "spec.ports[2].port",
        "QUIC",
        "70000",
        "nonsense",
        "100000",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(text.starts_with("Service d/s: "));
}

/// The addresses that lead to the asking host itself, to its link or to many hosts.
const SPECIAL: [&str; 9] = [
    "127.0.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "0.0.0.0",
    "::1",
    "fe80::1",
    "ff02::1",
    "::",
    "::ffff:127.0.0.1",
];

fn texts(addresses: &[std::net::IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn a_service_has_no_address_that_leads_back_to_the_client() {
    for special in SPECIAL {
        let json = format!(
            r#"{{"metadata":{{"name":"s"}},
            "spec":{{"clusterIPs":["{special}","10.96.0.1","fd00::1"],"externalIPs":["{special}","1.1.1.1"]}},
            "status":{{"loadBalancer":{{"ingress":[{{"ip":"{special}"}},{{"ip":"192.168.0.10"}}]}}}}}}"#
        );
        let Ok(Object::Service(s)) = decode(Kind::Service, json.as_bytes()) else { panic!() };
        // The rest goes on; a load balancer may well have the address of a node.
        assert_eq!(texts(&s.cluster_ips), ["10.96.0.1", "fd00::1"]);
        assert_eq!(texts(&s.external_ips), ["1.1.1.1"]);
        let balancer: Vec<_> = s.load_balancer.iter().map(|i| i.ip.to_string()).collect();
        assert_eq!(balancer, ["192.168.0.10"]);
        let text = why(&s.meta.problems);
        for field in ["spec.clusterIPs", "spec.externalIPs", "status.loadBalancer.ingress"] {
            assert!(text.contains(&format!("Service default/s: {field}: ")), "{special}: {text}");
        }
        assert_eq!(s.meta.problems.len(), 3, "{text}");
    }
}

#[test]
fn a_node_has_no_address_that_leads_back_to_the_client_and_not_too_many() {
    let node = |addresses: &[String]| {
        let entry = |ip: &String| format!(r#"{{"type":"InternalIP","address":"{ip}"}}"#);
        let entries: Vec<String> = addresses.iter().map(entry).collect();
        let json = format!(
            r#"{{"metadata":{{"name":"n"}},"status":{{"addresses":[{}]}}}}"#,
            entries.join(",")
        );
        match decode(Kind::Node, json.as_bytes()) {
            Ok(Object::Node(node)) => node,
            other => panic!("{other:?}"),
        }
    };
    for special in SPECIAL {
        let n = node(&[special.to_owned(), "10.0.0.1".to_owned()]);
        assert_eq!(texts(&n.addresses), ["10.0.0.1"], "{special}");
        assert!(why(&n.meta.problems).starts_with("Node n: status.addresses: "), "{special}");
    }
    let many: Vec<String> = (0..100).map(|at| format!("10.0.0.{at}")).collect();
    let n = node(&many);
    assert_eq!(n.addresses.len(), 64);
    assert!(why(&n.meta.problems).contains("100 addresses; only the first 64 are used"));
    assert!(node(&many[..64]).meta.problems.is_empty());
}

#[test]
fn a_proxied_load_balancer_address_is_marked() {
    let json = br#"{"metadata":{"name":"s"},"status":{"loadBalancer":{"ingress":[{"ip":"1.2.3.4","ipMode":"Proxy"},{"ip":"1.2.3.5","ipMode":"VIP"},{"hostname":"h"}]}}}"#;
    let Ok(Object::Service(s)) = decode(Kind::Service, json) else { panic!() };
    assert_eq!(s.load_balancer.iter().map(|i| i.proxied).collect::<Vec<_>>(), [true, false]);
    assert_eq!(&*s.meta.name.namespace, "default");
}

#[test]
fn conditions_default_as_the_api_says() {
    let s = slice(
        r#""addressType":"IPv4","ports":[{"name":"","port":8080,"protocol":"TCP"},{"port":1},{"name":"n"},{"name":"z","port":0}],
        "endpoints":[{"addresses":["10.0.0.1","10.0.0.2"]},{"addresses":["10.0.0.3"],"conditions":{"ready":null,"serving":false,"terminating":true}},{"addresses":[]},{"addresses":["fd00::1"]}]"#,
    );
    let e = &s.endpoints;
    assert_eq!(e.len(), 2);
    assert_eq!((e[0].ready, e[0].serving, e[0].terminating), (true, true, false));
    assert_eq!((e[1].ready, e[1].serving, e[1].terminating), (true, false, true));
    assert_eq!(s.ports.len(), 1, "no name, no number, zero: not routed");
    assert!(why(&s.meta.problems).contains("fd00::1"));
    assert_eq!((s.family, &*s.service.name), (Some(Family::V4), "s"));
}

#[test]
fn an_fqdn_slice_routes_nothing_and_a_slice_of_no_service_is_refused() {
    assert_eq!(
        slice(r#""addressType":"FQDN","endpoints":[{"addresses":["a.b"]}]"#).endpoints.len(),
        0
    );
    let bad = decode(Kind::EndpointSlice, br#"{"metadata":{"name":"x"},"addressType":"IPv4"}"#)
        .unwrap_err();
    assert!(bad.problem.why.contains("kubernetes.io/service-name") && bad.key.is_some());
}

#[test]
fn a_wrong_type_names_the_object_and_harms_no_other() {
    let list = br#"{"metadata":{"resourceVersion":"7","continue":"t"},"items":[
        {"metadata":{"name":"a","namespace":"d"},"spec":{"ports":"many"}},
        {"metadata":{"name":"b","namespace":"d"}}, 5, {"metadata":{}}]}"#;
    let mut all = Vec::new();
    let meta = decode_list(Kind::Service, list, |item| all.push(item)).unwrap();
    assert_eq!((&*meta.resource_version, &*meta.r#continue), ("7", "t"));
    let bad = all[0].as_ref().unwrap_err();
    assert_eq!(bad.key.as_ref().map(ToString::to_string).as_deref(), Some("Service d/a"));
    assert!(bad.problem.why.contains("many"), "{}", bad.problem);
    assert!(all[1].is_ok() && all[2].is_err() && all[3].is_err());
    assert!(decode_list(Kind::Service, b"<html>", |_| ()).is_err());
}

#[test]
fn nodes_keep_addresses_zone_and_whether_they_go() {
    let json = br#"{"metadata":{"name":"n","labels":{"topology.kubernetes.io/zone":"z"}},"spec":{"taints":[{"key":"ToBeDeletedByClusterAutoscaler"}]},
        "status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"},{"type":"Hostname","address":"n"},{"type":"ExternalIP","address":"1.1.1.1"}],
        "conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True"}]}}"#;
    let Ok(Object::Node(n)) = decode(Kind::Node, json) else { panic!() };
    assert_eq!((n.zone.as_deref(), n.addresses.len(), n.going_away), (Some("z"), 2, true));
    assert_eq!((&*n.external, n.ready), (&["1.1.1.1".parse().unwrap()][..], true));
    for conditions in ["null", "[]", r#"[{"type":"Ready","status":"Unknown"}]"#] {
        let json =
            format!(r#"{{"metadata":{{"name":"n"}},"status":{{"conditions":{conditions}}}}}"#);
        let Ok(Object::Node(n)) = decode(Kind::Node, json.as_bytes()) else { panic!() };
        assert!(!n.ready && n.external.is_empty(), "{conditions}");
    }
}

#[test]
fn pods_are_read_for_their_endpoints() {
    let pod = decode_pod(br#"{"metadata":{"name":"p","labels":{"a":"b"}},"spec":{"nodeName":"n","containers":[{"ports":[{"name":"http","containerPort":80}]}]},
        "status":{"podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],"conditions":[{"type":"Ready","status":"False"}]}}"#).unwrap();
    assert_eq!((pod.ips.len(), pod.ready, pod.ports.len()), (2, false, 1));
    assert!(decode_pod(b"[]").is_err());
}

proptest! {
    #[test]
    fn nothing_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..3) {
        let _answer = decode(ROWS[kind].kind, &bytes);
        let _answer = decode_list(ROWS[kind].kind, &bytes, |_| ());
        let _answer = decode_pod(&bytes);
    }

    #[test]
    fn values_of_any_shape_are_taken_or_refused(key in "(name|spec|ports|clusterIPs|endpoints|addresses|status|metadata|labels)", value in "(null|1|-1|1e400|\"x\"|\\[\\]|\\[null\\]|\\{\\}|true|99999999999999999999)") {
        for kind in ROWS.iter().map(|row| row.kind) {
            let json = format!(r#"{{"metadata":{{"name":"n","labels":{{"kubernetes.io/service-name":"s"}}}},"{key}":{value},"spec":{{"{key}":{value}}}}}"#);
            let _answer = decode(kind, json.as_bytes());
        }
    }
}

#[test]
fn a_service_cidr_is_its_blocks_and_whether_they_can_be_used() {
    let read = |rest: &str| {
        let json = format!(r#"{{"metadata":{{"name":"c","namespace":"ignored"{rest}}}"#);
        match decode(Kind::ServiceCIDR, json.as_bytes()) {
            Ok(Object::ServiceCIDR(cidr)) => cidr,
            other => panic!("{other:?}"),
        }
    };
    let plain = read(r#"},"spec":{"cidrs":["10.96.0.0/16","fd00:96::/112","10.0.0.0"]}"#);
    let shown: Vec<_> = plain.cidrs.iter().map(|c| format!("{}/{}", c.base, c.prefix)).collect();
    assert_eq!(shown, ["10.96.0.0/16", "fd00:96::/112"]);
    assert_eq!(plain.meta.name.to_string(), "c");
    assert!(plain.ready && !plain.going_away);
    assert_eq!(&*plain.meta.problems[0].field, "spec.cidrs[2]");
    let going = read(
        r#","deletionTimestamp":"2026-01-01T00:00:00Z"},
        "status":{"conditions":[{"type":"Other","status":"True"},{"type":"Ready","status":"False"}]}"#,
    );
    assert!(!going.ready && going.going_away && going.cidrs.is_empty());
}

#[test]
fn a_namespace_has_all_its_labels_and_its_name_among_them() {
    let read = |json: &str| match decode(Kind::Namespace, json.as_bytes()) {
        Ok(Object::Namespace(namespace)) => namespace,
        other => panic!("{other:?}"),
    };
    let plain = read(r#"{"metadata":{"name":"shop","labels":{"z":"1","a":""}}}"#);
    let labels: Vec<_> =
        plain.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["a=", "kubernetes.io/metadata.name=shop", "z=1"]);
    assert_eq!((plain.label("z"), plain.label("b")), (Some("1"), None));
    assert!(!plain.terminating);
    for going in [
        r#"{"metadata":{"name":"x"},"status":{"phase":"Terminating"}}"#,
        r#"{"metadata":{"name":"x","deletionTimestamp":"2026-01-01T00:00:00Z"}}"#,
    ] {
        assert!(read(going).terminating, "{going}");
    }
    let named = r#"{"metadata":{"name":"x","labels":{"kubernetes.io/metadata.name":"y"}}}"#;
    assert_eq!(read(named).label("kubernetes.io/metadata.name"), Some("y"), "as it is written");
}

#[test]
fn of_a_config_map_the_texts_are_kept_up_to_a_limit() {
    let read = |data: &str| {
        let json = format!(r#"{{"metadata":{{"name":"c","namespace":"n"}},"data":{data}}}"#);
        match decode(Kind::ConfigMap, json.as_bytes()) {
            Ok(Object::ConfigMap(map)) => map,
            other => panic!("{other:?}"),
        }
    };
    let plain = read(r#"{"Corefile":".:53 {\n}","a":""}"#);
    assert_eq!(
        (plain.get("Corefile"), plain.get("a"), plain.get("b")),
        (Some(".:53 {\n}"), Some(""), None)
    );
    assert_eq!(read("null").data.len(), 0);
    let large = "x".repeat(200 << 10);
    let large = read(&format!(r#"{{"a":"{large}","b":"{large}","c":"small"}}"#));
    assert_eq!((large.get("a").map(str::len), large.get("b")), (Some(200 << 10), None));
    assert_eq!(large.get("c"), Some("small"), "what is left has room");
    let problem = large.meta.problems[0].to_string();
    assert!(
        problem.starts_with("ConfigMap n/c: data.b: ") && problem.contains("256 KiB"),
        "{problem}"
    );
}

#[test]
fn a_pod_is_kept_with_what_policies_and_names_need() {
    let read = |rest: &str| {
        let json = format!(r#"{{"metadata":{{"name":"p","labels":{{"b":"2","a":"1"}}}}{rest}}}"#);
        match decode(Kind::Pod, json.as_bytes()) {
            Ok(Object::Pod(pod)) => pod,
            other => panic!("{other:?}"),
        }
    };
    let full = read(
        r#","spec":{"nodeName":"n","hostNetwork":true,"containers":[{"ports":[{"name":"http","containerPort":80},{"containerPort":81}]}]},
        "status":{"phase":"Succeeded","podIPs":[{"ip":"fd00::1"},{"ip":"10.0.0.1"}],"conditions":[{"type":"Ready","status":"False"}]}"#,
    );
    let ips: Vec<_> = full.ips().map(|ip| ip.to_string()).collect();
    assert_eq!(ips, ["10.0.0.1", "fd00::1"]);
    assert_eq!(
        (full.label("a"), full.label("c"), full.node.as_deref()),
        (Some("1"), None, Some("n"))
    );
    assert_eq!(full.template.ports.iter().map(|port| port.port).collect::<Vec<_>>(), [80]);
    let state = full.state();
    assert!(!state.ready && state.finished && state.host_network && !state.terminating);
    let plain = read(r#","status":{"podIP":"10.0.0.256"}"#);
    assert_eq!((plain.ips().count(), plain.node.as_deref(), plain.state().ready), (0, None, true));
    let problem = plain.template.problems[0].to_string();
    assert!(problem.starts_with("Pod default/p: status.podIPs: "), "{problem}");
}
