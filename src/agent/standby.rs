//! Standing by: a daemon that is started while another one serves the node (an upgrade by surge).
//!
//! It does all that needs no lock: the programs are loaded for a trial, everything is listed and
//! kept up to date. Then it is ready, by which a rollout goes on and ends the other daemon; a version
//! that cannot load, list or read its configuration never gets there, and the node loses nothing.
//! The other one lets go of its lock when it is told to stop, or however it ends: then this one opens
//! the kernel and plans from what it knows.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use towpath_ebpf::{Error, Opened};
use towpath_model::{Relist, Store, Stream};

use super::{
    Daemon, areas,
    build::{Known, LoopEnds},
    descriptors,
    kernel::{kernel_settings, open},
    metrics::Metrics,
    preflight, probes,
};
use crate::{
    admin::{self, Admin, Ports, Route, Servers},
    clock::SystemClock,
    config::{AdminConfig, Config},
    reconcile::Wake,
    vitals::Vitals,
};

/// Time between two looks whether the lock was let go: what is late by a change that came meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// A rollout ends the other daemon in less; after this time the log says that something is odd.
const LONG: Duration = Duration::from_secs(600);

/// What is known while the other daemon serves.
struct Standby {
    store: Store,
    relists: BTreeSet<Stream>,
    /// What the areas need before they plan.
    needs: BTreeSet<Stream>,
    /// Of the API server, once it said so.
    cluster: Option<u64>,
}

/// Waits until the other daemon is gone, and this one is ready; answers with the kernel, open and the
/// programs in force, and what was heard until then.
///
/// # Errors
/// When this daemon cannot take over.
pub(super) async fn wait(
    config: &Config,
    clock: SystemClock,
    ends: &mut LoopEnds,
) -> Result<(Opened, Known)> {
    tracing::info!("another daemon serves this node: standing by until it ends");
    ends.streams.send_replace(areas::needs(config));
    let ready = Arc::new(AtomicBool::new(false));
    let vitals = Arc::new(Vitals::default());
    let probes = Probes::start(config, clock, Arc::clone(&ready), Arc::clone(&vitals))?;
    rehearse(config).await?;
    let mut standby = Standby::new(&config.node_name, areas::needs(config));
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut patience = Some(Instant::now() + LONG);
    let opened = loop {
        tokio::select! {
            wake = ends.inbox.recv() => {
                standby.take(wake.context("the sources have ended")?);
                standby.request(ends);
                continue;
            }
            _ = looks.tick() => {}
        }
        vitals.ticked(clock.now_ms());
        standby.request(ends);
        if !standby.is_ready() {
            continue;
        }
        if !ready.swap(true, Ordering::Relaxed) {
            tracing::info!("everything was listed, the programs load: ready to take over");
        }
        if let Some(opened) = standby.try_open(config)? {
            break opened;
        }
        if patience.is_some_and(|patience| patience < Instant::now()) {
            patience = None;
            tracing::warn!(
                "standing by for ten minutes: the other daemon serves this node, and nothing ends it; \
                 two releases on one node, or a rollout that is stuck"
            );
        }
    };
    tracing::info!("the other daemon has ended: taking over");
    probes.stop().await;
    Ok((opened, Known { store: standby.store, relists: standby.relists }))
}

/// Loads the programs with maps of no consequence.
async fn rehearse(config: &Config) -> Result<()> {
    let tried = tokio::task::spawn_blocking(towpath_ebpf::rehearse).await?;
    tried.map_err(|error| preflight::explained(error, &kernel_settings(config)))
}

impl Standby {
    fn new(node: &str, needs: BTreeSet<Stream>) -> Self {
        let (store, relists) = (Store::new(node), BTreeSet::new());
        Self { store, relists, needs, cluster: None }
    }

