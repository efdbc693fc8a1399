//! What goes wrong on request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::sync::watch;

/// Switches. All are off at first.
#[derive(Debug)]
pub struct Faults {
    /// No client is let in, and connections are cut: the server is gone.
    away: AtomicBool,
    /// Streaming lists are refused, as older servers do.
    no_streaming: AtomicBool,
    /// Requests get no answer.
    mute: AtomicBool,
    /// Requests answered with 429 before things work again.
    too_many: AtomicU64,
    /// Writes answered with 409 before things work again.
    conflicts: AtomicU64,
    /// Bytes that belong to nothing are sent into the next watches.
    garbage: AtomicBool,
    /// Milliseconds between bookmarks of a quiet stream.
    bookmarks_ms: AtomicU64,
    /// Resources that are refused, and with which code.
    refused: Mutex<BTreeMap<String, StatusCode>>,
    /// Objects (`namespace/name`) that are sent damaged.
    corrupt: Mutex<BTreeSet<String>>,
    /// Changes whenever all streams are to be cut.
    generation: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            away: AtomicBool::default(),
            no_streaming: AtomicBool::default(),
            mute: AtomicBool::default(),
            too_many: AtomicU64::default(),
            conflicts: AtomicU64::default(),
            garbage: AtomicBool::default(),
            bookmarks_ms: AtomicU64::new(5_000),
            refused: Mutex::default(),
            corrupt: Mutex::default(),
            generation: watch::Sender::new(0),
        }
    }
}

impl Faults {
    /// Cuts every stream.
    pub fn drop_streams(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
    /// Goes away, or comes back.
    pub fn away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
        self.drop_streams();
    }
    /// Refuses streaming lists.
    pub fn no_streaming(&self, on: bool) {
        self.no_streaming.store(on, Ordering::Relaxed);
    }
    /// Never answers.
    pub fn mute(&self, on: bool) {
        self.mute.store(on, Ordering::Relaxed);
    }
    /// Answers so many requests with 429.
    pub fn too_many(&self, requests: u64) {
        self.too_many.store(requests, Ordering::Relaxed);
    }
    /// Answers so many writes of statuses with 409.
    pub fn conflicts(&self, writes: u64) {
        self.conflicts.store(writes, Ordering::Relaxed);
    }
    /// Sends garbage into watches.
    pub fn garbage(&self, on: bool) {
        self.garbage.store(on, Ordering::Relaxed);
    }
    /// Time between bookmarks of a quiet stream.
    pub fn bookmarks(&self, every: Duration) {
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self.bookmarks_ms.store(every_ms.max(1), Ordering::Relaxed);
    }
    /// Refuses a resource, such as `pods` or `ingresses/status`: with 403 no user may use it, with 404 there
    /// is no such one.
    pub fn refuse(&self, resource: &str, code: Option<StatusCode>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match code {
            Some(code) => drop(refused.insert(resource.to_owned(), code)),
            None => drop(refused.remove(resource)),
        }
        self.drop_streams();
    }
    /// Sends this object damaged (its spec is a number), or as it is again.
    pub fn corrupt(&self, name: &str, on: bool) {
        let mut corrupt = self.corrupt.lock().unwrap_or_else(PoisonError::into_inner);
        if on {
            corrupt.insert(name.to_owned());
        } else {
            corrupt.remove(name);
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }
    pub(super) fn refuses_streaming(&self) -> bool {
        self.no_streaming.load(Ordering::Relaxed)
    }
    pub(super) fn is_mute(&self) -> bool {
        self.mute.load(Ordering::Relaxed)
    }
    pub(super) fn sends_garbage(&self) -> bool {
        self.garbage.load(Ordering::Relaxed)
    }
    pub(super) fn has_too_many(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.too_many.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
    pub(super) fn has_conflict(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.conflicts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
    pub(super) fn bookmarks_every(&self) -> Duration {
        Duration::from_millis(self.bookmarks_ms.load(Ordering::Relaxed))
    }
    pub(super) fn refuses(&self, resource: &str) -> Option<StatusCode> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get(resource).copied()
    }
    pub(super) fn is_corrupt(&self, name: &str) -> bool {
        self.corrupt.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
    pub(super) fn cut(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}
