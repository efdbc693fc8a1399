//! The only door for cluster state: everything that makes an [`Event`].
//!
//! Two sources, one shape: a task that sends the events of the streams that are wanted ([`Wants`])
//! through a [`Feed`], answers [`Relist`]s, and keeps its [`Health`] current. They know nothing of what is done with the events.

pub mod kube;
pub mod manifests;
mod metrics;
mod node_devices;
pub mod node_facts;
pub mod pod_devices;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, watch};
use towpath_model::{Event, Problem, Relist, Stream};

pub use metrics::SourceMetrics;

type Delivery = Pin<Box<dyn Future<Output = Result<(), LoopEnded>> + Send>>;

/// Where a source sends its events. Bounded: a slow loop slows the sources, nothing is dropped.
#[derive(Clone)]
pub struct Feed {
    deliver: Arc<dyn Fn(Vec<Event>) -> Delivery + Send + Sync>,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

/// The loop is gone; the source ends.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the control loop has ended")]
pub struct LoopEnded;

impl Feed {
    /// Into a queue of anything that events can be made into: a source does not know the loop's.
    #[must_use]
    pub fn new<T: From<Vec<Event>> + Send + 'static>(queue: mpsc::Sender<T>) -> Self {
        let deliver = move |events: Vec<Event>| -> Delivery {
            let queue = queue.clone();
            Box::pin(async move { queue.send(events.into()).await.map_err(|_ended| LoopEnded) })
        };
        Self { deliver: Arc::new(deliver) }
    }

    /// Hands over events; waits while the queue is full.
    ///
    /// # Errors
    /// When the loop has ended.
    pub async fn send(&self, events: Vec<Event>) -> Result<(), LoopEnded> {
        (self.deliver)(events).await
    }
}

/// Requests to list a stream again, for the source that feeds it.
pub type Relists = mpsc::Receiver<Relist>;

/// Which streams are wanted now; a source begins and ends them as this changes.
pub type Wants = watch::Receiver<BTreeSet<Stream>>;

/// How well a source hears, by stream; shared with metrics and `status`.
#[derive(Clone, Debug, Default)]
pub struct Health {
    streams: Arc<Mutex<BTreeMap<Stream, Arc<StreamHealth>>>>,
    notes: Arc<Mutex<BTreeMap<Cow<'static, str>, Vec<Problem>>>>,
}

/// One stream. Times are milliseconds of the daemon's monotonic clock.
#[derive(Debug, Default)]
pub struct StreamHealth {
    /// When the last event or bookmark came; 0: never.
    pub last_event_ms: AtomicU64,
    /// The stream is open.
    pub connected: AtomicBool,
    /// Lists begun.
    pub lists: AtomicU64,
    /// Streams that broke.
    pub errors: AtomicU64,
    /// Objects that could not be decoded.
    pub bad_objects: AtomicU64,
    /// Times that the loop broke down and was started again.
    pub restarts: AtomicU64,
}

impl Health {
    /// The entry of a stream, made at first use.
    #[must_use]
    pub fn of(&self, stream: impl Into<Stream>) -> Arc<StreamHealth> {
        let mut streams = self.streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(streams.entry(stream.into()).or_default())
    }

    /// The stream has ended.
    pub fn forget(&self, stream: &Stream) {
        self.streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(stream);
    }

    /// Problems of a source that belong to no object (a file, a stream); replaces what it said
    /// before.
    pub fn note(&self, origin: impl Into<Cow<'static, str>>, problems: Vec<Problem>) {
        let origin = origin.into();
        let mut notes = self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = notes.get(&origin).map(Vec::as_slice).unwrap_or_default();
        for fresh in problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::warn!(problem = %fresh, %origin, "problem");
        }
        if problems.is_empty() {
            notes.remove(&origin);
        } else {
            notes.insert(origin, problems);
        }
    }

    /// What sources noted.
    #[must_use]
    pub fn notes(&self) -> Vec<Problem> {
        let notes = self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        notes.values().flatten().cloned().collect()
    }

    /// Every stream that was asked for and did not end.
    #[must_use]
    pub fn all(&self) -> Vec<(Stream, Arc<StreamHealth>)> {
        let streams = self.streams.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        streams.iter().map(|(stream, health)| (stream.clone(), Arc::clone(health))).collect()
    }
}

impl StreamHealth {
    /// Something was heard just now.
    pub fn heard(&self, now_ms: u64) {
        self.last_event_ms.store(now_ms, Ordering::Relaxed);
        self.connected.store(true, Ordering::Relaxed);
    }
}
