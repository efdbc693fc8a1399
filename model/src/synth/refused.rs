//! What an API server would refuse of a Service's addresses and node ports, apart from those that
//! are another's. Served all the same, a node port of 10256 would take the node's health endpoint
//! away, and a clusterIP beyond the blocks whatever has that address.

use super::{ClusterIps, NodePorts, written::Written};
use crate::{Problem, service::ServiceType, wire::readable_address as address};

/// `None`: there is nothing to refuse.
pub(super) fn problem(written: &Written, blocks: &ClusterIps) -> Option<Problem> {
    let of_type = of_type(written);
    of_type.or_else(|| cluster_ips(written, blocks)).or_else(|| node_ports(written))
}

/// A Service of its type cannot have what it asks for.
fn of_type(written: &Written) -> Option<Problem> {
    let service = &written.service;
    let (field, why, action) = match service.service_type {
        ServiceType::NodePort | ServiceType::LoadBalancer if service.headless => (
            "spec.clusterIP".to_owned(),
            "a Service of type NodePort or LoadBalancer needs a clusterIP, and this one has \"None\"",
            "leave the field out, or write type: ClusterIP",
        ),
        ServiceType::ExternalName if written.cluster_ips().any(|(_, text)| !text.is_empty()) => (
            "spec.clusterIP".to_owned(),
            "a Service of type ExternalName has no clusterIP",
            "leave the field out, or write type: ClusterIP",
        ),
        ServiceType::ClusterIp | ServiceType::Unknown if written.node_ports().next().is_some() => (
            written.node_ports().next()?.0,
            "a Service of type ClusterIP has no nodePort",
            "leave the field out, or write type: NodePort",
        ),
        _ if written.health_check_port().is_some() && !written.checks_health() => (
            "spec.healthCheckNodePort".to_owned(),
            "only a Service of type LoadBalancer with externalTrafficPolicy: Local has one",
            "leave the field out, or write both",
        ),
        _ => return None,
    };
    Some(written.problem(&field, why, action))
}

fn cluster_ips(written: &Written, blocks: &ClusterIps) -> Option<Problem> {
    let texts = written.cluster_ips().filter(|(_, text)| !matches!(*text, "" | "None"));
    texts.into_iter().find_map(|(field, text)| {
        let why = match address(text) {
            None => format!("{:?} is not an IP address", text.chars().take(64).collect::<String>()),
            Some(ip) if !blocks.ranges().iter().any(|block| block.contains(ip)) => {
                format!("{ip} is in none of the blocks of cluster IPs")
            }
            Some(_) => return None,
        };
        Some(written.problem(field, &why, ANOTHER))
    })
}

fn node_ports(written: &Written) -> Option<Problem> {
    let health = written.health_check_port().map(|port| ("spec.healthCheckNodePort".into(), port));
    let range = NodePorts::RANGE;
    let given = |port: i64| u16::try_from(port).is_ok_and(|port| range.contains(&port));
    let (field, port) = written.node_ports().chain(health).find(|(_, port)| !given(*port))?;
    let why = format!("{port} is not from {} to {}", range.start(), range.end());
    Some(written.problem(&field, &why, ANOTHER))
}

pub(super) const ANOTHER: &str = "leave the field out, or choose another";
