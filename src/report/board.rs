//! What the area notes and the writer reads.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use towpath_model::{Changes, ObjectName, View};

use super::seen::Seen;

/// The Ingresses that are served and the nodes, as last seen. Every daemon keeps one, so that each can
/// lead at once.
#[derive(Debug, Default)]
pub struct Board {
    seen: Mutex<Seen>,
    changed: Notify,
}

impl Board {
    /// Notes what changed; `None`: everything is new. `served`: Ingresses that were read anew and are
    /// served; `gone`: those that are served no longer.
    pub fn note<'a>(
        &self,
        view: &View<'_>,
        changes: Option<&Changes>,
        served: impl IntoIterator<Item = &'a ObjectName>,
        gone: impl IntoIterator<Item = &'a ObjectName>,
    ) {
        let mut seen = self.lock();
        seen.nodes(view, changes);
        seen.ingresses(view, served, gone);
        drop(seen);
        self.changed.notify_one();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something was noted since this was last waited for.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
