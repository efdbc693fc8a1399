//! Lay out and write: the steps of a turn that touch the kernel.

use towpath_image::{Batch, ServiceOp};
use towpath_model::Synced;

use super::area::{Services, WriteFailure};
use crate::{
    clock::Clock,
    reconcile::{Failure, Published},
};

/// A batch from this size on is worth a line in the log.
const LARGE: usize = 1_000;

impl Services {
    /// Writes what changed, and what could not be written before.
    pub(super) fn write(&mut self, synced: &Synced, clock: &dyn Clock) -> Published {
        self.failure = self.write_batch(synced, clock);
        let refused = self.layout.refused().map(|one| (one.service.clone(), one.why.clone()));
        let kept = self.layout.kept().map(|(service, why)| (service.clone(), why.to_owned()));
        self.unplaced = kept.chain(refused).collect();
        self.notify();
        Published {
            failure: self.failure.as_ref().map(|failure| Failure(failure.why.clone())),
            pending: self.layout.pending(),
        }
    }

    fn write_batch(&mut self, synced: &Synced, clock: &dyn Clock) -> Option<WriteFailure> {
        let began = clock.now();
        let delta = std::mem::take(&mut self.delta);
        let batch: Batch<ServiceOp> = self.layout.lay_out(&delta, Some(synced), began.ms());
        if batch.is_empty() {
            self.outputs.vitals.settled(clock.now_ms(), false);
            return None;
        }
        let laid_out = clock.now();
        let applied = self.kernel.apply(&batch);
        // What leaves is stamped after the write: a grace period that began before it proves nothing.
        let written = clock.now();
        let took = written.since(&laid_out);
        self.longest_write = self.longest_write.max(took);
        self.layout.settle(&batch, &applied, written.ms());
        self.outputs.metrics.wrote(&batch, took, written.wall);
        let operations = batch.ops.len();
        if operations > LARGE {
            let (layout_ms, write_ms) = (laid_out.since(&began).as_millis(), took.as_millis());
            tracing::info!(operations, layout_ms, write_ms, "a large change is in force");
        }
        // A Service without room is that Service's problem, which no restart mends and for which no
        // load balancer need avoid the node; a kernel that refuses writes is the node's.
        self.outputs.vitals.settled(written.ms(), applied.failure.is_some());
        let failure = applied.failure.as_ref()?;
        let done = applied.done;
        tracing::error!(%failure, done, of = operations, "the kernel took only part of a change: trying again");
        self.outputs.metrics.write_failed();
        let left = batch.ops.get(done..).unwrap_or_default();
        let removals_left = left.iter().any(|op| matches!(op, ServiceOp::DeleteFrontend { .. }));
        Some(WriteFailure { why: failure.to_string(), removals_left })
    }
}
