//! Objects in, the answer to a probe out, in words: through store, plan and layout into a fake
//! kernel, and asked of it with the decisions that the kernel takes. `explain` must say the same.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};
use towpath_image::Capacities;
use towpath_model::{Event, Kind, NodeFact, Protocol, decode, service::Cidr};
use towpath_proxy::{Answer as Explained, ProxyConfig, Question, ServicePlan, explain};

use crate::{
    kernel::ask,
    pipeline::Pipeline,
    question::{Answer, Probe, When},
};

/// Service d/s: clusterIP 10.96.0.1, TCP port 80. `patch` is merged into it.
pub(crate) fn service(patch: Value) -> Value {
    let mut service = json!({
        "kind": "Service",
        "metadata": {
            "name": "s", "namespace": "d", "labels": {}, "creationTimestamp": "2026-01-02T00:00:00Z",
        },
        "spec": {
            "type": "ClusterIP", "clusterIPs": ["10.96.0.1"],
            "ports": [{ "protocol": "TCP", "port": 80 }],
        },
    });
    merge(&mut service, patch);
    service
}

/// A slice of d/s. Endpoints are written `1@n0/rst zone=z0 node=n0`: last byte of the address,
/// node, which conditions are true (`rs` unless given), hints; separated by commas.
pub(crate) fn slice(endpoints: &str) -> Value {
    slice_with(endpoints, json!({}))
}

pub(crate) fn slice_with(endpoints: &str, patch: Value) -> Value {
    let v6 = patch["addressType"] == "IPv6";
    let endpoints = endpoints.split(',').map(str::trim).filter(|text| !text.is_empty());
    let mut slice = json!({
        "kind": "EndpointSlice",
        "metadata": {
            "name": "x", "namespace": "d", "labels": { "kubernetes.io/service-name": "s" },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "", "protocol": "TCP", "port": 8080 }],
        "endpoints": endpoints.map(|text| endpoint(text, v6)).collect::<Vec<_>>(),
    });
    merge(&mut slice, patch);
    slice
}

fn endpoint(text: &str, v6: bool) -> Value {
    let mut words = text.split(' ');
    let (place, conditions) = words.next().map(|w| w.split_once('/').unwrap_or((w, "rs"))).unwrap();
    let (last, node) = place.split_once('@').unwrap_or((place, ""));
    let address = if v6 { format!("fd00::{last}") } else { format!("10.0.0.{last}") };
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {
            "ready": conditions.contains('r'), "serving": conditions.contains('s'),
            "terminating": conditions.contains('t'),
        },
    });
    if !node.is_empty() {
        endpoint["nodeName"] = node.into();
    }
    for word in words {
        let (kind, name) = word.split_once('=').unwrap();
        let field = if kind == "zone" { "forZones" } else { "forNodes" };
        endpoint["hints"][field] = json!([{ "name": name }]);
    }
    endpoint
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn node(name: &str, address: &str, zone: &str) -> Value {
    json!({
        "kind": "Node",
        "metadata": { "name": name, "labels": { "topology.kubernetes.io/zone": zone } },
        "status": { "addresses": [{ "type": "InternalIP", "address": address }] },
    })
}

/// This node is n0 at 192.168.0.10 in zone z0; n1 is at 192.168.0.11 in z1.
pub(crate) struct Fixture(Pipeline);

impl Fixture {
    pub(crate) fn new() -> Self {
        let config = ProxyConfig {
            external_ips: vec![Cidr::parse("2.2.2.0/24").unwrap()],
            ..ProxyConfig::default()
        };
        let pipeline = Pipeline::listed(Capacities::default(), ServicePlan::new(config));
        let mut fixture = Self(pipeline);
        fixture.say(&[node("n0", "192.168.0.10", "z0"), node("n1", "192.168.0.11", "z1")]);
        fixture
    }

