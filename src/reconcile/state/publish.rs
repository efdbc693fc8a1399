//! Lay out, write, record: the steps of a turn that touch the kernel.

use std::time::{Instant, SystemTime};

use towpath_image::ServiceOp;
use towpath_model::{Changes, Synced};
use towpath_proxy::{PlanDelta, ServicePlan, plan};

use super::State;
use crate::reconcile::{Outcome, in_force};

/// A batch from this size on is worth a line in the log.
const LARGE: usize = 1_000;

/// Why a batch stopped early.
struct Failure {
    why: String,
    /// Frontends that should be gone are still there.
    removals_left: bool,
}

impl State {
    /// Writes what changed, and what could not be written before.
    pub(super) fn write(&mut self, delta: &PlanDelta, synced: &Synced) {
        let failure = self.publish(delta, synced);
        self.record(failure.as_ref());
    }

    /// Everything anew: the plan from scratch, the layout from what the kernel really holds. Takes
    /// as long as a start; an audit that finds something is the only reason.
    pub(super) fn write_anew(&mut self, synced: &Synced) {
        let image = match self.kernel.read() {
            Ok(image) => image,
            Err(error) => {
                tracing::error!(%error, "the kernel could not be read for repair");
                self.repair = true;
                let now = self.clock.now_ms();
                self.retry.failed(now);
                self.effects.vitals.settled(now, true);
                self.effects.metrics.write_failed();
                self.record(Some(&Failure { why: error.to_string(), removals_left: true }));
                return;
            }
        };
        let mut fresh = ServicePlan::new(self.plan.config().clone());
        // The first plan compiles everything, whatever the changes say.
        plan(&self.store.view(), &Changes::default(), &mut fresh);
        self.plan = fresh;
        self.checks_changed = true;
        self.layout.readopt(image, self.clock.now_ms());
        let everything = self.plan.everything();
        self.write(&everything, synced);
    }

    fn publish(&mut self, delta: &PlanDelta, synced: &Synced) -> Option<Failure> {
        let laying_out = Instant::now();
        let batch = self.layout.lay_out(delta, Some(synced), self.clock.now_ms());
        let laid_out = laying_out.elapsed();
        if batch.is_empty() {
            let now = self.clock.now_ms();
            self.retry.wrote(now, self.layout.pending());
            self.effects.vitals.settled(now, false);
            return None;
        }
        let began = Instant::now();
        let applied = self.kernel.apply(&batch);
        let took = began.elapsed();
        self.longest_write = self.longest_write.max(took);
        let now = self.clock.now_ms();
        self.layout.settle(&batch, &applied, now);
        self.effects.metrics.wrote(&batch, took);
        if batch.ops.len() > LARGE {
            let (layout_ms, write_ms) = (laid_out.as_millis(), took.as_millis());
            let operations = batch.ops.len();
            tracing::info!(operations, layout_ms, write_ms, "a large change is in force");
        }
        // What has no room is a problem of its Service, which no restart mends and no load balancer need
        // avoid the node for; a kernel that refuses writes is the node's.
        self.effects.vitals.settled(now, applied.failure.is_some());
        if self.layout.wants_grace() {
            self.effects.graces.request();
        }
        let Some(failure) = &applied.failure else {
            self.retry.wrote(now, self.layout.pending());
            return None;
        };
        let (done, of) = (applied.done, batch.ops.len());
        tracing::error!(%failure, done, of, "the kernel took only part of a change: trying again");
        self.effects.metrics.write_failed();
        self.retry.failed(now);
        let left = batch.ops.get(applied.done..).unwrap_or_default();
        let removals_left = left.iter().any(|op| matches!(op, ServiceOp::DeleteFrontend { .. }));
        Some(Failure { why: failure.to_string(), removals_left })
    }

    /// What became of each Service that waits.
    fn record(&mut self, failure: Option<&Failure>) {
        let refused: std::collections::BTreeMap<_, _> =
            self.layout.refused().map(|refused| (&refused.service, refused.why.as_str())).collect();
        let kept: std::collections::BTreeMap<_, _> = self.layout.kept().collect();
        let (layout, plan) = (&self.layout, &self.plan);
        let longest = self.ledger.settle(Instant::now(), |name| {
            if let Some(why) = refused.get(name).or_else(|| kept.get(name)) {
                return Outcome::Failed((*why).to_owned());
            }
            match failure {
                Some(failure)
                    if failure.removals_left || !in_force::service(layout, plan, name) =>
                {
                    Outcome::Failed(failure.why.clone())
                }
                _ => Outcome::Done,
            }
        });
        let metrics = &self.effects.metrics;
        if let Some(took) = longest {
            metrics.in_force(took);
        }
        if failure.is_none() {
            metrics.nothing_waits();
            self.triggers.done(SystemTime::now()).for_each(|took| metrics.programmed(took));
        }
    }
}
