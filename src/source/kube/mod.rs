//! The API server as a source: one list-and-watch loop per kind.
//!
//! `kube` gives configuration, authentication and TLS; the loop is ours, because `kube`'s own repeats
//! a refused streaming list for ever and loses a whole list to one bad object (operations.md 1.1).

mod address;
mod backoff;
mod cluster;
mod connect;
mod lines;
mod watch;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use http::Uri;
use tokio::{sync::Notify, task::JoinSet};
use towpath_model::Kind;

pub use address::ConnectError;
pub use cluster::{Cluster, cluster};

use super::{Feed, Health, LoopEnded, Relists};
use crate::{config::Access, reconcile::Clock};

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
    pub clock: Clock,
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
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(90),
            wait_min: Duration::from_millis(800),
            wait_max: Duration::from_secs(30),
            watch: Duration::from_secs(300),
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
    let api = Arc::new(address::Api::new(&settings).await?);
    let mut asked = BTreeMap::new();
    let mut kinds = JoinSet::new();
    for kind in Kind::ALL {
        let notify = Arc::new(Notify::new());
        asked.insert(kind, Arc::clone(&notify));
        let watch = watch::Watch::new(
            kind,
            Arc::clone(&api),
            feed.clone(),
            notify,
            health.of(kind),
            settings.clone(),
        );
        kinds.spawn(watch.run());
    }
    loop {
        tokio::select! {
            relist = relists.recv() => match relist {
                Some(relist) => {
                    if let Some(notify) = asked.get(&relist.0) {
                        notify.notify_one();
                    }
                }
                None => return Ok(()),
            },
            ended = kinds.join_next() => match ended {
                Some(Ok(LoopEnded)) | None => return Ok(()),
                Some(Err(error)) => tracing::error!(%error, "a watch ended unexpectedly"),
            },
        }
    }
}
