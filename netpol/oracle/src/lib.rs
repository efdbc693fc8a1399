//! NetworkPolicy judged naively: straight from the objects' JSON, one probe at a time, by reading the
//! API's documentation from top to bottom.
//!
//! Shares no code with the compiler, not even the reading of objects or selectors: what both get
//! wrong would otherwise look right. Slow, and meant to be. Objects are expected to be as an API
//! server accepts them, or wrong in a way that makes the entry match nothing.
#![forbid(unsafe_code)]

mod blocks;
mod dns;
mod rules;
mod selectors;

use std::net::IpAddr;

use serde_json::Value;

pub use rules::{Verdict, Why, judge};

/// The objects, as the API has them.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Namespaces.
    pub namespaces: Vec<Value>,
    /// Pods of the whole cluster.
    pub pods: Vec<Value>,
    /// NetworkPolicies of the whole cluster.
    pub policies: Vec<Value>,
    /// The Service at whose addresses nodes answer DNS themselves: those are what its pods are.
    pub dns: Option<Value>,
}

/// Which end of a connection is judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// At the destination, for what comes in.
    Ingress,
    /// At the source, for what goes out.
    Egress,
}

/// What a packet carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Carried {
    /// TCP, UDP or SCTP (as policies write it) to a destination port.
    Port(&'static str, u16),
    /// Something without ports.
    Other,
}

/// One question: may this pod get (or send) this, from (or to) that address?
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// The pod whose policies are asked: namespace and name.
    pub pod: (&'a str, &'a str),
    /// Which way.
    pub direction: Direction,
    /// The other end.
    pub peer: IpAddr,
    /// What.
    pub carried: Carried,
}

impl World {
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<&Value> {
        self.pods
            .iter()
            .find(|pod| namespace_of(pod) == namespace && pod["metadata"]["name"] == name)
    }

    /// The pod that has an address: not one of the node's network, not one that has ended. Of two,
    /// the one that stays (no deletion timestamp), then the ready one, then the later name.
    pub(crate) fn pod_at(&self, ip: IpAddr) -> Option<Value> {
        let has = |pod: &&Value| {
            pod["spec"]["hostNetwork"] != true && !has_ended(pod) && addresses(pod).contains(&ip)
        };
        let pod = self.pods.iter().filter(has).max_by_key(|pod| {
            let stays = pod["metadata"]["deletionTimestamp"].is_null();
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            (stays, is_ready(pod), (namespace_of(pod), name))
        });
        pod.cloned().or_else(|| self.dns_at(ip))
    }
}

pub(crate) fn namespace_of(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or("default")
}

pub(crate) fn has_ended(pod: &Value) -> bool {
    pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|one| one["type"] == "Ready"));
    ready.is_none_or(|one| one["status"] == "True")
}

/// `status.podIPs`, or `status.podIP` where that is missing; one of each family.
pub(crate) fn addresses(pod: &Value) -> Vec<IpAddr> {
    let listed = pod["status"]["podIPs"].as_array().filter(|all| !all.is_empty());
    let texts: Vec<&str> = match listed {
        Some(all) => all.iter().filter_map(|one| one["ip"].as_str()).collect(),
        None => pod["status"]["podIP"].as_str().into_iter().collect(),
    };
    let all: Vec<IpAddr> = texts.into_iter().filter_map(|text| text.parse().ok()).collect();
    let of = |v4: bool| all.iter().copied().find(|ip| ip.is_ipv4() == v4);
    [of(true), of(false)].into_iter().flatten().collect()
}
