//! The DMZ of a shop: the web in front, the API behind it, a database that the API alone reaches and that
//! reaches nothing. Each denial is a sandwich: connects, denied, connects.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use towpath_testbed::{objects::network_policy, probe::Ask};

use super::{
    super::super::client::{Target, escaped},
    super::scene::{DATABASE, SHOP, Scene, TARGET, ip},
    Area, Check, Checked,
};

/// The demo's clients: the web's pod and the API's, on different nodes.
const WEB: usize = 0;
const API: usize = 1;
/// Where the database and the API are: node, and which of its pods.
const DATABASE_AT: (usize, usize) = (0, 2);
const API_AT: (usize, usize) = (1, 1);
/// For a change to be in force.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for what will not happen, because the area is off.
const NO_PATIENCE: Duration = Duration::from_secs(1);
/// For an answer that must not come.
const SILENCE_MS: u64 = 250;

/// Family and protocol.
#[derive(Clone, Copy)]
struct Way {
    v6: bool,
    udp: bool,
}

/// Who is let through while the policy is there, and who is not.
#[derive(Clone, Copy)]
struct Wall {
    policy: fn() -> Value,
    to: fn(&Scene, Way) -> Vec<SocketAddr>,
    kept_out: usize,
    let_in: Option<usize>,
}

pub(super) fn checks() -> Vec<Check> {
    let walls = [
        (
            "only the API reaches the database",
            Wall { policy: database, to: database_at, kept_out: WEB, let_in: Some(API) },
        ),
        (
            "nothing reaches an API that admits nothing",
            Wall { policy: closed_api, to: api_at, kept_out: WEB, let_in: None },
        ),
        (
            "the web sends nothing while its egress is closed",
            Wall { policy: silent_web, to: database_at, kept_out: WEB, let_in: Some(API) },
        ),
    ];
    let mut checks = Vec::new();
    for (v6, family) in [(false, "IPv4"), (true, "IPv6")] {
        for (udp, protocol) in [(false, "tcp"), (true, "udp")] {
            for (what, wall) in walls {
                let name = format!("{family}, {protocol}: {what}");
                let way = Way { v6, udp };
                let run = move |scene: &mut Scene| sandwich(scene, way, wall);
                checks.push(Check::traffic(Area::Policy, name, run));
            }
        }
    }
    let name = "the node itself reaches a pod that admits nothing";
    checks.push(Check::besides(Area::Policy, name, probe));
    let name = "`towpath explain` names the policy exactly where traffic is denied";
    checks.push(Check::besides(Area::Policy, name, explained));
    checks
}

fn database() -> Value {
    let api = json!({ "podSelector": { "matchLabels": { "shop": "api" } } });
    json!({
        "podSelector": { "matchLabels": { "shop": "database" } },
        "policyTypes": ["Ingress", "Egress"], "ingress": [{ "from": [api] }], "egress": [],
    })
}

fn closed_api() -> Value {
    json!({ "podSelector": { "matchLabels": { "shop": "api" } }, "policyTypes": ["Ingress"] })
}

fn silent_web() -> Value {
    json!({ "podSelector": { "matchLabels": { "shop": "web" } }, "policyTypes": ["Egress"] })
}

/// The pod's own address, and its Service's.
fn database_at(scene: &Scene, way: Way) -> Vec<SocketAddr> {
    let own = scene.cluster.pod(DATABASE_AT.0, DATABASE_AT.1).addresses[usize::from(way.v6)];
    let service = ip(DATABASE[usize::from(way.v6)]);
    vec![(own, TARGET).into(), (service, if way.udp { 53 } else { 80 }).into()]
}

fn api_at(scene: &Scene, way: Way) -> Vec<SocketAddr> {
    vec![(scene.cluster.pod(API_AT.0, API_AT.1).addresses[usize::from(way.v6)], TARGET).into()]
}

