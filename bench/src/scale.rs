//! 10,000 Services with ten endpoints each: cold start, one change, memory.

use std::{net::SocketAddr, path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use towpath_testbed::{
    objects::{Endpoint, slice},
    probe::{Ask, Reached, monotonic_ns},
};

use crate::{
    bed::{Bed, Router},
    metric::Report,
    statistics::quantile,
};

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;
const CHANGES: u32 = 300;
/// A change takes kube-proxy up to a second.
const PEERS_CHANGES: u32 = 30;

/// What one router came to.
struct Figures {
    /// Process start to the last Service's first answer.
    cold_start_s: f64,
    /// One endpoint replaced: the write to the API, until a new connection reaches it.
    changes_ms: Vec<f64>,
    rss_steady: f64,
    rss_peak: f64,
}

impl Figures {
    fn change(&self, p: f64) -> f64 {
        quantile(&self.changes_ms, p)
    }
}

pub(crate) fn measure(tool: &Path, kube_proxy: Option<&Path>, report: &mut Report) -> Result<()> {
    let peer = match kube_proxy {
        Some(program) => {
            let (figures, _bed) = run(tool, Router::KubeProxy(program))?;
            Some(figures)
        }
        None => None,
    };
    let (ours, bed) = run(tool, Router::Towpath)?;
    let status = bed.status()?;
    // What was measured in this run, or else what the documentation says of it.
    let beside = |own: f64, figure: fn(&Figures) -> f64, known: &str| match &peer {
        Some(peer) => {
            let value = figure(peer);
            format!("kube-proxy {value:.2} ({:.0} x, this run)", value / own)
        }
        None => format!("kube-proxy {known}"),
    };
    report.at_most(
        "cold_start_seconds",
        ours.cold_start_s,
        "s",
        2.0,
        beside(ours.cold_start_s, |f| f.cold_start_s, "34..67"),
        format!("{SERVICES} Services x {ENDPOINTS}, process start to the last one's answer"),
    );
    let write_us = status["state"]["kernel"]["longestWriteUs"].as_f64().context("write time")?;
    report.at_most(
        "kernel_write_milliseconds",
        write_us / 1e3,
        "ms",
        150.0,
        "nft 20,000..179,000",
        "of the cold start".to_owned(),
    );
    report.at_most(
        "change_p99_milliseconds",
        ours.change(0.99),
        "ms",
        2.0,
        beside(ours.change(0.99), |f| f.change(0.99), "410..1060"),
        format!("p50 {:.2}, {} changes", ours.change(0.5), ours.changes_ms.len()),
    );
    let lists: u64 = status["source"]["streams"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|stream| stream["lists"].as_u64())
        .sum();
    ensure!(lists > 3, "nothing was listed again");
    let map_bytes = status["mapBytes"].as_f64().unwrap_or(0.0);
    report.at_most(
        "rss_steady_mebibytes",
        ours.rss_steady,
        "MiB",
        96.0,
        beside(ours.rss_steady, |f| f.rss_steady, "310..324"),
        format!("kernel maps apart: {:.0} MiB", map_bytes / 1_048_576.0),
    );
    report.at_most(
        "rss_peak_mebibytes",
        ours.rss_peak,
        "MiB",
        160.0,
        beside(ours.rss_peak, |f| f.rss_peak, "310..324"),
        "over start and a list of everything again".to_owned(),
    );
    Ok(())
}

/// A node of its own, the same objects, the same client.
fn run(tool: &Path, router: Router<'_>) -> Result<(Figures, Bed)> {
    let (patience_ms, changes) = match router {
        Router::Towpath => (60_000, CHANGES),
        Router::KubeProxy(_) => (300_000, PEERS_CHANGES),
    };
    let mut bed = Bed::build(tool, 3)?;
    for number in 0..SERVICES {
        bed.api.put(service(number))?;
        bed.api.put(endpoints(number))?;
    }
    // The last one by name is real; its endpoint is the first pod, then now this one, now that.
    bed.api.put(json!({
        "kind": "Service", "metadata": { "name": "zz", "namespace": "zz" },
        "spec": { "clusterIP": "10.111.0.1", "type": "ClusterIP",
                  "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] },
    }))?;
    set_real(&bed, 1)?;
    let _one = bed.cluster.pod(0, 1).serve(&[8080])?;
    let _two = bed.cluster.pod(0, 2).serve(&[8080])?;
    // The host: a pod's reply to its neighbour on the bridge would pass a packet filter by.
    let mut client = bed.cluster.nodes[0].host.agent()?;
    let to: SocketAddr = "10.111.0.1:80".parse()?;

    client.send(&Ask::Until { to, name: "pod-1-2".into(), timeout_ms: patience_ms })?;
    let began = monotonic_ns();
    bed.start(router)?;
    let reached: Reached = client.answer()?;
    let at =
        reached.at.with_context(|| format!("the last Service never answered:\n{}", bed.log()))?;
    let cold_start_s = at.saturating_sub(began) as f64 / 1e9;
    if let Router::Towpath = router {
        bed.wait_for(u64::from(SERVICES) + 1)?;
    }

    let mut changes_ms = Vec::new();
    for change in 0..changes {
        let pod = 1 + (change as usize + 1) % 2;
        let name = format!("pod-1-{}", pod + 1);
        client.send(&Ask::Until { to, name, timeout_ms: patience_ms })?;
        thread::sleep(Duration::from_millis(10));
        let changed = monotonic_ns();
        set_real(&bed, pod)?;
        let reached: Reached = client.answer()?;
        let at = reached.at.context("a change never came into force")?;
        changes_ms.push(at.saturating_sub(changed) as f64 / 1e6);
    }

    thread::sleep(Duration::from_secs(3));
    let rss_steady = bed.memory("VmRSS")?;
    bed.api.expire();
    thread::sleep(Duration::from_secs(4));
    let rss_peak = bed.memory("VmHWM")?;
    Ok((Figures { cold_start_s, changes_ms, rss_steady, rss_peak }, bed))
}

fn service(number: u32) -> Value {
    let (a, b) = (number / 250, number % 250 + 1);
    json!({
        "kind": "Service",
        "metadata": { "name": format!("svc-{number:05}"), "namespace": format!("ns-{}", number % 100),
                      "uid": format!("00000000-0000-0000-0000-{number:012}"),
                      "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "clusterIP": format!("10.110.{a}.{b}"), "type": "ClusterIP",
                  "selector": { "app": format!("app-{number}") },
                  "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 }] },
    })
}

fn endpoints(number: u32) -> Value {
    let all: Vec<Value> = (0..ENDPOINTS)
        .map(|endpoint| {
            let n = number * ENDPOINTS + endpoint;
            let ip = format!("10.{}.{}.{}", 128 + n / 62_500, n / 250 % 250, n % 250 + 1);
            json!({ "addresses": [ip], "nodeName": format!("node-{}", 2 + n % 50),
                    "conditions": { "ready": true, "serving": true, "terminating": false },
                    "targetRef": { "kind": "Pod", "name": format!("pod-{n}") } })
        })
        .collect();
    json!({
        "kind": "EndpointSlice",
        "metadata": { "name": format!("svc-{number:05}-x"), "namespace": format!("ns-{}", number % 100),
                      "labels": { "kubernetes.io/service-name": format!("svc-{number:05}") } },
        "addressType": "IPv4", "ports": [{ "name": "http", "protocol": "TCP", "port": 8080 }],
        "endpoints": all,
    })
}

/// Makes this pod the only endpoint of the real Service.
fn set_real(bed: &Bed, pod: usize) -> Result<()> {
    let node = &bed.cluster.nodes[0].host.name;
    let endpoint = [Endpoint::ready(bed.cluster.pod(0, pod), node)];
    let mut object = slice("zz", false, &[("http", "TCP", 8080)], &endpoint);
    object["metadata"]["namespace"] = "zz".into();
    bed.api.put(object)
}
