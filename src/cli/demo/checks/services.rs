//! Services: pod and host, both families, TCP and UDP in both manners, every type of frontend; then
//! what a data plane must do besides.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::Result;
use towpath_testbed::probe::{Agent, Ask, Seen};

use super::{
    super::scene::{
        EMPTY, EXTERNAL, LOAD_BALANCER, LOCAL, NODE_PORT_TCP, NODE_PORT_UDP, STICKY, Scene, WEB, ip,
    },
    Area, Check, Checked, reaches_all,
};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Pod,
    Host,
}

/// How it asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Tcp,
    UdpConnected,
    UdpUnconnected,
}

impl How {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Tcp, "tcp"),
        (Self::UdpConnected, "connected udp"),
        (Self::UdpUnconnected, "unconnected udp"),
    ];
}

pub(super) fn checks(scene: &Scene) -> Vec<Check> {
    let mut checks = frontends(scene);
    checks.extend(promises());
    checks
}

fn traffic(
    name: impl Into<String>,
    run: impl Fn(&mut Scene) -> Result<Checked> + 'static,
) -> Check {
    Check::traffic(Area::Services, name, run)
}

/// Every combination.
fn frontends(scene: &Scene) -> Vec<Check> {
    let nodes: Vec<[IpAddr; 2]> = scene.cluster.nodes.iter().map(|n| n.host.addresses).collect();
    let mut checks = Vec::new();
    for (from, from_name) in [(From::Pod, "pod"), (From::Host, "host")] {
        for (v6, family) in [(0, "IPv4"), (1, "IPv6")] {
            for (how, how_name) in How::ALL {
                let node_port = if how == How::Tcp { NODE_PORT_TCP } else { NODE_PORT_UDP };
                let port = if how == How::Tcp { 80 } else { 53 };
                let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                let mut frontends = vec![
                    ("ClusterIP", SocketAddr::new(ip(WEB[v6]), port)),
                    ("NodePort of the own node", SocketAddr::new(nodes[0][v6], node_port)),
                    ("NodePort of another node", SocketAddr::new(nodes[1][v6], node_port)),
                    ("LoadBalancer address", SocketAddr::new(ip(LOAD_BALANCER[v6]), port)),
                    ("external address", SocketAddr::new(ip(EXTERNAL[v6]), port)),
                ];
                if from == From::Host {
                    frontends
                        .push(("NodePort on loopback", SocketAddr::new(loopback[v6], node_port)));
                }
                for (frontend, to) in frontends {
                    let name = format!("{from_name}, {family}, {how_name}: {frontend}");
                    checks.push(traffic(name, move |s| {
                        reaches_all(to, || exchange(s, from, to, how, false))
                    }));
                }
            }
        }
        for (how, how_name) in How::ALL {
            let to = SocketAddr::new(ip(WEB[0]), if how == How::Tcp { 80 } else { 53 });
            let name = format!("{from_name}, v4-mapped, {how_name}: ClusterIP");
            checks
                .push(traffic(name, move |s| reaches_all(to, || exchange(s, from, to, how, true))));
        }
    }
    checks
}

/// The client of the first node.
fn client(scene: &mut Scene, from: From) -> &mut Agent {
    match from {
        From::Pod => &mut scene.pods[0],
        From::Host => &mut scene.hosts[0],
    }
}

fn exchange(scene: &mut Scene, from: From, to: SocketAddr, how: How, mapped: bool) -> Result<Seen> {
    let timeout_ms = scene.patience_ms;
    client(scene, from).ask(&match how {
        How::Tcp => Ask::Tcp { to, mapped, timeout_ms },
        How::UdpConnected | How::UdpUnconnected => {
            Ask::Udp { to, connected: how == How::UdpConnected, mapped, keep: None, timeout_ms }
        }
    })
}

/// A TCP exchange of the pod of a node.
fn tcp(scene: &mut Scene, node: usize, to: SocketAddr) -> Result<Seen> {
    let timeout_ms = scene.patience_ms;
    scene.pods[node].ask(&Ask::Tcp { to, mapped: false, timeout_ms })
}

/// What a data plane must do besides.
fn promises() -> Vec<Check> {
    vec![
        traffic("without endpoints: TCP connect is refused at once", |s| {
            refused(s, SocketAddr::new(ip(EMPTY[0]), 80), How::Tcp)
        }),
        traffic("without endpoints: a datagram is refused at once", |s| {
            refused(s, SocketAddr::new(ip(EMPTY[1]), 53), How::UdpUnconnected)
        }),
        traffic("an unknown port of a ClusterIP is refused at once", |s| {
            refused(s, SocketAddr::new(ip(WEB[0]), 81), How::Tcp)
        }),
        traffic("session affinity keeps a client on one endpoint", sticky),
        traffic("internalTrafficPolicy Local stays on the node", stays_local),
        traffic("a pod keeps its own address", keeps_source),
        Check::besides(Area::Services, "traffic that is no Service's is left alone", left_alone),
        traffic("a changed endpoint is used at once", follows),
        traffic("an unconnected UDP socket keeps its endpoint, and moves when it goes", moves),
        // It starts a daemon, with everything on.
        Check::besides(Area::Services, "the daemon dies under load: no connection fails", dies),
    ]
}

fn refused(scene: &mut Scene, to: SocketAddr, how: How) -> Result<Checked> {
    let seen = exchange(scene, From::Pod, to, how, false)?;
    Ok(if seen.outcome == "refused" {
        Ok(format!("{to}: refused after {} µs", seen.micros))
    } else {
        Err(format!("{to}: {}", seen.outcome))
    })
}