fn sandwich(scene: &mut Scene, way: Way, wall: Wall) -> Result<Checked> {
    let to = (wall.to)(scene, way);
    let mut steps = Vec::new();
    for (what, policy) in [("without a policy", false), ("with it", true), ("after it", false)] {
        match policy {
            true => scene.api.put(network_policy(SHOP, "wall", &(wall.policy)()))?,
            false => scene.api.delete("networkpolicies", SHOP, "wall"),
        }
        for to in &to {
            let seen = settles(scene, wall.kept_out, *to, way.udp, !policy)?;
            let Ok(took) = seen else {
                scene.api.delete("networkpolicies", SHOP, "wall");
                let should = if policy { "is not denied" } else { "does not connect" };
                return Ok(Err(format!("{what}, {to} {should}")));
            };
            if let Some(client) = wall.let_in
                && settles(scene, client, *to, way.udp, true)?.is_err()
            {
                return Ok(Err(format!("{what}, {to} does not answer whom it should")));
            }
            steps.push(format!("{} ms", took.as_millis()));
        }
    }
    Ok(Ok(format!("connects, denied, connects: {}", steps.join(", "))))
}

/// Asks until it answers, or does not, as it should; how long that took.
fn settles(
    scene: &mut Scene,
    client: usize,
    to: SocketAddr,
    udp: bool,
    answers: bool,
) -> Result<Result<Duration, ()>> {
    let began = Instant::now();
    let patience = if scene.hurries() { NO_PATIENCE } else { PATIENCE };
    let timeout_ms = if answers { 1_000 } else { SILENCE_MS };
    loop {
        let ask = match udp {
            true => Ask::Udp { to, connected: false, mapped: false, keep: None, timeout_ms },
            false => Ask::Tcp { to, mapped: false, timeout_ms },
        };
        let outcome = scene.pods[client].ask(&ask)?.outcome;
        if outcome == if answers { "ok" } else { "timeout" } {
            return Ok(Ok(began.elapsed()));
        }
        if began.elapsed() > patience {
            return Ok(Err(()));
        }
    }
}

/// What is explained of the web's way to the database, by the pod's own address and its Service's, while
/// traffic passes, is denied, and passes again.
fn explained(scene: &mut Scene) -> Result<Checked> {
    let way = Way { v6: false, udp: false };
    let to = database_at(scene, way);
    for (what, policy) in [("without a policy", false), ("with it", true), ("after it", false)] {
        match policy {
            true => scene.api.put(network_policy(SHOP, "wall", &database()))?,
            false => scene.api.delete("networkpolicies", SHOP, "wall"),
        }
        for to in &to {
            let seen = settles(scene, WEB, *to, false, !policy)?;
            let said = explain(scene, *to)?;
            let named = said.contains("is selected by shop/wall");
            if seen.is_err() || named != policy || said.starts_with("dies") != policy {
                scene.api.delete("networkpolicies", SHOP, "wall");
                return Ok(Err(format!("{what}, {to}: {said}")));
            }
        }
    }
    Ok(Ok("passes, dies at the database's ingress by shop/wall, passes".to_owned()))
}

/// How it ends, and why.
fn explain(scene: &Scene, to: SocketAddr) -> Result<String> {
    let daemon = Target { run_dir: scene.cluster.nodes[0].run_dir.clone() };
    let question = format!("/v1/explain?from={SHOP}/web&to={}", escaped(&to.to_string()));
    let reply = match daemon.ask(&question) {
        Ok(reply) => reply,
        Err(failure) => bail!("{}", failure.what),
    };
    let said = |field: &str| reply["result"][field].as_str().unwrap_or_default();
    Ok(format!("{}: {}", said("outcome"), said("why")))
}

/// A kubelet's probe is the node's own traffic, whatever policies say.
fn probe(scene: &mut Scene) -> Result<Checked> {
    scene.api.put(network_policy(SHOP, "wall", &closed_api()))?;
    let way = Way { v6: false, udp: false };
    let to = api_at(scene, way).remove(0);
    let kept_out = settles(scene, WEB, to, false, false)?;
    let seen = scene.hosts[API_AT.0].tcp(to)?;
    scene.api.delete("networkpolicies", SHOP, "wall");
    Ok(match (kept_out, seen.outcome.as_str()) {
        (Ok(_), "ok") => Ok("a pod is denied, the node is not".to_owned()),
        (Err(()), _) => Err("the pod admits another one".to_owned()),
        (_, outcome) => Err(format!("the node's connection: {outcome}")),
    })
}
