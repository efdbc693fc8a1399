//! `towpath run`: everything that runs, in the order in which it starts.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Error, Result, anyhow};
use tokio::{signal::unix, sync::mpsc, task::JoinSet};
use towpath_ebpf::{LiveKernel, Peers, Settings};
use towpath_model::{Relist, Store};
use towpath_proxy::{ProxyConfig, ServicePlan, Share};

use super::{
    answers::LoopAnswers,
    cluster::{self, Binding},
    descriptors, preflight,
    stale_udp::{StaleUdp, Sweeper},
    threads::{self, Threads, log_panics},
};
use crate::{
    admin::{self, Admin, Metrics, Ports},
    config::{Config, SocketLb, SourceConfig},
    reconcile::{self, Asker, Auditor, Clock, Effects, Graces, State, Vitals, Wake},
    source::{Feed, Health, kube, manifests, node_facts},
};

/// Kinds of traffic that pass as if Towpath were not there.
pub(super) const NOT_SERVED: [&str; 5] = [
    "packets that come from no socket of this node: clients outside the cluster, VM pods, raw sockets",
    "SCTP",
    "load balancer addresses of Services with loadBalancerSourceRanges",
    "connected UDP sockets in pods whose endpoint has gone: counted, not ended (those of the host are)",
    "NetworkPolicy, DNS and Ingress",
];

/// The loop writes what was said before, and is given so long for it.
const STOP: Duration = Duration::from_secs(10);
/// Name of the loop's thread.
const LOOP: &str = "reconcile";

