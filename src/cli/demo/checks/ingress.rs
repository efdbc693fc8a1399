//! Requests from outside to each node, by host and path, plain and over TLS.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;
use towpath_testbed::probe::{Ask, HttpAsk, HttpSeen, Seen};

use super::{
    super::scene::{EMPTY_HOST, LINES_HOST, PLAIN_HOST, SHOP_HOST, Scene},
    Area, Check, Checked,
};

/// What is asked, and what is to come back.
#[derive(Clone, Copy)]
struct Request {
    node: usize,
    family: usize,
    tls: bool,
    host: &'static str,
    path: &'static str,
    status: u16,
    /// The pod that answers, by node and number.
    pod: Option<(usize, usize)>,
    /// What the head says besides, in lower case.
    says: &'static str,
}

const PLAIN: Request = Request {
    node: 0,
    family: 0,
    tls: false,
    host: PLAIN_HOST,
    path: "/",
    status: 200,
    pod: Some((0, 1)),
    says: "",
};

fn traffic(
    name: impl Into<String>,
    run: impl Fn(&mut Scene) -> Result<Checked> + 'static,
) -> Check {
    Check::traffic(Area::Ingress, name, run)
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for node in [0, 1] {
        for (family, said) in [(0, "IPv4"), (1, "IPv6")] {
            let front = Request { node, family, ..PLAIN };
            let api = Request { path: "/api/v1", pod: Some((1, 0)), ..front };
            let name = format!("node {}, {said}: requests go by host and path", node + 1);
            checks.push(traffic(name, move |scene| all(scene, &[front, api])));
        }
    }
    let tls = Request { tls: true, host: SHOP_HOST, ..PLAIN };
    let moved = Request {
        host: SHOP_HOST,
        path: "/a?b=c",
        status: 308,
        pod: None,
        says: "\r\nlocation: https://shop.example/a?b=c\r\n",
        ..PLAIN
    };
    let unknown = Request { host: "unknown.example", status: 404, pod: None, ..PLAIN };
    let empty = Request { host: EMPTY_HOST, status: 503, pod: None, ..PLAIN };
    for (name, request) in [
        ("a host has the certificate of its Secret", tls),
        ("plain requests of a host with a certificate are sent to HTTPS", moved),
        ("a host that no Ingress names is answered with 404", unknown),
        ("a Service without endpoints is answered with 503", empty),
    ] {
        checks.push(traffic(name, move |scene| all(scene, &[request])));
    }
    checks.push(traffic("the status of an Ingress names both nodes", status));
    checks.push(traffic("an upgraded connection outlives its Ingress", tunnel));
    checks
}

/// As external-dns and `kubectl get ingress` read it: the addresses of the nodes that serve, written by one
/// of the daemons.
fn status(scene: &mut Scene) -> Result<Checked> {
    let nodes = scene.cluster.nodes.iter().flat_map(|node| node.host.addresses);
    let wanted: BTreeSet<String> = nodes.map(|ip| ip.to_string()).collect();
    let began = Instant::now();
    loop {
        let object = scene.api.get("ingresses", "default", "shop").unwrap_or_default();
        let entries = object["status"]["loadBalancer"]["ingress"].as_array().cloned();
        let ip = |entry: &Value| entry["ip"].as_str().unwrap_or_default().to_owned();
        let shown: BTreeSet<String> = entries.iter().flatten().map(ip).collect();
        if shown == wanted {
            return Ok(Ok(shown.into_iter().collect::<Vec<_>>().join(", ")));
        }
        if began.elapsed() > Duration::from_millis(2 * scene.patience_ms) {
            return Ok(Err(format!("{shown:?}, not {wanted:?}")));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn ask(scene: &mut Scene, request: &Request, upgrade: bool) -> Result<HttpSeen> {
    let ip = scene.cluster.nodes[request.node].host.addresses[request.family];
    let ask = HttpAsk {
        to: SocketAddr::new(ip, if request.tls { 443 } else { 80 }),
        host: request.host.to_owned(),
        path: request.path.to_owned(),
        trust: request.tls.then(|| scene.certificate.clone()),
        upgrade,
        timeout_ms: scene.patience_ms,
    };
    scene.outside.ask_for(&Ask::Http(ask))
}

/// Each is answered as it should be, at once or soon: a daemon that has just started may need a moment.
fn all(scene: &mut Scene, requests: &[Request]) -> Result<Checked> {
    let mut said = Vec::new();
    for request in requests {
        let began = Instant::now();
        let pod = request.pod.map(|(node, pod)| scene.cluster.pod(node, pod).name.clone());
        loop {
            let seen = ask(scene, request, false)?;
            let by = seen.body.split(' ').next().unwrap_or_default();
            let answered = pod.as_deref().is_none_or(|pod| pod == by);
            if seen.status == request.status && answered && seen.head.contains(request.says) {
                said.push(match pod {
                    Some(pod) => format!("{} by {pod}", seen.status),
                    None => seen.status.to_string(),
                });
                break;
            }
            if began.elapsed() > Duration::from_millis(2 * scene.patience_ms) {
                return Ok(Err(format!("{}{}: {seen:?}", request.host, request.path)));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(Ok(said.join(", ")))
}

fn line(scene: &mut Scene, line: &str) -> Result<Seen> {
    scene.outside.ask_for(&Ask::Line { line: line.to_owned() })
}

/// A connection that has left HTTP, such as a WebSocket: it echoes, its Ingress goes, it echoes.
fn tunnel(scene: &mut Scene) -> Result<Checked> {
    let lines = Request { host: LINES_HOST, ..PLAIN };
    if let Err(why) = all(scene, &[lines])? {
        return Ok(Err(why));
    }
    let seen = ask(scene, &lines, true)?;
    if seen.status != 101 {
        return Ok(Err(format!("no upgrade: {seen:?}")));
    }
    let first = line(scene, "echo 1")?;
    scene.api.delete("ingresses", "default", "lines");
    // A client of its own sees that the route is gone; the other one has the connection.
    let mut other = scene.cluster.outside.agent()?;
    std::mem::swap(&mut scene.outside, &mut other);
    let gone = all(scene, &[Request { status: 404, pod: None, ..lines }])?;
    std::mem::swap(&mut scene.outside, &mut other);
    let second = line(scene, "echo 2")?;
    Ok(match gone {
        Err(why) => Err(why),
        Ok(_) if (&*first.outcome, &*second.outcome) == ("ok", "ok") => {
            Ok("echoes, 404 for others, echoes".to_owned())
        }
        Ok(_) => Err(format!("{first:?}, {second:?}")),
    })
}
