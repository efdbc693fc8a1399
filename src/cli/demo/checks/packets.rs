//! From outside the cluster: both families, TCP and UDP, every type of frontend, through the first node
//! or the second. No socket of a node takes part, so that packets are translated.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use towpath_testbed::probe::{Ask, Seen};

use super::{
    super::scene::{EMPTY, EXTERNAL, LOAD_BALANCER, NODE_PORT_TCP, NODE_PORT_UDP, Scene, WEB, ip},
    Area, Check, Checked, reaches_all,
};

pub(super) fn checks(scene: &Scene) -> Vec<Check> {
    let nodes: Vec<[IpAddr; 2]> = scene.cluster.nodes.iter().map(|n| n.host.addresses).collect();
    let mut checks = Vec::new();
    for (v6, family) in [(0, "IPv4"), (1, "IPv6")] {
        for (udp, protocol) in [(false, "tcp"), (true, "udp")] {
            let node_port = if udp { NODE_PORT_UDP } else { NODE_PORT_TCP };
            let port = if udp { 53 } else { 80 };
            let ways = [
                ("ClusterIP", ip(WEB[v6]), port),
                ("NodePort of the first node", nodes[0][v6], node_port),
                ("NodePort of the second node", nodes[1][v6], node_port),
                ("LoadBalancer address", ip(LOAD_BALANCER[v6]), port),
                ("external address", ip(EXTERNAL[v6]), port),
            ];
            for (frontend, to, port) in ways {
                let (to, name) =
                    (SocketAddr::new(to, port), format!("{family}, {protocol}: {frontend}"));
                let run = move |scene: &mut Scene| reaches_all(to, || exchange(scene, to, udp));
                checks.push(Check::traffic(Area::Packets, name, run));
            }
            let name = format!("{family}, {protocol}: without endpoints it is refused at once");
            let to = SocketAddr::new(ip(EMPTY[v6]), port);
            checks.push(Check::traffic(Area::Packets, name, move |s| refused(s, to, udp)));
        }
    }
    let name = "the endpoint of the node that was asked sees the client";
    let to = SocketAddr::new(nodes[1][0], NODE_PORT_TCP);
    checks.push(Check::traffic(Area::Packets, name, move |scene| keeps_client(scene, to)));
    checks
}

fn exchange(scene: &mut Scene, to: SocketAddr, udp: bool) -> Result<Seen> {
    let timeout_ms = scene.patience_ms;
    scene.outside.ask(&match udp {
        true => Ask::Udp { to, connected: true, mapped: false, keep: None, timeout_ms },
        false => Ask::Tcp { to, mapped: false, timeout_ms },
    })
}

fn refused(scene: &mut Scene, to: SocketAddr, udp: bool) -> Result<Checked> {
    let seen = exchange(scene, to, udp)?;
    Ok(match seen.outcome.as_str() {
        "refused" => Ok(format!("{to}: refused after {} µs", seen.micros)),
        other => Err(format!("{to}: {other}")),
    })
}

/// `web` has one endpoint on the second node, and two elsewhere.
fn keeps_client(scene: &mut Scene, to: SocketAddr) -> Result<Checked> {
    let (own, node) = (scene.cluster.outside.v4(), to.ip());
    let mut seen_as = BTreeSet::new();
    for _ in 0..60 {
        let seen = exchange(scene, to, false)?;
        let Some(client) = seen.client.map(|client| client.ip()) else {
            return Ok(Err(format!("{to}: {}", seen.outcome)));
        };
        let wanted = if seen.name == "pod-2-1" { own } else { node };
        if client != wanted {
            return Ok(Err(format!("{} saw {client}, not {wanted}", seen.name)));
        }
        seen_as.insert(client);
        if seen_as.len() == 2 {
            return Ok(Ok(format!("it saw {own}, the others {node}")));
        }
    }
    Ok(Err(format!("60 tries saw only {seen_as:?}")))
}
