//! The only door for cluster state: everything that makes an [`Event`].
//!
//! Two sources, one shape: a task that sends events through a [`Feed`], answers [`Relist`]s, and
//! keeps its [`Health`] current. They know nothing of what is done with the events.

pub mod kube;
pub mod manifests;
mod metrics;
pub mod node_facts;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

pub use metrics::SourceMetrics;
use tokio::sync::mpsc;
use towpath_model::{Event, Kind, Problem, Relist};

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

/// Requests to list a kind again, for the source that feeds it.
pub type Relists = mpsc::Receiver<Relist>;

/// How well a source hears, per kind; shared with metrics and `status`.
#[derive(Clone, Debug, Default)]
pub struct Health {
    kinds: Arc<Mutex<BTreeMap<Kind, Arc<KindHealth>>>>,
    notes: Arc<Mutex<BTreeMap<&'static str, Vec<Problem>>>>,
}

/// One kind's stream. Times are milliseconds of the daemon's monotonic clock.
#[derive(Debug, Default)]
pub struct KindHealth {
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
    /// The entry of a kind, made at first use.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Arc<KindHealth> {
        let mut kinds = self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(kinds.entry(kind).or_default())
    }

    /// Problems of a source that belong to no object (a file, a stream); replaces what it said
    /// before.
    pub fn note(&self, origin: &'static str, problems: Vec<Problem>) {
        let mut notes = self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = notes.entry(origin).or_default();
        for fresh in problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::warn!(problem = %fresh, origin, "problem");
        }
        *known = problems;
    }

    /// What sources noted.
    #[must_use]
    pub fn notes(&self) -> Vec<Problem> {
        let notes = self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        notes.values().flatten().cloned().collect()
    }

    /// Every kind that was ever asked for.
    #[must_use]
    pub fn all(&self) -> Vec<(Kind, Arc<KindHealth>)> {
        let kinds = self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kinds.iter().map(|(kind, health)| (*kind, Arc::clone(health))).collect()
    }
}

impl KindHealth {
    /// Something was heard just now.
    pub fn heard(&self, now_ms: u64) {
        self.last_event_ms.store(now_ms, Ordering::Relaxed);
        self.connected.store(true, Ordering::Relaxed);
    }
}
