use serde_json::{Value, json};

use super::*;
use crate::{Object, Protocol, decode};

fn policy(spec: Value) -> NetworkPolicy {
    let json = json!({ "metadata": { "name": "p", "namespace": "shop" }, "spec": spec });
    let Ok(Object::NetworkPolicy(policy)) =
        decode(Kind::NetworkPolicy, json.to_string().as_bytes())
    else {
        panic!("{json}");
    };
    policy.as_ref().clone()
}

fn problems(policy: &NetworkPolicy) -> usize {
    policy.meta.problems.len()
}

#[test]
fn directions_default_as_the_api_server_does() {
    let rows = [
        (json!({}), (true, false)),
        (json!({ "policyTypes": [] }), (true, false)),
        (json!({ "egress": [] }), (true, false)),
        (json!({ "egress": [{}] }), (true, true)),
        (json!({ "ingress": [{}] }), (true, false)),
        (json!({ "policyTypes": ["Egress"], "ingress": [{}] }), (false, true)),
        (json!({ "policyTypes": ["Ingress"], "egress": [{}] }), (true, false)),
        (json!({ "policyTypes": ["Ingress", "Egress"] }), (true, true)),
        (json!({ "policyTypes": ["Sideways"] }), (false, false)),
    ];
    for (spec, expected) in rows {
        let policy = policy(spec.clone());
        assert_eq!((policy.ingress.is_some(), policy.egress.is_some()), expected, "{spec}");
    }
}

#[test]
fn missing_and_empty_are_told_apart_where_the_api_does() {
    let read = policy(json!({ "ingress": [
        {}, { "from": null, "ports": null }, { "from": [], "ports": [] }, { "ports": [{}] },
        { "from": [{ "podSelector": {} }] },
        { "from": [{ "namespaceSelector": {} }] },
    ] }));
    let rules = read.ingress.unwrap();
    for any in &rules[..3] {
        assert_eq!((&any.peers, &any.ports), (&None, &None), "any peer, any port, any protocol");
    }
    let tcp = PolicyPort::Range { protocol: Protocol::Tcp, first: 0, last: u16::MAX };
    assert_eq!(rules[3].ports.as_deref(), Some(&[tcp][..]), "an empty port is any TCP port");
    let everything = Selector::everything();
    let own = PolicyPeer::Pods { namespaces: None, pods: everything.clone() };
    assert_eq!(rules[4].peers.as_deref(), Some(&[own][..]));
    let all = PolicyPeer::Pods { namespaces: Some(everything.clone()), pods: everything.clone() };
    assert_eq!(rules[5].peers.as_deref(), Some(&[all][..]));
    assert_eq!(read.subjects, everything, "no podSelector: the whole namespace");
}

#[test]
fn what_does_not_parse_matches_nothing_and_says_so() {
    let selectors = [
        json!({ "matchLabels": { "app": "no good" } }),
        json!({ "matchLabels": { "/app": "web" } }),
        json!({ "matchLabels": { "": "web" } }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": [] }] }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn" }] }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "Exists", "values": ["x"] }] }),
        json!({ "matchExpressions": [{ "key": "app", "operator": "Gt", "values": ["1"] }] }),
        json!({ "matchExpressions": [{ "key": "app" }] }),
        json!({ "matchLabels": { "app": "web" }, "matchFields": [] }),
    ];
    for selector in selectors {
        let read = policy(json!({ "podSelector": selector }));
        assert_eq!((&read.subjects, problems(&read)), (&Selector::Nothing, 1), "{selector}");
    }
    let peers = [
        json!({}),
        json!({ "ipBlock": { "cidr": "10.0.0.0/33" } }),
        json!({ "ipBlock": { "cidr": "10.0.0.0" } }),
        json!({ "ipBlock": {} }),
        json!({ "ipBlock": { "cidr": "::ffff:10.0.0.0/104" } }),
        json!({ "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.0.0.0/x"] } }),
        json!({ "ipBlock": { "cidr": "10.0.0.0/8", "until": "noon" } }),
        json!({ "ipBlock": { "cidr": "10.0.0.0/8" }, "podSelector": {} }),
        json!({ "podSelector": {}, "serviceSelector": {} }),
    ];
    for peer in peers {
        let read = policy(json!({ "ingress": [{ "from": [peer] }] }));
        let rules = read.ingress.as_ref().unwrap();
        assert_eq!(rules[0].peers.as_deref(), Some(&[PolicyPeer::Nothing][..]), "{peer}");
        assert_eq!(problems(&read), 1, "{peer}");
    }
    let ports = [
        json!({ "port": 0 }),
        json!({ "port": 65536 }),
        json!({ "port": "" }),
        json!({ "port": 80, "endPort": 79 }),
        json!({ "port": "web", "endPort": 90 }),
        json!({ "endPort": 90 }),
        json!({ "port": 80, "protocol": "ICMP" }),
        json!({ "port": 80, "icmpType": 8 }),
    ];
    for port in ports {
        let read = policy(json!({ "ingress": [{ "ports": [port] }] }));
        let rules = read.ingress.as_ref().unwrap();
        assert_eq!(rules[0].ports.as_deref(), Some(&[PolicyPort::Nothing][..]), "{port}");
        assert_eq!(problems(&read), 1, "{port}");
    }
    let read = policy(json!({ "ingress": [{ "tiers": [] }] }));
    let rules = read.ingress.as_ref().unwrap();
    assert_eq!((rules[0].peers.as_deref(), problems(&read)), (Some(&[][..]), 1), "no peer");
}

#[test]
fn an_except_outside_of_its_block_has_no_effect() {
    let block = json!({ "cidr": "10.1.2.3/8", "except": ["11.0.0.0/8", "fd00::/8", "10.0.0.0/7", "10.9.0.1/16"] });
    let read = policy(json!({ "egress": [{ "to": [{ "ipBlock": block }] }] }));
    let peers = read.egress.as_ref().unwrap()[0].peers.as_ref().unwrap();
    let cidr = |text| Cidr::parse(text).unwrap();
    let expected =
        PolicyPeer::Block { cidr: cidr("10.0.0.0/8"), except: [cidr("10.9.0.0/16")].into() };
    assert_eq!((&peers[0], problems(&read)), (&expected, 3));
}

#[test]
fn ten_thousand_peers_are_read_and_their_mistakes_are_counted_out() {
    let peers: Vec<Value> = (0..10_000)
        .map(|at| json!({ "ipBlock": { "cidr": format!("10.{}.{}.0/{}", at / 256, at % 256, 24 + at % 2 * 20) } }))
        .collect();
    let read = policy(json!({ "ingress": [{ "from": peers }] }));
    let peers = read.ingress.as_ref().unwrap()[0].peers.as_ref().unwrap();
    assert_eq!((peers.len(), problems(&read)), (10_000, PROBLEMS_MAX));
    assert_eq!(peers.iter().filter(|peer| **peer == PolicyPeer::Nothing).count(), 5_000);
}
