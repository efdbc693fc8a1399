//! 10,000 Services with ten endpoints each: cold start, one change, memory.

use std::{net::SocketAddr, path::Path, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use towpath_testbed::{
    objects::{Endpoint, slice},
    probe::{Ask, Reached, monotonic_ns},
};

use crate::{bed::Bed, metric::Report, statistics::quantile};

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;
const CHANGES: u32 = 300;

pub(crate) fn measure(tool: &Path, report: &mut Report) -> Result<()> {
    let mut bed = Bed::build(tool, 3)?;
    for number in 0..SERVICES {
        bed.api.put(service(number))?;
        bed.api.put(endpoints(number))?;
    }
    // The last one by name is real; its endpoint is the first pod, then now this one, now that.
    bed.api.put(json!({
        "kind": "Service", "metadata": { "name": "zz", "namespace": "zz" },
        "spec": { "clusterIP": "10.111.0.1", "ports": [{ "name": "http", "port": 80 }] },
    }))?;
    set_real(&bed, 1)?;
    let _one = bed.cluster.pod(0, 1).serve(&[8080])?;
    let _two = bed.cluster.pod(0, 2).serve(&[8080])?;
    let mut client = bed.cluster.pod(0, 0).agent()?;
    let to: SocketAddr = "10.111.0.1:80".parse()?;

    client.tell(&Ask::Until { to, name: "pod-1-2".into(), timeout_ms: 60_000 })?;
    let began = monotonic_ns();
    bed.start()?;
    let reached: Reached = client.answer()?;
    let at = reached.at.context("the last Service never answered")?;
    let status = bed.wait_for(u64::from(SERVICES) + 1)?;
    report.at_most(
        "cold_start_seconds",
        at.saturating_sub(began) as f64 / 1e9,
        "s",
        2.0,
        "kube-proxy 34..67",
        format!("{SERVICES} Services x {ENDPOINTS}, process start to the last one's answer"),
    );
    if std::env::var_os("BENCH_LOG").is_some() {
        eprintln!("{}", std::fs::read_to_string(bed.cluster.nodes[0].run_dir.join("daemon.log"))?);
        eprintln!("rss {} hwm {}", bed.memory("VmRSS")?, bed.memory("VmHWM")?);
    }
    let write_us = status["state"]["kernel"]["longestWriteUs"].as_f64().context("write time")?;
    report.at_most(
        "kernel_write_milliseconds",
        write_us / 1e3,
        "ms",
        150.0,
        "nft 20,000..179,000",
        "of the cold start".to_owned(),
    );

    let mut waits = Vec::new();
    for change in 0..CHANGES {
        let pod = 1 + (change as usize + 1) % 2;
        let name = format!("pod-1-{}", pod + 1);
        client.tell(&Ask::Until { to, name, timeout_ms: 5_000 })?;
        thread::sleep(Duration::from_millis(10));
        let changed = monotonic_ns();
        set_real(&bed, pod)?;
        let reached: Reached = client.answer()?;
        let at = reached.at.context("a change never came into force")?;
        waits.push(at.saturating_sub(changed) as f64 / 1e6);
    }
    report.at_most(
        "change_p99_milliseconds",
        quantile(&waits, 0.99),
        "ms",
        2.0,
        "kube-proxy 410..1060",
        format!("p50 {:.2}, {CHANGES} changes", quantile(&waits, 0.5)),
    );

    thread::sleep(Duration::from_secs(3));
    let steady = bed.memory("VmRSS")?;
    bed.api.expire();
    thread::sleep(Duration::from_secs(4));
    let lists: u64 = bed.status()?["source"]["streams"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|stream| stream["lists"].as_u64())
        .sum();
    ensure!(lists > 3, "nothing was listed again");
    let map_bytes = status["mapBytes"].as_f64().unwrap_or(0.0);
    report.at_most(
        "rss_steady_mebibytes",
        steady,
        "MiB",
        96.0,
        "kube-proxy 325..340 MB",
        format!("kernel maps apart: {:.0} MiB", map_bytes / 1_048_576.0),
    );
    report.at_most(
        "rss_peak_mebibytes",
        bed.memory("VmHWM")?,
        "MiB",
        160.0,
        "kube-proxy 325..340 MB",
        "over start and a list of everything again".to_owned(),
    );
    Ok(())
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
