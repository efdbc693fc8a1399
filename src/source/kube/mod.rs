//! The API server as a source: one list-and-watch loop per stream.
//!
//! `kube` gives configuration, authentication and TLS; the loop is ours, because `kube`'s own repeats
//! a refused streaming list for ever and loses a whole list to one bad object (operations.md 1.1).

mod address;
mod calls;
mod cluster;
mod configuration;
mod connect;
mod decoder;
mod endpoints;
mod error;
mod failover;
mod pages;
mod refetch;
mod relist;
mod request;
mod stream;
mod supervise;
mod versions;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::Uri;
use tokio::task::{AbortHandle, JoinSet};
use towpath_model::{Code, Event, Problem, Relist, Stream};

pub use calls::{CallError, Calls, escaped, object_path};
pub use cluster::{Cluster, cluster};
pub use configuration::ConnectError;
use watch::Shared;

use super::{Feed, Health, LoopEnded, Relists, Wants};
use crate::{backoff::Backoff, clock::SystemClock, config::Access};

/// How the API server is reached and how patient the loops are.
#[derive(Clone, Debug)]
pub struct KubeSettings {
    /// How to authenticate.
    pub access: Access,
    /// Addresses that do not depend on what this daemon serves; empty: as `access` says.
    pub api_servers: Vec<Uri>,
    /// Where the real endpoints of `default/kubernetes` are remembered.
    pub run_dir: PathBuf,
    /// This node's name.
    pub node_name: String,
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
    /// A kind that the server does not know is asked for again after this long, and up to half as long
    /// again.
    pub absent: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(90),
            wait_min: Duration::from_millis(800),
            wait_max: Duration::from_secs(30),
            watch: Duration::from_secs(300),
            look_again: Duration::from_secs(10),
            absent: Duration::from_secs(60),
        }
    }
}

/// Feeds the loop until it ends, with the streams that are wanted.
///
/// # Errors
/// When the configuration for reaching the API server cannot be read at all.
pub async fn run(
    settings: KubeSettings,
    feed: Feed,
    mut wants: Wants,
    mut relists: Relists,
    health: Health,
) -> Result<(), ConnectError> {
    let api = Arc::new(address::Api::new(&settings, health.clone()).await?);
    let shared = Shared { api, feed, health, settings, versions: Arc::default() };
    let mut streams = Streams { shared, begun: BTreeMap::new(), loops: JoinSet::new() };
    let mut wanted = Some(wants.borrow_and_update().clone());
    loop {
        if let Some(wanted) = wanted.take()
            && let Err(LoopEnded) = streams.follow(wanted).await
        {
            return Ok(());
        }
        tokio::select! {
            // Without a sender nothing else will be wanted.
            Ok(()) = wants.changed() => wanted = Some(wants.borrow_and_update().clone()),
            relist = relists.recv() => match relist {
                Some(Relist(stream)) => {
                    if let Some(begun) = streams.begun.get(&stream) {
                        begun.relist.request();
                    }
                }
                None => return Ok(()),
            },
            // The loops end with the control loop only.
            Some(_ended) = streams.loops.join_next() => return Ok(()),
        }
    }
}

/// The streams that are heard.
struct Streams {
    shared: Shared,
    begun: BTreeMap<Stream, Begun>,
    loops: JoinSet<LoopEnded>,
}

struct Begun {
    relist: Arc<relist::RelistRequest>,
    task: AbortHandle,
}

impl Streams {
    /// Ends what is not wanted any more, and begins what is.
    async fn follow(&mut self, wanted: BTreeSet<Stream>) -> Result<(), LoopEnded> {
        let unwanted: Vec<Stream> =
            self.begun.keys().filter(|stream| !wanted.contains(stream)).cloned().collect();
        for stream in unwanted {
            self.end(stream).await?;
        }
        for stream in wanted {
            if !self.begun.contains_key(&stream) {
                let relist = Arc::new(relist::RelistRequest::default());
                let watch = supervised(stream.clone(), Arc::clone(&relist), self.shared.clone());
                let task = self.loops.spawn(watch);
                self.begun.insert(stream, Begun { relist, task });
            }
        }
        Ok(())
    }

    async fn end(&mut self, stream: Stream) -> Result<(), LoopEnded> {
        let Some(Begun { task, .. }) = self.begun.remove(&stream) else { return Ok(()) };
        task.abort();
        // Nothing of it may come after its end.
        match self.loops.join_next_with_id().await {
            Some(Err(error)) if error.id() == task.id() => {}
            _ => return Err(LoopEnded),
        }
        let Shared { feed, health, versions, .. } = &self.shared;
        versions.forget(&stream);
        health.forget(&stream);
        health.note(stream.to_string(), Vec::new());
        health.note(broken_down(&stream), Vec::new());
        feed.send(vec![Event::End(stream)]).await
    }
}

/// The loop of a stream, started again when it breaks down. It lists everything then, which the store
/// takes as a difference: nothing is lost.
async fn supervised(
    stream: Stream,
    relist: Arc<relist::RelistRequest>,
    shared: Shared,
) -> LoopEnded {
    let patience = shared.settings.patience;
    let backoff = Backoff::new(patience.wait_min, patience.wait_max);
    let start = || watch::Watch::new(stream.clone(), Arc::clone(&relist), shared.clone()).run();
    let report = |times: u64, why: &str| {
        relist.distrust();
        let health = shared.health.of(&stream);
        health.restarts.store(times, Ordering::Relaxed);
        health.connected.store(false, Ordering::Relaxed);
        let what = format!("watch of {}", error::resource(&stream));
        let why = format!("broke down and was started again, {times} times so far: {why}");
        let action = "this is a defect of Towpath: please report it with the log";
        tracing::error!(%stream, times, reason = why, "the watch broke down");
        shared.health.note(
            broken_down(&stream),
            vec![Problem::new(Code::StreamBroke, None, &what, &why, action)],
        );
    };
    supervise::supervise(backoff, start, report).await
}

/// Origin of the notes of break-downs: they stay until the stream ends.
fn broken_down(stream: &Stream) -> String {
    format!("broken down: {stream}")
}