/// Runs the daemon until it is told to stop.
#[must_use]
pub fn run(config: Config) -> ExitCode {
    log_panics();
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
    if let SourceConfig::Manifests { directory, .. } = &config.source {
        manifests::apart(directory, &config.run_dir)?;
    }
    let settings = kernel_settings(&config);
    descriptors::raise();
    // Before anything else: from here on the node is served with what its maps hold.
    let kernel =
        LiveKernel::open(&settings).map_err(|error| preflight::explained(error, &settings))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("source")
        .enable_all()
        .build()
        .context("starting the runtime")?;
    // Pins of some cluster, and nothing is remembered that says of which.
    let unverified = settings.cluster.is_none() && kernel.cluster().is_some();
    let Running { wakes, relists, health, mut threads } = start(&config, &settings, kernel, clock)?;
    let feed = Feed::new(wakes.clone());
    let ended = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        tasks.spawn(ticks(wakes.clone()));
        let (known, mut addresses) = tokio::sync::watch::channel(false);
        let facts = node_facts::run(feed.clone(), health.clone(), known);
        tasks.spawn(async { Ok(facts.await?) });
        let binding = Binding { wakes: wakes.clone(), health: health.clone(), unverified };
        let source = feed_from(config, feed, relists, health, clock, binding);
        tasks.spawn(async move {
            // Fails only when the loop has ended, which whoever follows the addresses says.
            if addresses.wait_for(|known| *known).await.is_err() {
                std::future::pending::<()>().await;
            }
            source.await
        });
        let ended = tokio::select! {
            signal = stop_signal() => signal.map(|name| tracing::info!(signal = name, "stopping")),
            ended = first_end(&mut tasks, &mut threads) => Err(ended),
        };
        stop_loop(&wakes, &threads).await;
        ended
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// What runs before any source does.
struct Running {
    wakes: mpsc::Sender<Wake>,
    relists: mpsc::Receiver<Relist>,
    health: Health,
    threads: Threads,
}

/// The loop, and everything that looks at it.
fn start(
    config: &Config,
    settings: &Settings,
    kernel: LiveKernel,
    clock: Clock,
) -> Result<Running> {
    let map_bytes = kernel.map_use().iter().map(|map| map.bytes).sum();
    let reader = kernel.reader();
    let (wakes, inbox) = mpsc::channel::<Wake>(reconcile::QUEUE);
    let (relists_out, relists) = mpsc::channel(16);
    let (udp_gone, udp_told) = std::sync::mpsc::sync_channel(1);
    let (checks, health_checks) = tokio::sync::watch::channel(Vec::new());
    let metrics = Arc::new(Metrics::new().context("metrics")?);
    let vitals = Arc::new(Vitals::default());
    let mut threads = Threads::default();
    let (graces, waiting) = Graces::start(clock, towpath_ebpf::grace, wakes.clone())?;
    threads.add("grace", waiting);
    let effects = Effects {
        relists: relists_out,
        graces,
        health_checks: checks,
        udp_gone: Some(udp_gone),
        metrics: Arc::clone(&metrics),
        vitals: Arc::clone(&vitals),
    };
    let plan = ServicePlan::new(ProxyConfig {
        external_ips: config.services.external_ips.clone(),
        share: Share::of(&config.kernel.capacities),
    });
    let store = Store::new(&config.node_name);
    let state = State::new(clock, store, plan, Box::new(kernel), effects)?;
    threads.add(LOOP, reconcile::start(state, inbox).context("starting the control loop")?);

    let asker = Asker::new(wakes.clone());
    let read = Box::new(move || reader.read());
    threads.add("audit", Auditor { asker: asker.clone(), read, clock }.start()?);
    let stale_udp = Arc::new(StaleUdp::default());
    let sweeper = Sweeper {
        peers: Peers::open(settings)?,
        asker: asker.clone(),
        metrics: Arc::clone(&metrics),
        found: Arc::clone(&stale_udp),
    };
    threads.add("stale-udp", sweeper.start(udp_told)?);
    let health = Health::default();
    let ports = Arc::new(Ports::default());
    let answers = Arc::new(LoopAnswers {
        asker,
        health: health.clone(),
        clock,
        metrics: Arc::clone(&metrics),
        node: config.node_name.clone(),
        source: match config.source {
            SourceConfig::Kube { .. } => "kube",
            SourceConfig::Manifests { .. } => "manifests",
        },
        map_bytes,
        ports: Arc::clone(&ports),
        stale_udp,
    });
    let config = config.admin.clone();
    let descriptors = descriptors::limit();
    let admin =
        Admin { config, vitals, metrics, clock, answers, health_checks, ports, descriptors };
    threads.add("admin", admin::start(admin).context("starting the admin servers")?);
    Ok(Running { wakes, relists, health, threads })
}

/// Waits until something ends that must not, and says what.
async fn first_end(tasks: &mut JoinSet<Result<()>>, threads: &mut Threads) -> Error {
    let ended = tokio::select! {
        ended = threads.first_end() => return ended.into(),
        ended = tasks.join_next() => match ended {
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => anyhow!("a task of the daemon ended: {panic}"),
            Some(Ok(Ok(()))) | None => anyhow!("a task of the daemon ended without a reason"),
        },
    };
    // Most tasks end because the loop has: then that is the reason.
    tokio::time::sleep(threads::LOOK).await;
    threads.ended().map_or(ended, Error::from)
}

/// Whatever was heard before is still written; then the maps stay as they are, in force.
async fn stop_loop(wakes: &mpsc::Sender<Wake>, threads: &Threads) {
    let told = tokio::time::timeout(STOP, wakes.send(Wake::Stop)).await;
    if told.is_err() || !threads.wait(LOOP, STOP).await {
        tracing::warn!("the control loop does not stop: leaving without its last words");
    }
}

fn kernel_settings(config: &Config) -> Settings {
    let mut settings = Settings {
        pin_root: config.kernel.bpffs.clone(),
        cgroup_root: config.kernel.cgroup_root.clone(),
        run_dir: config.run_dir.clone(),
        capacities: config.kernel.capacities,
        cluster: None, // until it is known
        host_only: config.services.socket_lb == SocketLb::HostOnly,
    };
    // What is remembered says whose pins these should be; of fresh ones it says nothing.
    if matches!(config.source, SourceConfig::Kube { .. }) && settings.maps_dir().exists() {
        settings.cluster = cluster::recall(&config.run_dir);
    }
    settings
}

/// The one source of cluster state; it only ends with the loop, or when it cannot even begin.
async fn feed_from(
    config: Config,
    feed: Feed,
    relists: mpsc::Receiver<Relist>,
    health: Health,
    clock: Clock,
    binding: Binding,
) -> Result<()> {
    match config.source {
        SourceConfig::Kube { access, api_servers } => {
            let settings = kube::KubeSettings {
                access,
                api_servers,
                run_dir: config.run_dir,
                clock,
                patience: kube::Patience::default(),
            };
            if binding.at_start(&settings).await? {
                return Ok(kube::run(settings, feed, relists, health).await?);
            }
            let asking = binding.keep_asking(settings.clone());
            tokio::select! {
                ended = kube::run(settings, feed, relists, health) => Ok(ended?),
                refused = asking => refused,
            }
        }
        SourceConfig::Manifests { directory, cluster_ip_ranges } => {
            let settings = manifests::ManifestSettings {
                dir: directory,
                cluster_ip_ranges,
                run_dir: config.run_dir,
                node_name: config.node_name,
                clock,
                second_look: manifests::SECOND_LOOK,
            };
            Ok(manifests::run(settings, feed, relists, health).await?)
        }
    }
}

async fn ticks(wakes: mpsc::Sender<Wake>) -> Result<()> {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        if wakes.send(Wake::Tick).await.is_err() {
            return Ok(());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::desk::{Desk, lists};

    #[tokio::test]
    async fn a_loop_that_panics_ends_the_daemon_with_its_name_and_reason() {
        let Desk { state, wakes, inbox, .. } = Desk::new();
        let mut threads = Threads::default();
        threads.add(LOOP, reconcile::start(state, inbox).unwrap());
        let mut tasks = JoinSet::new();
        // Sources hear of it first: their feed ends without an error of their own.
        let source = wakes.clone();
        tasks.spawn(async move {
            let stop = Wake::Ask(Box::new(|_| panic!("on purpose")));
            source.send(stop).await.map_err(|_ended| anyhow!("no loop"))?;
            let feed = Feed::new(source);
            while feed.send(lists(Vec::new())).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        });
        let ended = format!("{:#}", first_end(&mut tasks, &mut threads).await);
        let wanted = "the reconcile thread ended (panic: on purpose): the daemon stops";
        assert!(ended.starts_with(wanted), "{ended}");
        stop_loop(&wakes, &threads).await;
    }

    #[tokio::test]
    async fn a_task_that_ends_ends_the_daemon() {
        let Desk { state, wakes, inbox, .. } = Desk::new();
        let mut threads = Threads::default();
        threads.add(LOOP, reconcile::start(state, inbox).unwrap());
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        tasks.spawn(async { panic!("netlink") });
        let ended = first_end(&mut tasks, &mut threads).await.to_string();
        assert!(ended.contains("netlink"), "{ended}");
        stop_loop(&wakes, &threads).await;
        assert!(threads.ended().is_some(), "the loop was stopped in order");
    }
}
