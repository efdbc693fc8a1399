//! What an API server would refuse of a Service's addresses and node ports, apart from those that
//! are another's. Served all the same, a node port of 10256 would take the node's health endpoint
//! away, and a clusterIP beyond the blocks whatever has that address.

use serde_json::Value;

use super::{ClusterIps, NodePorts};
use crate::wire::readable_address as address;

/// The field and why; `None`: there is nothing to refuse.
pub(super) fn cluster_ips(service: &Value, blocks: &ClusterIps) -> Option<(&'static str, String)> {
    let spec = &service["spec"];
    let one = [("spec.clusterIP", &spec["clusterIP"])];
    let all = spec["clusterIPs"].as_array().into_iter().flatten();
    let written = one.into_iter().chain(all.map(|ip| ("spec.clusterIPs", ip)));
    // What is no text at all is said by whoever decodes it.
    let texts = written.filter_map(|(field, ip)| Some((field, ip.as_str()?)));
    texts.filter(|(_, text)| !matches!(*text, "" | "None")).find_map(|(field, text)| {
        let Some(ip) = address(text) else {
            let shown: String = text.chars().take(64).collect();
            return Some((field, format!("{shown:?} is not an IP address")));
        };
        let beyond = !blocks.ranges().iter().any(|block| block.contains(ip));
        beyond.then(|| (field, format!("{ip} is in none of the blocks of cluster IPs")))
    })
}

/// The field and why; `None`: there is nothing to refuse.
pub(super) fn node_ports(service: &Value) -> Option<(&'static str, String)> {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().into_iter().flatten();
    let ports = ports.map(|port| ("spec.ports", "nodePort", &port["nodePort"]));
    let health = ("spec.healthCheckNodePort", "port", &spec["healthCheckNodePort"]);
    ports.chain([health]).find_map(|(field, what, port)| {
        // 0 asks for any; what is no number is said by whoever decodes it.
        let port = port.as_i64().filter(|port| *port != 0)?;
        let range = NodePorts::RANGE;
        let given = u16::try_from(port).is_ok_and(|port| range.contains(&port));
        (!given).then(|| {
            (field, format!("{what} {port} is not from {} to {}", range.start(), range.end()))
        })
    })
}
