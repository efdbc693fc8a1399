//! Services and slices in, what a socket gets out, while maps are full.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};
use towpath_image::{
    Batch, Capacities, ServiceImage, ServiceOp,
    datapath::{
        ConfigRecord,
        decide::{Call, Request, SocketAddress, Verdict, connect},
    },
};
use towpath_model::{Changes, Event, Kind, ObjectName};
use towpath_proxy::{ProxyConfig, ServicePlan, plan};

use crate::pipeline::{Pipeline, maps::Maps};

/// What a socket gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Got {
    NotAService,
    UnknownPort,
    Refused,
    Left,
    Damaged,
    OneOf(BTreeSet<IpAddr>),
}

pub(crate) fn one_of(addresses: &[&str]) -> Got {
    Got::OneOf(addresses.iter().map(|ip| ip.parse().unwrap()).collect())
}

pub(crate) fn none_left(image: &ServiceImage) {
    assert!(image.services.is_empty() && image.frontends.is_empty(), "{image:?}");
}

/// A ClusterIP Service with the port 80 named `p`.
pub(crate) fn service(name: &str, ip: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "d" },
        "spec": {
            "type": "ClusterIP", "clusterIPs": [ip],
            "ports": [{ "name": "p", "protocol": "TCP", "port": 80 }],
        },
    })
}

/// The only slice of a Service: ready endpoints on this node.
pub(crate) fn slice(service: &str, addresses: &[&str]) -> Value {
    let endpoint = |ip: &&str| json!({ "addresses": [ip], "nodeName": "n0" });
    json!({
        "metadata": {
            "name": format!("{service}-x"), "namespace": "d",
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "p", "protocol": "TCP", "port": 8080 }],
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// Listed, and nothing there.
pub(crate) struct Fixture(pub(crate) Pipeline);

impl Fixture {
    pub(crate) fn new(capacities: Capacities) -> Self {
        Self(Pipeline::listed(capacities, ServicePlan::new(ProxyConfig::default())))
    }

    pub(crate) fn service(&mut self, json: Value) {
        self.0.apply(Kind::Service, &json);
    }

    pub(crate) fn slice(&mut self, json: Value) {
        self.0.apply(Kind::EndpointSlice, &json);
    }

    pub(crate) fn delete_service(&mut self, name: &str) {
        self.0.feed([Event::Delete(Kind::Service, ObjectName::new("d", name))]);
    }

    /// Commit, plan, publish; then a grace period.
    pub(crate) fn turn(&mut self) -> Batch<ServiceOp> {
        let batch = self.0.turn();
        self.0.grace();
        batch
    }

    /// Several turns, more than a second apart: the first sees the change, the others what rested.
    pub(crate) fn turns(&mut self, turns: usize) {
        for _ in 0..turns {
            self.turn();
            self.0.now += 1_100;
        }
    }

    pub(crate) fn plan_from_scratch(&mut self) -> ServicePlan {
        let (view, _) = self.0.store.commit();
        let mut fresh = ServicePlan::new(ProxyConfig::default());
        plan(&view, &Changes::default(), &mut fresh);
        fresh
    }

    /// A socket of a pod connects to a TCP port.
    pub(crate) fn ask(&self, addr: &str, port: u16) -> Got {
        let addr: IpAddr = addr.parse().unwrap();
        let request = Request {
            call: Call::Connect,
            protocol: 6,
            to: SocketAddress::new(addr.into(), port.to_be()),
            from: towpath_image::datapath::Addr::from(addr).any_of_family(),
            netns: 2,
            socket: 0,
        };
        let image = &self.0.kernel.image;
        let config = ConfigRecord { host_netns: 1, ..ConfigRecord::default() };
        match connect(&Maps(image, config), &request, 0, 0) {
            Verdict::Untouched | Verdict::HostOnly => Got::NotAService,
            Verdict::UnknownPort => Got::UnknownPort,
            Verdict::NoEndpoint { .. } => Got::Refused,
            Verdict::NoLocalEndpoint { .. }
            | Verdict::SourceRanges { .. }
            | Verdict::OwnDns { .. } => Got::Left,
            Verdict::Damaged { .. } => Got::Damaged,
            Verdict::Translate(choice) => {
                Got::OneOf(image.extent(choice.word).iter().map(|b| b.addr.into()).collect())
            }
        }
    }

    /// No two sets in force share a slot.
    pub(crate) fn assert_no_overlap(&self, when: &str) {
        let words = self.0.kernel.image.services.values().flat_map(|record| record.sets);
        let mut seen = BTreeSet::new();
        for word in words.filter(|word| word.count() > 0) {
            for slot in word.base()..word.base() + u32::from(word.count()) {
                assert!(seen.insert(slot), "slot {slot} is in two sets: {when}");
            }
        }
    }
}
