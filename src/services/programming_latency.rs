//! When the changes that are on their way to the kernel were made: the annotation that the
//! EndpointSlice controller writes, for `kubeproxy_network_programming_duration_seconds`
//! (services.md 2.2), the field's service level indicator.
//!
//! As kube-proxy counts: only where the annotation itself is new, not on deletion (it is that of the
//! change before), and only for changes made while this daemon ran (a restart would count the age of
//! the whole cluster).

use std::time::SystemTime;

use towpath_model::{Changes, EndpointSlice};

use crate::timestamp;

/// Changes that wait at most: a kernel that takes nothing must not cost memory.
const WAITING_MAX: usize = 10_000;

/// Changes that are not in the kernel yet.
#[derive(Debug)]
pub(super) struct ProgrammingLatency {
    started: SystemTime,
    waiting: Vec<SystemTime>,
}

impl ProgrammingLatency {
    pub(super) const fn since(started: SystemTime) -> Self {
        Self { started, waiting: Vec::new() }
    }

    /// A slice that was not known before.
    pub(super) fn appeared(&mut self, slice: &EndpointSlice) {
        let at = slice.triggered.as_deref().and_then(timestamp::read);
        let at = at.filter(|at| *at > self.started && self.waiting.len() < WAITING_MAX);
        self.waiting.extend(at);
    }

    /// What changed.
    pub(super) fn changed(&mut self, changes: &Changes) {
        for change in &changes.slices {
            let triggered = |slice: &Option<std::sync::Arc<EndpointSlice>>| {
                slice.as_ref().and_then(|slice| slice.triggered.clone())
            };
            if let Some(new) = &change.new
                && triggered(&change.old) != new.triggered
            {
                self.appeared(new);
            }
        }
    }

    /// Everything received is in the kernel: how long each change took, in seconds.
    pub(super) fn done(&mut self, now: SystemTime) -> impl Iterator<Item = f64> {
        // A clock that differs from the controller's shows as zero, not as an error.
        let age = move |at| now.duration_since(at).unwrap_or_default().as_secs_f64();
        std::mem::take(&mut self.waiting).into_iter().map(age)
    }
}
