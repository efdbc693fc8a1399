//! Who may talk to whom: the documentation of NetworkPolicy as code.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::{Carried, Direction, Probe, World, blocks, dns, has_ended, namespace_of, selectors};

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Let through.
    Allowed,
    /// Dropped.
    Denied,
}

/// What decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// No policy of the direction selects the pod, or it is none that policies select.
    NotIsolated,
    /// This rule of this policy.
    Rule {
        /// Namespace and name of the policy.
        policy: String,
        /// Place among its rules of the direction.
        rule: usize,
    },
    /// These policies isolate the pod, and no rule of theirs allows it.
    NoRule {
        /// Namespaces and names.
        policies: Vec<String>,
    },
}

/// Judges one end of a connection that the probe would begin.
#[must_use]
pub fn judge(world: &World, probe: &Probe<'_>) -> (Verdict, Why) {
    let (namespace, name) = probe.pod;
    let Some(pod) = world.pod(namespace, name) else { return (Verdict::Allowed, Why::NotIsolated) };
    if pod["spec"]["hostNetwork"] == true || has_ended(pod) {
        return (Verdict::Allowed, Why::NotIsolated);
    }
    let mut isolating = Vec::new();
    for policy in &world.policies {
        let subject = namespace_of(policy) == namespace
            && selectors::matches(&policy["spec"]["podSelector"], &labels(pod));
        if !subject || !isolates(policy, probe.direction) {
            continue;
        }
        let policy_name = policy["metadata"]["name"].as_str().unwrap_or_default();
        let named = format!("{namespace}/{policy_name}");
        for (at, rule) in rules(policy, probe.direction).iter().enumerate() {
            if allows(world, probe, pod, rule) {
                return (Verdict::Allowed, Why::Rule { policy: named, rule: at });
            }
        }
        isolating.push(named);
    }
    match isolating.is_empty() {
        true => (Verdict::Allowed, Why::NotIsolated),
        false => (Verdict::Denied, Why::NoRule { policies: isolating }),
    }
}

fn labels(object: &Value) -> Map<String, Value> {
    object["metadata"]["labels"].as_object().cloned().unwrap_or_default()
}

/// Without policyTypes: ingress always, egress when there are egress rules.
fn isolates(policy: &Value, direction: Direction) -> bool {
    let spec = &policy["spec"];
    match (spec["policyTypes"].as_array().filter(|types| !types.is_empty()), direction) {
        (Some(types), Direction::Ingress) => types.iter().any(|one| one == "Ingress"),
        (Some(types), Direction::Egress) => types.iter().any(|one| one == "Egress"),
        (None, Direction::Ingress) => true,
        (None, Direction::Egress) => spec["egress"].as_array().is_some_and(|all| !all.is_empty()),
    }
}

fn rules(policy: &Value, direction: Direction) -> &[Value] {
    let field = match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    policy["spec"][field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn allows(world: &World, probe: &Probe<'_>, pod: &Value, rule: &Value) -> bool {
    let side = match probe.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let peers = rule[side].as_array().filter(|all| !all.is_empty());
    let ports = rule["ports"].as_array().filter(|all| !all.is_empty());
    let own = namespace_of(pod);
    peers.is_none_or(|all| all.iter().any(|peer| is_peer(world, own, peer, probe.peer)))
        && ports.is_none_or(|all| all.iter().any(|port| is_port(world, probe, pod, port)))
}

fn is_peer(world: &World, own: &str, peer: &Value, ip: IpAddr) -> bool {
    let written = |field: &str| Some(&peer[field]).filter(|value| !value.is_null());
    match (written("ipBlock"), written("namespaceSelector"), written("podSelector")) {
        (Some(block), None, None) => blocks::matches(block, ip),
        (None, None, None) | (Some(_), ..) => false,
        (None, namespaces, pods) => {
            let Some(pod) = world.pod_at(ip) else { return false };
            let in_namespace = match namespaces {
                None => namespace_of(&pod) == own,
                Some(selector) => namespace_labels(world, namespace_of(&pod))
                    .is_some_and(|labels| selectors::matches(selector, &labels)),
            };
            in_namespace && pods.is_none_or(|selector| selectors::matches(selector, &labels(&pod)))
        }
    }
}

/// Of a namespace whose object is not known, nothing is: no selector matches it.
fn namespace_labels(world: &World, name: &str) -> Option<Map<String, Value>> {
    let object = world.namespaces.iter().find(|object| object["metadata"]["name"] == name)?;
    let mut labels = labels(object);
    labels.entry("kubernetes.io/metadata.name").or_insert_with(|| name.into());
    Some(labels)
}

/// A port entry is of one protocol, TCP when it says none, and never matches what has no ports.
fn is_port(world: &World, probe: &Probe<'_>, pod: &Value, entry: &Value) -> bool {
    let Carried::Port(protocol, number) = probe.carried else { return false };
    let wanted = match &entry["protocol"] {
        Value::Null => "TCP",
        Value::String(text) => text.as_str(),
        _ => return false,
    };
    if wanted != protocol {
        return false;
    }
    let mut numbers = vec![i64::from(number)];
    // Nothing begins a connection at such an address: of what comes in it does not matter.
    if let Some(service) = world.service_at(probe.peer) {
        numbers.extend(dns::behind(service, protocol, number));
    }
    numbers.into_iter().any(|number| is_number(world, probe, pod, entry, (protocol, number)))
}

fn is_number(
    world: &World,
    probe: &Probe<'_>,
    pod: &Value,
    entry: &Value,
    (protocol, number): (&str, i64),
) -> bool {
    match (&entry["port"], &entry["endPort"]) {
        (Value::Null, Value::Null) => true,
        (Value::Number(first), Value::Null) => first.as_i64() == Some(number),
        (Value::Number(first), Value::Number(last)) => match (first.as_i64(), last.as_i64()) {
            (Some(first), Some(last)) => first <= number && number <= last,
            _ => false,
        },
        (Value::String(name), Value::Null) => {
            // The destination knows what the name means: this pod, or the peer.
            let destination = match probe.direction {
                Direction::Ingress => Some(pod.clone()),
                Direction::Egress => world.pod_at(probe.peer),
            };
            destination.is_some_and(|pod| has_port(&pod, name, protocol, number))
        }
        _ => false,
    }
}

/// Containers, and init containers that go on running (sidecars).
fn has_port(pod: &Value, name: &str, protocol: &str, number: i64) -> bool {
    let of = |field: &str| pod["spec"][field].as_array().cloned().unwrap_or_default();
    let sidecars = of("initContainers").into_iter().filter(|one| one["restartPolicy"] == "Always");
    of("containers").into_iter().chain(sidecars).any(|container| {
        container["ports"].as_array().into_iter().flatten().any(|port| {
            let of_protocol = match &port["protocol"] {
                Value::Null => protocol == "TCP",
                written => written == protocol,
            };
            port["name"] == name && of_protocol && port["containerPort"].as_i64() == Some(number)
        })
    })
}
