//! The API server as a source: one list-and-watch loop per kind.
//!
//! `kube` gives configuration, authentication and TLS; the loop is ours, because `kube`'s own repeats
//! a refused streaming list for ever and loses a whole list to one bad object (operations.md 1.1).

mod address;
mod again;
mod backoff;
mod cluster;
mod configuration;
mod connect;
mod doubt;
mod ended;
mod endpoints;
mod lines;
mod pages;
mod request;
mod stream;
mod supervise;
mod turns;
mod watch;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::Uri;
use tokio::task::JoinSet;
use towpath_model::{Kind, Problem, ROWS};

pub use cluster::{Cluster, cluster};
pub use configuration::ConnectError;

use super::{Feed, Health, LoopEnded, Relists};
use crate::{clock::SystemClock, config::Access};

/// How the API server is reached and how patient the loops are.
#[derive(Clone, Debug)]
pub struct KubeSettings {
    /// How to authenticate.
    pub access: Access,
    /// Addresses that do not depend on what this daemon serves; empty: as `access` says.
    pub api_servers: Vec<Uri>,
    /// Where the real endpoints of `default/kubernetes` are remembered.
    pub run_dir: PathBuf,
    /// The daemon's clock.
    pub clock: SystemClock,
    /// Waiting times.
    pub patience: Patience,
}

/// Waiting times; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without an event or a bookmark for so long, the stream counts as dead.
    pub silence: Duration,
    /// First wait after a failure; it doubles, with jitter, up to `wait_max`.
    pub wait_min: Duration,
    /// Longest wait after a failure.
    pub wait_max: Duration,
    /// A watch is asked to end after this long, and up to twice as long (jitter: nodes that were
    /// started together must not reconnect together).
    pub watch: Duration,
    /// An object that could not be understood is looked at again after this long; the wait doubles
    /// up to 32 times as long.
    pub look_again: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(90),
            wait_min: Duration::from_millis(800),
            wait_max: Duration::from_secs(30),
            watch: Duration::from_secs(300),
            look_again: Duration::from_secs(10),
        }
    }
}

/// Feeds the loop until it ends.
///
/// # Errors
/// When the configuration for reaching the API server cannot be read at all.
pub async fn run(
    settings: KubeSettings,
    feed: Feed,
    mut relists: Relists,
    health: Health,
) -> Result<(), ConnectError> {
    let api = Arc::new(address::Api::new(&settings, health.clone()).await?);
    let mut doubts = BTreeMap::new();
    let mut kinds = JoinSet::new();
    for kind in ROWS.iter().map(|row| row.kind) {
        let doubt = Arc::new(doubt::Doubt::default());
        doubts.insert(kind, Arc::clone(&doubt));
        let (api, feed, settings) = (Arc::clone(&api), feed.clone(), settings.clone());
        kinds.spawn(supervised(kind, api, feed, doubt, health.clone(), settings));
    }
    loop {
        tokio::select! {
            relist = relists.recv() => match relist {
                Some(relist) => {
                    if let Some(doubt) = doubts.get(&relist.0.kind) {
                        doubt.raise();
                    }
                }
                None => return Ok(()),
            },
            // The loops end with the control loop only.
            _ended = kinds.join_next() => return Ok(()),
        }
    }
}

/// The loop of a kind, started again when it breaks down. It lists everything then, which the store
/// takes as a difference: nothing is lost.
async fn supervised(
    kind: Kind,
    api: Arc<address::Api>,
    feed: Feed,
    doubt: Arc<doubt::Doubt>,
    health: Health,
    settings: KubeSettings,
) -> LoopEnded {
    let backoff = backoff::Backoff::new(settings.patience.wait_min, settings.patience.wait_max);
    let start = || {
        let (api, feed, doubt) = (Arc::clone(&api), feed.clone(), Arc::clone(&doubt));
        watch::Watch::new(kind, api, feed, doubt, health.clone(), settings.clone()).run()
    };
    let report = |times: u64, why: &str| {
        doubt.break_down();
        let of_kind = health.of(kind);
        of_kind.restarts.store(times, Ordering::Relaxed);
        of_kind.connected.store(false, Ordering::Relaxed);
        let what = format!("watch of {}", ended::resource(kind));
        let why = format!("broke down and was started again, {times} times so far: {why}");
        let action = "this is a defect of Towpath: please report it with the log";
        tracing::error!(%kind, times, reason = why, "the watch broke down");
        health.note(broken_down(kind), vec![Problem::new(None, &what, &why, action)]);
    };
    supervise::supervise(backoff, start, report).await
}

/// Origin of the notes of break-downs: they stay until the daemon ends.
const fn broken_down(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => "broken down: Service",
        Kind::EndpointSlice => "broken down: EndpointSlice",
        Kind::Node => "broken down: Node",
    }
}
