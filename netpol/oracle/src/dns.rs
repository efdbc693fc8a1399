//! The addresses at which nodes answer DNS themselves.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::{World, namespace_of};

impl World {
    /// The DNS Service, where this is an address of it.
    pub(crate) fn service_at(&self, ip: IpAddr) -> Option<&Value> {
        let listed = |service: &&Value| {
            let all = service["spec"]["clusterIPs"].as_array().into_iter().flatten();
            all.filter_map(|text| text.as_str()?.parse().ok()).any(|one: IpAddr| one == ip)
        };
        self.dns.as_ref().filter(listed)
    }

    /// A pod that the DNS Service would select, with the ports that it would have names for.
    pub(crate) fn dns_at(&self, ip: IpAddr) -> Option<Value> {
        let service = self.service_at(ip)?;
        let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
        let named = ports.into_iter().filter(|port| port["targetPort"].is_string()).map(|port| {
            json!({ "name": port["targetPort"], "containerPort": port["port"],
                "protocol": port["protocol"] })
        });
        let labels = match &service["spec"]["selector"] {
            Value::Null => json!({ "k8s-app": "kube-dns" }),
            selector => selector.clone(),
        };
        Some(json!({
            "metadata": { "namespace": namespace_of(service), "labels": labels },
            "spec": { "containers": [{ "ports": named.collect::<Vec<_>>() }] },
        }))
    }
}

/// The number of the port that pods of a Service have for one of it.
pub(crate) fn behind(service: &Value, protocol: &str, number: u16) -> Option<i64> {
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let is = |port: &&Value| port["protocol"] == protocol && port["port"] == number;
    ports.find(is)?["targetPort"].as_i64()
}
