//! What a Service costs a connection and a datagram, against the endpoint itself.

use std::{net::SocketAddr, path::Path};

use anyhow::{Result, ensure};
use serde_json::json;
use towpath_ebpf::{Settings, StatsOn, program_runs};
use towpath_testbed::{
    objects::{Endpoint, slice},
    probe::{Agent, Ask, Compared, Seen},
};

use crate::{
    bed::Bed,
    metric::Report,
    statistics::{median, median_upper},
};

const ROUNDS: usize = 61;
const EXCHANGES: u32 = 100;
const REQUESTS: u32 = 10_000;

pub(crate) fn measure(tool: &Path, report: &mut Report) -> Result<()> {
    let mut bed = Bed::build(tool, 2)?;
    bed.api.put(json!({
        "kind": "Service", "metadata": { "name": "one", "namespace": "default" },
        "spec": { "clusterIP": "10.96.0.1", "ports": [
            { "name": "t", "port": 80, "protocol": "TCP" },
            { "name": "u", "port": 53, "protocol": "UDP" },
        ] },
    }))?;
    let node = bed.cluster.nodes[0].host.name.clone();
    let endpoint = [Endpoint::ready(bed.cluster.pod(0, 1), &node)];
    let ports = [("t", "TCP", 8080), ("u", "UDP", 8080)];
    bed.api.put(slice("one", false, &ports, &endpoint))?;
    let _server = bed.cluster.pod(0, 1).serve_on(&[8080], Some(1))?;
    let mut client = bed.cluster.pod(0, 0).agent()?;
    // One core for both ends: the figures are what an exchange costs, not how cores wake each other.
    let mut outside = bed.cluster.pod(0, 0).in_cgroup_of(&bed.cluster.control).agent()?;
    for client in [&mut client, &mut outside] {
        let pinned: Seen = client.ask_for(&Ask::Pin { cpu: 1 })?;
        ensure!(pinned.outcome == "ok", "pinning: {}", pinned.outcome);
    }
    bed.start(crate::bed::Router::Towpath)?;
    bed.wait_for(1)?;

    let direct = SocketAddr::new(bed.cluster.pod(0, 1).v4(), 8080);
    let tcp = ratios((&mut outside, direct), (&mut client, "10.96.0.1:80".parse()?), false)?;
    report.at_most(
        "connect_request_ratio_upper",
        median_upper(&tcp),
        "Service / direct",
        1.05,
        "nftables 1.18",
        format!("median {:.3} of {ROUNDS} rounds", median(&tcp)),
    );

    let to = "10.96.0.1:80".parse()?;
    let opened: Seen = client.ask_for(&Ask::Kept { to, requests: 1 })?;
    ensure!(opened.outcome == "ok", "kept connection: {}", opened.outcome);
    let stats = StatsOn::start()?;
    let before = runs(&bed)?;
    let kept: Seen = client.ask_for(&Ask::Kept { to, requests: REQUESTS })?;
    let after = runs(&bed)?;
    ensure!(kept.outcome == "ok", "kept connection: {}", kept.outcome);
    report.at_most(
        "kept_connection_program_runs",
        (after - before) as f64 / f64::from(REQUESTS),
        "runs / request",
        0.0,
        "nftables: every packet",
        format!("{REQUESTS} requests"),
    );
    drop(stats);

    let udp = ratios((&mut outside, direct), (&mut client, "10.96.0.1:53".parse()?), true)?;
    report.at_most(
        "unconnected_udp_ratio",
        median(&udp),
        "Service / direct",
        1.12,
        "nftables 1.12",
        format!("95 % bound {:.3} of {ROUNDS} rounds", median_upper(&udp)),
    );
    Ok(())
}

/// How often the programs of the node's daemon ran.
fn runs(bed: &Bed) -> Result<u64> {
    let node = &bed.cluster.nodes[0];
    let settings = Settings::new(node.bpffs.join("towpath"), &node.cgroup, &node.run_dir);
    Ok(program_runs(&settings)?.iter().map(|program| program.runs).sum())
}

/// Through the Service against direct, round by round. The direct client is in the same namespace,
/// on the same processor, but outside the node's cgroup: no program of ours runs for it at all.
fn ratios(
    (direct_client, direct): (&mut Agent, SocketAddr),
    (client, through): (&mut Agent, SocketAddr),
    udp: bool,
) -> Result<Vec<f64>> {
    let time = |client: &mut Agent, to: SocketAddr| -> Result<f64> {
        let ask = Ask::Compare { one: to, other: to, udp, count: EXCHANGES };
        let compared: Compared = client.ask_for(&ask)?;
        Ok((compared.one + compared.other) as f64)
    };
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let (direct, through) = if round % 2 == 0 {
            let direct = time(direct_client, direct)?;
            (direct, time(client, through)?)
        } else {
            let through = time(client, through)?;
            (time(direct_client, direct)?, through)
        };
        ratios.push(through / direct);
    }
    Ok(ratios)
}
