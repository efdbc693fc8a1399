//! A Service written by hand, with the types that the API has: a field of another type is refused
//! before anything is allocated in its place.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

use crate::{
    Bad, Code, Key, Kind, ObjectName, Problem, Service,
    service::{ServiceType, TrafficPolicy},
    wire,
};

/// A Service, and what only a cluster's controllers read of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// As everybody reads it. [`super::Allocator`] fills in addresses and node ports.
    pub service: Arc<Service>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) spec: Spec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    metadata: Meta,
    spec: Option<Spec>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta {
    labels: Option<BTreeMap<String, String>>,
}

/// As it is written, before anything is read around.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    pub(super) ip_family_policy: Option<FamilyPolicy>,
    pub(super) traffic_distribution: Option<Spread>,
    health_check_node_port: Option<i64>,
    ports: Option<Vec<Port>>,
    allocate_load_balancer_node_ports: Option<bool>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    node_port: Option<i64>,
}

/// `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub(super) enum FamilyPolicy {
    #[serde(rename = "SingleStack")]
    Single,
    #[serde(rename = "PreferDualStack")]
    PreferDual,
    #[serde(rename = "RequireDualStack")]
    RequireDual,
}

/// `spec.trafficDistribution`: which hints ready endpoints get (KEP-3015).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub(super) enum Spread {
    #[serde(rename = "PreferSameZone", alias = "PreferClose")]
    SameZone,
    #[serde(rename = "PreferSameNode")]
    SameNode,
}

impl Written {
    /// Reads one.
    ///
    /// # Errors
    /// When it cannot be understood; its key is in the error if it can be read at all.
    pub fn read(json: &[u8]) -> Result<Self, Bad> {
        let service = wire::decode_service(json)?;
        let Wire { metadata, spec } = wire::read_as(Kind::Service, json)?;
        let labels = metadata.labels.unwrap_or_default();
        Ok(Self { service, labels, spec: spec.unwrap_or_default() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ObjectName {
        &self.service.meta.name
    }

    pub(super) fn key(&self) -> Key {
        Key { kind: Kind::Service, name: self.name().clone() }
    }

    pub(super) fn problem(&self, field: &str, why: &str, action: &str) -> Problem {
        Problem::new(Code::ManifestRefused, Some(self.key()), field, why, action)
    }

    pub(super) fn is_external_name(&self) -> bool {
        self.service.service_type == ServiceType::ExternalName
    }

    /// Does a Service of this type have node ports?
    pub(super) fn has_node_ports(&self) -> bool {
        matches!(self.service.service_type, ServiceType::NodePort | ServiceType::LoadBalancer)
    }

    /// Does each of its ports get one? A load balancer may do without.
    pub(super) fn allocates_node_ports(&self) -> bool {
        match self.service.service_type {
            ServiceType::NodePort => true,
            ServiceType::LoadBalancer => {
                self.spec.allocate_load_balancer_node_ports.unwrap_or(true)
            }
            _ => false,
        }
    }

    /// `spec.clusterIP` and `spec.clusterIPs` as written, each with its field.
    pub(super) fn cluster_ips(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let one = self.spec.cluster_ip.iter().map(|text| ("spec.clusterIP", text.as_str()));
        let all = self.spec.cluster_ips.iter().flatten();
        one.chain(all.map(|text| ("spec.clusterIPs", text.as_str())))
    }

    /// The node ports that are asked for by number, each with its field.
    pub(super) fn node_ports(&self) -> impl Iterator<Item = (String, i64)> {
        let ports = self.spec.ports.iter().flatten().enumerate();
        let ports = ports.map(|(at, port)| (format!("spec.ports[{at}].nodePort"), port.node_port));
        // 0 asks for any.
        ports.filter_map(|(field, port)| Some((field, port.filter(|port| *port != 0)?)))
    }

    /// `spec.healthCheckNodePort`, unless it is any.
    pub(super) fn health_check_port(&self) -> Option<i64> {
        self.spec.health_check_node_port.filter(|port| *port != 0)
    }

    pub(super) fn checks_health(&self) -> bool {
        self.service.service_type == ServiceType::LoadBalancer
            && self.service.external_policy == TrafficPolicy::Local
    }
}