    /// What would wake the loop.
    fn take(&mut self, wake: Wake<Daemon>) {
        match wake {
            Wake::Events(events) => {
                let store = &mut self.store;
                let relists = events.into_iter().filter_map(|event| store.feed(event));
                self.relists.extend(relists.map(|Relist(stream)| stream));
            }
            Wake::Bind(cluster, answer) => {
                // Judged when the maps are opened. A task that has given up takes no answer.
                self.cluster = Some(cluster);
                let _given_up = answer.send(Ok(()));
            }
            // There is neither a loop nor anything of it that could ask or report.
            Wake::Ask(_) | Wake::Graced(_) | Wake::Audited(_) | Wake::Tick | Wake::Stop => {}
        }
    }

    /// Tells the source which lists are to be asked for again.
    fn request(&mut self, ends: &LoopEnds) {
        self.relists.retain(|stream| ends.relists.try_send(Relist(stream.clone())).is_err());
    }

    fn is_ready(&self) -> bool {
        let view = self.store.view();
        self.needs.iter().all(|stream| view.listed(stream))
    }

    /// `None`: the other daemon still has the lock.
    fn try_open(&self, config: &Config) -> Result<Option<Opened>> {
        let mut settings = kernel_settings(config);
        settings.cluster = self.cluster.or(settings.cluster);
        match open(&settings) {
            Ok(opened) => Ok(Some(opened)),
            Err(Error::Locked { .. }) => Ok(None),
            Err(error) => Err(preflight::explained(error, &settings)),
        }
    }
}

/// Answers the kubelet until there is a loop that does.
struct Probes {
    drain: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

impl Probes {
    fn start(
        config: &Config,
        clock: SystemClock,
        ready: Arc<AtomicBool>,
        vitals: Arc<Vitals>,
    ) -> Result<Self> {
        let metrics = Metrics::new().context("metrics")?;
        let (drain, draining) = watch::channel(false);
        let lives = Arc::clone(&vitals);
        let why = move || {
            let ready = ready.load(Ordering::Relaxed);
            let unready = "standing by, but not everything was listed yet";
            (if ready { "" } else { unready }).to_owned()
        };
        let admin = Admin {
            // Ports belong to the daemon that serves.
            config: AdminConfig { healthz: None, metrics: None, ..config.admin.clone() },
            registry: metrics.registry,
            clock,
            routes: vec![
                Route::json("/v1/ready", move |_| Some(probes::reply(why()))),
                Route::json("/v1/live", move |_| Some(probes::live(&lives, clock.now_ms()))),
            ],
            vitals,
            gather: Box::new(|| {}),
            servers: Arc::new(Servers {
                ports: Arc::new(Ports::default()),
                metrics: metrics.admin,
                descriptors: descriptors::limit(),
                draining,
            }),
        };
        let thread = admin::start(admin, Vec::new()).context("starting the control socket")?;
        Ok(Self { drain, thread })
    }

    /// Lets go of the socket.
    async fn stop(self) {
        self.drain.send_replace(true);
        // It ends in two seconds at most, and a panic of it is in the log.
        let _ended = tokio::task::spawn_blocking(|| self.thread.join()).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use towpath_model::Event;

    use super::*;
    use crate::services::{self, fixture::lists};

    fn standby() -> Standby {
        Standby::new("n0", services::NEEDS.into())
    }

    #[test]
    fn it_is_ready_when_everything_was_listed() {
        let mut standby = standby();
        assert!(!standby.is_ready());
        for need in services::NEEDS {
            assert!(!standby.is_ready());
            standby.take(Wake::Events(vec![Event::Init(need.clone()), Event::InitDone(need)]));
        }
        assert!(standby.is_ready());
    }

    #[test]
    fn what_was_heard_is_there_for_the_loop() {
        let mut standby = standby();
        standby.take(Wake::Events(lists(Vec::new())));
        standby.take(Wake::Tick);
        let (view, changes) = standby.store.commit();
        assert!(view.synced(&services::NEEDS).is_some());
        assert!(!changes.listed.is_empty(), "the first turn learns of it");
    }

    #[test]
    fn the_cluster_is_remembered_until_the_maps_are_open() {
        let mut standby = standby();
        let (reply, mut answer) = oneshot::channel();
        standby.take(Wake::Bind(7, reply));
        assert_eq!(standby.cluster, Some(7));
        assert_eq!(answer.try_recv().unwrap(), Ok(()));
    }
}
