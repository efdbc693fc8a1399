//! `towpath run`: everything that runs, in the order in which it starts.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use anyhow::{Context as _, Error, Result, anyhow};
use tokio::{
    signal::unix,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use towpath_ebpf::{Error::Locked, Opened};
use towpath_model::{Event, NodeFact, Relist, Store};

use super::{
    Daemon,
    build::{ADMIN, Known, LOOP, LoopEnds, Running, SourceEnds, ends, kube_settings, start},
    cluster::Binding,
    descriptors,
    kernel::{kernel_settings, open},
    preflight, standby,
    threads::{self, Threads},
};
use crate::{
    admin,
    clock::SystemClock,
    config::{Config, SourceConfig},
    ingress,
    reconcile::Wake,
    report::Reporter,
    source::{Feed, Health, Wants, kube, manifests, node_facts, pod_devices},
};

/// The loop writes what was received before, and is given so long for it.
const STOP: Duration = Duration::from_secs(10);

/// Runs the daemon until it is told to stop.
#[must_use]
pub fn run(config: Config) -> ExitCode {
    crate::panics::log();
    match daemon(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn daemon(config: Config) -> Result<()> {
    let clock = SystemClock::start();
    if let SourceConfig::Manifests { directory, .. } = &config.source {
        manifests::apart(directory, &config.run_dir)?;
    }
    let settings = kernel_settings(&config);
    descriptors::raise();
    // Before anything else: from here on the node is served with what its maps hold.
    let opened = match open(&settings) {
        Ok(opened) => Some(opened),
        Err(Locked { .. }) if config.standby => None,
        Err(error) => return Err(preflight::explained(error, &settings)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("source")
        .enable_all()
        .build()
        .context("starting the runtime")?;
    // Pins of some cluster, and nothing is remembered that says of which. Beside another daemon it
    // is not known yet what is pinned.
    let bound = opened.as_ref().is_none_or(|opened| opened.programs.cluster().is_some());
    let unverified = settings.cluster.is_none() && bound;
    let ended = runtime.block_on(async {
        let mut tasks = JoinSet::new();
        let (ends, sources) = ends();
        let (serving, serves) = watch::channel(opened.is_some());
        spawn_sources(&mut tasks, &config, (&ends, sources), (unverified, serves), clock);
        serve(&config, opened, ends, (&mut tasks, serving), clock).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Starts what feeds the loop, which may start later.
fn spawn_sources(
    tasks: &mut JoinSet<Result<()>>,
    config: &Config,
    (ends, SourceEnds { relists, wants }): (&LoopEnds, SourceEnds),
    (unverified, serves): (bool, watch::Receiver<bool>),
    clock: SystemClock,
) {
    let (wakes, health) = (&ends.wakes, &ends.health);
    let feed = Feed::new(wakes.clone());
    tasks.spawn(ticks(wakes.clone()));
    let (known, mut addresses) = watch::channel(false);
    let facts = node_facts::run(feed.clone(), health.clone(), known);
    tasks.spawn(async { Ok(facts.await?) });
    if config.network_policy || config.packets {
        let devices = pod_devices::run(feed.clone(), health.clone());
        tasks.spawn(async { Ok(devices.await?) });
    }
    let binding = Binding { wakes: wakes.clone(), health: health.clone(), unverified, serves };
    let inputs = Inputs { feed, wants, relists, health: health.clone(), clock };
    let source = feed_from(config.clone(), inputs, binding);
    tasks.spawn(async move {
        // Fails only when the loop has ended, which the task that follows the addresses says.
        if addresses.wait_for(|known| *known).await.is_err() {
            std::future::pending::<()>().await;
        }
        source.await
    });
}

/// Serves the node, once the kernel is open, until a signal or a defect ends it.
async fn serve(
    config: &Config,
    opened: Option<Opened>,
    mut ends: LoopEnds,
    (tasks, serving): (&mut JoinSet<Result<()>>, watch::Sender<bool>),
    clock: SystemClock,
) -> Result<()> {
    let mut none = Threads::default();
    // One for the whole time: a signal while the loop starts must not be lost.
    let stops = stop_signal();
    tokio::pin!(stops);
    let (opened, known) = match opened {
        Some(opened) => {
            (opened, Known { store: Store::new(&config.node_name), relists: BTreeSet::new() })
        }
        None => tokio::select! {
            signal = &mut stops => {
                tracing::info!(signal = signal?, "stopping, without having served");
                return Ok(());
            }
            ended = first_end(tasks, &mut none) => return Err(ended),
            stood = standby::wait(config, clock, &mut ends) => stood?,
        },
    };
    serving.send_replace(true);
    let wakes = ends.wakes.clone();
    let Running { drain, mut threads, dns, ingress, report } =
        start(config, opened, clock, ends, known)?;
    let (closing, closed) = oneshot::channel();
    match dns {
        Some(dns) => {
            let serving = dns.serve(wakes.clone(), drain.subscribe(), closing);
            tasks.spawn(async { Ok(serving.await?) });
        }
        None => drop(closing),
    }
    let (closing, drained) = oneshot::channel();
    match ingress {
        Some(ingress) => {
            let serving = ingress.serve(descriptors::limit(), drain.subscribe(), closing);
            tasks.spawn(async { Ok(serving.await?) });
        }
        None => drop(closing),
    }
    let released = spawn_report(tasks, report, &drain);
    let ended = tokio::select! {
        signal = &mut stops => signal.map(|name| tracing::info!(signal = name, "stopping")),
        ended = first_end(tasks, &mut threads) => Err(ended),
    };
    stop(&wakes, &drain, &mut threads).await;
    // Without DNS there is nothing to close, and the other end is gone.
    if tokio::time::timeout(STOP, closed).await.is_err() {
        tracing::warn!("DNS does not close: its address stays this node's");
    }
    if tokio::time::timeout(STOP, released).await.is_err() {
        tracing::warn!("the Lease is not released: the next leader waits for its end");
    }
    if tokio::time::timeout(ingress::DRAIN + STOP, drained).await.is_err() {
        tracing::warn!("Ingress does not drain: closing its connections");
    }
    ended
}

/// Starts what writes to the API, where anything does; answers what says that it let go.
fn spawn_report(
    tasks: &mut JoinSet<Result<()>>,
    report: Option<Reporter>,
    drain: &watch::Sender<bool>,
) -> oneshot::Receiver<()> {
    let (closing, released) = oneshot::channel();
    if let Some(report) = report {
        let reporting = report.run(drain.subscribe(), closing);
        tasks.spawn(async {
            reporting.await;
            Ok(())
        });
    }
    released
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

/// The loop writes what was received before; then the maps stay as they are, in force, and the lock
/// is let go: a daemon that waits for it takes over. Then listeners close, and what is being answered
/// is answered.
async fn stop(
    wakes: &mpsc::Sender<Wake<Daemon>>,
    drain: &watch::Sender<bool>,
    threads: &mut Threads,
) {
    let told = tokio::time::timeout(STOP, async {
        // DNS is not answered here any more: its address leads to the Service's endpoints.
        let fact = Event::Local(NodeFact::AnswersDns(None));
        wakes.send(Wake::Events(vec![fact])).await?;
        wakes.send(Wake::Stop).await
    });
    let told = told.await;
    if told.is_err() || !threads.join(LOOP, STOP).await {
        tracing::warn!("the control loop does not stop: leaving without its last write");
    }
    drain.send_replace(true);
    if !threads.join(ADMIN, admin::DRAIN * 2).await {
        tracing::warn!("the admin servers do not drain: closing their connections");
    }
}

/// What a source is given.
struct Inputs {
    feed: Feed,
    wants: Wants,
    relists: mpsc::Receiver<Relist>,
    health: Health,
    clock: SystemClock,
}

/// The one source of cluster state; it only ends with the loop, or when it cannot even begin.
async fn feed_from(config: Config, inputs: Inputs, binding: Binding) -> Result<()> {
    let Inputs { feed, wants, relists, health, clock } = inputs;
    match &config.source {
        SourceConfig::Kube { access, api_servers } => {
            let settings = kube_settings(&config, (access, api_servers), clock);
            if binding.at_start(&settings).await? {
                return Ok(kube::run(settings, feed, wants, relists, health).await?);
            }
            let asking = binding.keep_asking(settings.clone());
            tokio::select! {
                ended = kube::run(settings, feed, wants, relists, health) => Ok(ended?),
                refused = asking => refused,
            }
        }
        SourceConfig::Manifests { directory, cluster_ip_ranges } => {
            let settings = manifests::ManifestSettings {
                dir: directory.clone(),
                cluster_ip_ranges: cluster_ip_ranges.clone(),
                run_dir: config.run_dir,
                node_name: config.node_name,
                clock,
                second_look: manifests::SECOND_LOOK,
            };
            Ok(manifests::run(settings, feed, wants, relists, health).await?)
        }
    }
}

async fn ticks(wakes: mpsc::Sender<Wake<Daemon>>) -> Result<()> {
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
    use crate::{
        reconcile,
        services::fixture::{Fixture, lists},
    };

    #[tokio::test]
    async fn a_loop_that_panics_ends_the_daemon_with_its_name_and_reason() {
        let Fixture { state, wakes, inbox, .. } = Fixture::new();
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
        stop(&wakes, &watch::channel(false).0, &mut threads).await;
    }

    #[tokio::test]
    async fn a_task_that_ends_ends_the_daemon() {
        let Fixture { state, wakes, inbox, .. } = Fixture::new();
        let mut threads = Threads::default();
        threads.add(LOOP, reconcile::start(state, inbox).unwrap());
        let mut tasks: JoinSet<Result<()>> = JoinSet::new();
        tasks.spawn(async { panic!("netlink") });
        let ended = first_end(&mut tasks, &mut threads).await.to_string();
        assert!(ended.contains("netlink"), "{ended}");
        stop(&wakes, &watch::channel(false).0, &mut threads).await;
        assert!(threads.ended().is_none(), "the loop was stopped in order");
    }
}