fn sticky(scene: &mut Scene) -> Result<Checked> {
    let to = SocketAddr::new(ip(STICKY[0]), 80);
    let mut names = BTreeSet::new();
    for _ in 0..20 {
        names.insert(tcp(scene, 0, to)?.name);
        if names.contains("") {
            break;
        }
    }
    Ok(if names.len() == 1 && !names.contains("") {
        Ok(format!("20 connections to {names:?}"))
    } else {
        Err(format!("20 connections reached {names:?}"))
    })
}

fn stays_local(scene: &mut Scene) -> Result<Checked> {
    let to = SocketAddr::new(ip(LOCAL[0]), 80);
    let (mut first, mut second) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..10 {
        first.insert(tcp(scene, 0, to)?.name);
        second.insert(tcp(scene, 1, to)?.name);
        if first.contains("") || second.contains("") {
            break;
        }
    }
    let only = |names: &BTreeSet<String>, name: &str| names.len() == 1 && names.contains(name);
    Ok(if only(&first, "pod-1-2") && only(&second, "pod-2-1") {
        Ok("each node's pod reaches its own node's endpoint".to_owned())
    } else {
        Err(format!("from node 1 {first:?}, from node 2 {second:?}"))
    })
}

fn keeps_source(scene: &mut Scene) -> Result<Checked> {
    let own = scene.cluster.pod(0, 0).v4();
    let seen = tcp(scene, 0, SocketAddr::new(ip(WEB[0]), 80))?;
    let client = seen.client.map(|client| client.ip());
    Ok(if client == Some(own) {
        Ok(format!("{} sees {own}", seen.name))
    } else {
        Err(format!("{} sees {client:?}", seen.name))
    })
}

fn left_alone(scene: &mut Scene) -> Result<Checked> {
    let to = SocketAddr::new(scene.cluster.pod(1, 0).v4(), 8080);
    let seen = tcp(scene, 0, to)?;
    Ok(if seen.outcome == "ok" && seen.name == "pod-2-1" && seen.peer == Some(to) {
        Ok(format!("{to} is itself"))
    } else {
        Err(format!("{to}: {seen:?}"))
    })
}

/// A change is in force within milliseconds; a busy machine may need longer.
fn soon(scene: &Scene) -> Duration {
    Duration::from_millis(2 * scene.patience_ms)
}

fn follows(scene: &mut Scene) -> Result<Checked> {
    let to = SocketAddr::new(ip(WEB[0]), 80);
    let soon = soon(scene);
    scene.endpoints(&[(1, 0)])?;
    let began = Instant::now();
    let mut last = String::new();
    while began.elapsed() < soon {
        // Ten in a row from the one endpoint that is left: chance would be one in 59,049.
        let mut same = 0;
        while same < 10 {
            last = tcp(scene, 0, to)?.name;
            if last != "pod-2-1" {
                break;
            }
            same += 1;
        }
        if same == 10 {
            let ms = began.elapsed().as_millis();
            scene.endpoints(&[(0, 1), (0, 2), (1, 0)])?;
            return Ok(Ok(format!("ten of ten connections to the new set, {ms} ms after it")));
        }
    }
    Ok(Err(format!("{soon:?} later {last:?} still answers")))
}

fn moves(scene: &mut Scene) -> Result<Checked> {
    let ask = Ask::Udp {
        to: SocketAddr::new(ip(WEB[0]), 53),
        connected: false,
        mapped: false,
        keep: Some(1),
        timeout_ms: scene.patience_ms,
    };
    let mut names = BTreeSet::new();
    for _ in 0..10 {
        names.insert(scene.pods[0].ask(&ask)?.name);
        if names.contains("") {
            break;
        }
    }
    let Some(first) = names.pop_first().filter(|name| names.is_empty() && !name.is_empty()) else {
        return Ok(Err(format!("ten datagrams of one socket reached {names:?} and others")));
    };
    let all = [("pod-1-2", (0, 1)), ("pod-1-3", (0, 2)), ("pod-2-1", (1, 0))];
    let others: Vec<_> =
        all.iter().filter(|(name, _)| *name != first).map(|(_, pod)| *pod).collect();
    scene.endpoints(&others)?;
    let began = Instant::now();
    let mut second = first.clone();
    while second == first && began.elapsed() < soon(scene) {
        second = scene.pods[0].ask(&ask)?.name;
    }
    scene.endpoints(&[(0, 1), (0, 2), (1, 0)])?;
    Ok(if second != first && !second.is_empty() {
        Ok(format!("ten datagrams to {first}; it left, the next one to {second}"))
    } else {
        Err(format!("{first} left, and the next datagram went to {second:?}"))
    })
}

fn dies(scene: &mut Scene) -> Result<Checked> {
    const KILLS: u32 = 5;
    let to = SocketAddr::new(ip(WEB[0]), 80);
    scene.pods[0].load(to, 500, 3_000)?;
    for kill in 0..KILLS {
        std::thread::sleep(Duration::from_millis(200));
        scene.daemons[0].kill()?;
        scene.daemons[0].wait()?;
        // The set changes while no daemon listens; no endpoint dies, so no connection may fail.
        let pods: &[_] = if kill % 2 == 0 { &[(0, 1), (1, 0)] } else { &[(0, 1), (0, 2), (1, 0)] };
        scene.endpoints(pods)?;
        scene.daemons[0] = scene.start(0)?;
        scene.ready(0)?;
    }
    let load = scene.pods[0].load_result()?;
    scene.endpoints(&[(0, 1), (0, 2), (1, 0)])?;
    let answered: u64 = load.answers.values().sum();
    Ok(if load.failures.is_empty() && answered > 500 {
        Ok(format!("{KILLS} times kill -9 during {answered} connections, 0 failed"))
    } else {
        Err(format!("{answered} answered, failed: {:?}", load.failures))
    })
}