    /// Objects as the API server would send them; what cannot be read is left out.
    pub(crate) fn say(&mut self, objects: &[Value]) {
        for object in objects {
            let kind = Kind::of_name(object["kind"].as_str().unwrap()).unwrap();
            if let Ok(object) = decode(kind, object.to_string().as_bytes()) {
                self.0.feed([Event::Apply(object)]);
            }
        }
        self.0.turn();
    }

    /// What the node says of itself.
    pub(crate) fn note(&mut self, fact: NodeFact) {
        self.0.feed([Event::Local(fact)]);
        self.0.turn();
    }

    /// What a datagram gets while this node's own DNS server does not beat; and what `explain` says, of a
    /// daemon whose server does.
    pub(crate) fn without_own_dns(&self, addr: &str, port: u16) -> (String, String) {
        let addr = addr.parse().unwrap();
        let protocol = Protocol::Udp;
        let probe = Probe { addr, port, protocol: protocol.number(), host: false, datagram: true };
        let kernel = match ask(&self.0.kernel.image, &probe) {
            Answer::OneOf(backends, _) => words_of(backends),
            Answer::NoLocalEndpoint => "left".to_owned(),
            other => format!("{other:?}"),
        };
        let question = Question { to: (addr, port).into(), protocol, host: false };
        (kernel, explain(&self.0.kernel.image, &self.0.plan, &question).to_string())
    }

    /// `probe` is `ADDRESS PORT [udp] [host]`; a socket of a pod unless it says host.
    #[track_caller]
    pub(crate) fn ask(&self, probe: &str) -> String {
        let mut words = probe.split(' ');
        let addr: IpAddr = words.next().unwrap().parse().unwrap();
        let port: u16 = words.next().unwrap().parse().unwrap();
        let rest: Vec<&str> = words.collect();
        let protocol = if rest.contains(&"udp") { Protocol::Udp } else { Protocol::Tcp };
        let host = rest.contains(&"host");
        let number = protocol.number();
        let datagram = protocol == Protocol::Udp;
        let probe = Probe { addr, port, protocol: number, host, datagram };
        let kernel = ask(&self.0.kernel.image, &probe);
        let kernel = match kernel {
            Answer::NotAService | Answer::HostOnly => "nothing".to_owned(),
            Answer::UnknownPort(When::AtOnce) => "unknown port".to_owned(),
            Answer::NoEndpoint(When::AtOnce) => "refused".to_owned(),
            Answer::UnknownPort(When::Later) | Answer::NoEndpoint(When::Later) => {
                "refused later".to_owned()
            }
            Answer::NoLocalEndpoint | Answer::SourceRanges => "left".to_owned(),
            Answer::Damaged => "damaged".to_owned(),
            Answer::OneOf(backends, _) => words_of(backends),
        };
        let question = Question { to: (addr, port).into(), protocol, host };
        let explained = match explain(&self.0.kernel.image, &self.0.plan, &question) {
            Explained::NotAService | Explained::HostOnly => "nothing".to_owned(),
            Explained::UnknownPort => "unknown port".to_owned(),
            Explained::Refused { .. } => "refused".to_owned(),
            Explained::Left { .. } => "left".to_owned(),
            Explained::Damaged { .. } => "damaged".to_owned(),
            Explained::Translated { backends, .. } => words_of(backends.into_iter().collect()),
        };
        assert_eq!(explained, kernel, "explain and the kernel agree on {probe:?}");
        kernel
    }
}

/// `1:8080 2:8080`: last group of the address and port.
fn words_of(backends: BTreeSet<(IpAddr, u16)>) -> String {
    let word = |(addr, port): (IpAddr, u16)| {
        let addr = addr.to_string();
        let last = addr.rsplit(['.', ':']).next().unwrap();
        let family = if addr.contains(':') { "v6:" } else { "" };
        format!("{family}{last}:{port}")
    };
    backends.into_iter().map(word).collect::<Vec<_>>().join(" ")
}
