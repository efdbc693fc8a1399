//! EndpointSlices of a Service, as the endpointslice controller makes them: one set per address
//! family, grouped by what the ports resolve to, at most 100 endpoints each.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Map, Value, json};

use super::written::{Spread, Written};
use crate::{
    Family, Service,
    service::{ServicePort, TargetPort},
    wire::pod::Pod,
};

/// The controller's default `--max-endpoints-per-slice`.
const ENDPOINTS_MAX: usize = 100;
/// What a slice's labels say about who keeps it: other controllers leave it alone.
const MANAGER: &str = "towpath";

/// The slices of a Service, as JSON; none for a Service without a selector (its slices are written
/// by hand) or of type ExternalName. `pods` may be of any namespace and in any order; `zone_of`
/// says in which zone a node is. The same input gives the same slices under the same names.
pub fn slices<'a>(
    written: &Written,
    pods: impl IntoIterator<Item = &'a Pod>,
    zone_of: impl Fn(&str) -> Option<String>,
) -> Vec<Value> {
    let service = &*written.service;
    if service.selector.is_empty() || written.is_external_name() {
        return Vec::new();
    }
    let mut chosen: Vec<&Pod> = pods.into_iter().filter(|pod| belongs(service, pod)).collect();
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    let spread = written.spec.traffic_distribution;
    let maker = Maker { service, labels: labels(written), spread, zone_of: &zone_of };
    families(service).iter().flat_map(|family| maker.family(*family, &chosen)).collect()
}

/// Selected by all of its labels, with an address, and not finished.
fn belongs(service: &Service, pod: &Pod) -> bool {
    pod.name.namespace == service.meta.name.namespace
        && !pod.finished
        && !pod.ips.is_empty()
        && service
            .selector
            .iter()
            .all(|(name, value)| pod.labels.get(&**name).is_some_and(|has| **has == **value))
}

/// Those the Service names; without any, those of its addresses; a headless one without either
/// gets both.
fn families(service: &Service) -> Vec<Family> {
    if !service.ip_families.is_empty() {
        return service.ip_families.clone();
    }
    if !service.cluster_ips.is_empty() {
        return service.cluster_ips.iter().map(|ip| Family::of(*ip)).collect();
    }
    vec![Family::V4, Family::V6]
}

struct Maker<'a, F> {
    service: &'a Service,
    labels: Map<String, Value>,
    spread: Option<Spread>,
    zone_of: &'a F,
}

impl<F: Fn(&str) -> Option<String>> Maker<'_, F> {
    fn family(&self, family: Family, pods: &[&Pod]) -> Vec<Value> {
        // A named targetPort may be another number in each pod: one group of slices per answer.
        let mut groups: BTreeMap<Vec<(usize, u16)>, Vec<Value>> = BTreeMap::new();
        for pod in pods {
            if let Some(ip) = pod.ips.iter().find(|ip| Family::of(**ip) == family) {
                groups.entry(self.ports(pod)).or_default().push(self.endpoint(pod, *ip));
            }
        }
        if groups.is_empty() {
            groups.insert(Vec::new(), Vec::new()); // the controller keeps one empty slice
        }
        let mut slices = Vec::new();
        for (ports, endpoints) in groups {
            let mut rest = endpoints.as_slice();
            loop {
                let (chunk, after) = rest.split_at(rest.len().min(ENDPOINTS_MAX));
                slices.push(self.slice(family, slices.len() + 1, &ports, chunk));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
        }
        slices
    }

    /// Which ports of the Service lead where in this pod; a name that the pod does not have, none.
    fn ports(&self, pod: &Pod) -> Vec<(usize, u16)> {
        let resolve = |port: &ServicePort| match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Name(name) => pod
                .ports
                .iter()
                .find(|has| has.name == **name && has.protocol == port.protocol)
                .map(|has| has.port),
        };
        let ports = self.service.ports.iter().enumerate();
        ports.filter_map(|(at, port)| Some((at, resolve(port)?))).collect()
    }

    fn endpoint(&self, pod: &Pod, ip: IpAddr) -> Value {
        let serving = pod.ready;
        // Ready never goes with terminating, unless the Service wants unready pods.
        let ready = self.service.publish_not_ready || (serving && !pod.terminating);
        let mut endpoint = json!({
            "addresses": [ip.to_string()],
            "conditions": {"ready": ready, "serving": serving, "terminating": pod.terminating},
            "targetRef": {
                "kind": "Pod", "namespace": &*pod.name.namespace, "name": &*pod.name.name,
                "uid": pod.uid,
            },
        });
        if pod.subdomain.as_deref() == Some(&*self.service.meta.name.name)
            && let Some(hostname) = &pod.hostname
        {
            endpoint["hostname"] = json!(hostname);
        }
        let Some(node) = &pod.node else { return endpoint };
        endpoint["nodeName"] = json!(node);
        let zone = (self.zone_of)(node);
        if let Some(zone) = &zone {
            endpoint["zone"] = json!(zone);
        }
        if ready && self.spread.is_some() {
            let mut hints = Map::new();
            if let Some(zone) = zone {
                hints.insert("forZones".into(), json!([{"name": zone}]));
            }
            if self.spread == Some(Spread::SameNode) {
                hints.insert("forNodes".into(), json!([{"name": node}]));
            }
            if !hints.is_empty() {
                endpoint["hints"] = hints.into();
            }
        }
        endpoint
    }

    fn slice(
        &self,
        family: Family,
        number: usize,
        ports: &[(usize, u16)],
        endpoints: &[Value],
    ) -> Value {
        let of = &self.service.meta.name;
        let ports: Vec<_> = ports
            .iter()
            .filter_map(|(at, number)| Some((self.service.ports.get(*at)?, number)))
            .map(|(port, number)| {
                json!({
                    "name": &*port.name, "protocol": port.protocol.as_str(), "port": number,
                })
            })
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{}-{number}", of.name, family.as_str().to_ascii_lowercase()),
                "namespace": &*of.namespace,
                "labels": self.labels,
            },
            "addressType": family.as_str(),
            "ports": ports,
            "endpoints": endpoints,
        })
    }
}

/// The Service's own labels, and what the controller adds.
fn labels(written: &Written) -> Map<String, Value> {
    let own = written.labels.iter().map(|(name, value)| (name.clone(), json!(value)));
    let mut labels: Map<String, Value> = own.collect();
    labels.insert("kubernetes.io/service-name".into(), json!(&*written.name().name));
    labels.insert("endpointslice.kubernetes.io/managed-by".into(), json!(MANAGER));
    if written.service.headless {
        labels.insert("service.kubernetes.io/headless".into(), json!(""));
    }
    labels
}

#[cfg(test)]
mod tests;
