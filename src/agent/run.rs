//! `towpath run`: everything that runs, in the order in which it starts.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{signal::unix, sync::mpsc};
use towpath_ebpf::{LiveKernel, Peers};
use towpath_model::Store;
use towpath_proxy::{ProxyConfig, ServicePlan};

use super::answers::LoopAnswers;
use crate::{
    admin::{self, Admin, Metrics, Ports},
    config::{Config, SocketLb, SourceConfig},
    reconcile::{self, Clock, Effects, Graces, State, Vitals, Wake},
    source::{Feed, Health, kube, manifests, node_facts},
};

/// Kinds of traffic that pass as if Towpath were not there.
pub(super) const NOT_SERVED: [&str; 4] = [
    "packets that come from no socket of this node: clients outside the cluster, VM pods, raw sockets",
    "SCTP",
    "load balancer addresses of Services with loadBalancerSourceRanges",
    "NetworkPolicy, DNS and Ingress",
];

/// Runs the daemon until it is told to stop.
#[must_use]
pub fn run(config: Config) -> ExitCode {
    match daemon(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn daemon(config: Config) -> Result<()> {
    let clock = Clock::start();
    let settings = kernel_settings(&config);
    // Before anything else: from here on the node is served with what its maps hold.
    let kernel = LiveKernel::open(&settings)?;
    let map_bytes = kernel.map_use().iter().map(|map| map.bytes).sum();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("source")
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let (wakes, inbox) = mpsc::channel::<Wake>(reconcile::QUEUE);
    let (relists, relist_inbox) = mpsc::channel(16);
    let (removed_udp, removed_inbox) = mpsc::channel(64);
    let (health_checks, served_checks) = tokio::sync::watch::channel(Vec::new());
    let metrics = Arc::new(Metrics::new().context("metrics")?);
    let vitals = Arc::new(Vitals::default());
    let effects = Effects {
        relists,
        graces: Graces::start(clock, towpath_ebpf::grace, wakes.clone())?,
        health_checks,
        removed_udp: Some(removed_udp),
        metrics: Arc::clone(&metrics),
        vitals: Arc::clone(&vitals),
    };
    let peers = Peers::open(&settings)?;
    super::stale_udp::start(peers, removed_inbox, Arc::clone(&metrics))?;
    let plan = ServicePlan::new(ProxyConfig { external_ips: config.services.external_ips.clone() });
    let store = Store::new(&config.node_name);
    let state = State::new(clock, store, plan, Box::new(kernel), effects)?;
    let looping = reconcile::start(state, inbox).context("starting the control loop")?;

    let health = Health::default();
    let ports = Arc::new(Ports::default());
    let source = match config.source {
        SourceConfig::Kube { .. } => "kube",
        SourceConfig::Manifests { .. } => "manifests",
    };
    admin::start(Admin {
        config: config.admin.clone(),
        vitals,
        metrics: Arc::clone(&metrics),
        clock,
        answers: Arc::new(LoopAnswers {
            wakes: wakes.clone(),
            health: health.clone(),
            clock,
            metrics: Arc::clone(&metrics),
            node: config.node_name.clone(),
            source,
            map_bytes,
            ports: Arc::clone(&ports),
        }),
        health_checks: served_checks,
        ports,
    })
    .context("starting the admin servers")?;

    let feed = Feed::new(wakes.clone());
    let ended = runtime.block_on(async {
        tokio::spawn(ticks(wakes.clone()));
        tokio::spawn(node_facts::run(feed.clone()));
        tokio::select! {
            ended = feed_from(&config, feed, relist_inbox, health, clock) => ended,
            signal = stop_signal() => signal.map(|name| tracing::info!(signal = name, "stopping")),
        }
    });
    // Whatever was heard before is still written; then the maps stay as they are, in force.
    if wakes.blocking_send(Wake::Stop).is_ok() {
        let _state = looping.join();
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

fn kernel_settings(config: &Config) -> towpath_ebpf::Settings {
    towpath_ebpf::Settings {
        pin_root: config.kernel.bpffs.clone(),
        cgroup_root: config.kernel.cgroup_root.clone(),
        run_dir: config.run_dir.clone(),
        capacities: config.kernel.capacities,
        cluster: None,
        host_only: config.services.socket_lb == SocketLb::HostOnly,
    }
}

/// The one source of cluster state; it only ends with the loop, or when it cannot even begin.
async fn feed_from(
    config: &Config,
    feed: Feed,
    relists: mpsc::Receiver<towpath_model::Relist>,
    health: Health,
    clock: Clock,
) -> Result<()> {
    match &config.source {
        SourceConfig::Kube { access, api_servers } => {
            let settings = kube::KubeSettings {
                access: access.clone(),
                api_servers: api_servers.clone(),
                run_dir: config.run_dir.clone(),
                clock,
                patience: kube::Patience::default(),
            };
            kube::run(settings, feed, relists, health).await?;
        }
        SourceConfig::Manifests { directory, cluster_ip_ranges } => {
            let settings = manifests::ManifestSettings {
                dir: directory.clone(),
                cluster_ip_ranges: cluster_ip_ranges.clone(),
                run_dir: config.run_dir.clone(),
                node_name: config.node_name.clone(),
                clock,
            };
            manifests::run(settings, feed, relists, health).await?;
        }
    }
    Ok(())
}

async fn ticks(wakes: mpsc::Sender<Wake>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        if wakes.send(Wake::Tick).await.is_err() {
            return;
        }
    }
}

async fn stop_signal() -> Result<&'static str> {
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
