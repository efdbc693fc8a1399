//! What the loop owns, and one turn of it.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Instant};

use tokio::sync::mpsc;
use towpath_image::{Batch, Kernel, Observed};
use towpath_model::{Changes, Event, Problem, Protocol, Relist, Store, Synced};
use towpath_proxy::{HealthCheck, Layout, PlanDelta, ServicePlan, plan};

use super::{Clock, Entry, Graces, Ledger, Outcome, audit, vitals::Vitals};
use crate::admin::Metrics;

/// The kernel, written and looked at.
pub trait Door: Kernel + Observed + Send {}
impl<T: Kernel + Observed + Send> Door for T {}

/// Where the loop's results go besides the kernel.
pub struct Effects {
    /// Requests for a second list.
    pub relists: mpsc::Sender<Relist>,
    /// Requests for grace periods.
    pub graces: Graces,
    /// healthCheckNodePorts to serve.
    pub health_checks: tokio::sync::watch::Sender<Vec<HealthCheck>>,
    /// UDP endpoints that are used no more; `None` when nobody wants to know.
    pub removed_udp: Option<mpsc::Sender<BTreeSet<SocketAddr>>>,
    /// Numbers for Prometheus.
    pub metrics: Arc<Metrics>,
    /// Signs of life for the health endpoints.
    pub vitals: Arc<Vitals>,
}

/// Store, plan, layout, ledger and the kernel door.
pub struct State {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) plan: ServicePlan,
    pub(crate) layout: Layout,
    pub(crate) kernel: Box<dyn Door>,
    pub(crate) ledger: Ledger,
    pub(crate) audited: Option<audit::Finding>,
    pub(crate) effects: Effects,
    /// When the oldest event that is not yet in the kernel was received.
    waiting_since: Option<Instant>,
    next_audit_ms: u64,
    /// Longest time spent on writing one batch.
    pub(crate) longest_write: std::time::Duration,
}

impl State {
    /// Over what the kernel holds now.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn new(
        clock: Clock,
        store: Store,
        plan: ServicePlan,
        mut kernel: Box<dyn Door>,
        effects: Effects,
    ) -> Result<Self, towpath_image::KernelError> {
        let image = kernel.read()?;
        effects.metrics.adopted(&image);
        Ok(Self {
            clock,
            store,
            plan,
            layout: Layout::adopt(image),
            kernel,
            ledger: Ledger::default(),
            audited: None,
            effects,
            waiting_since: None,
            next_audit_ms: 0,
            longest_write: std::time::Duration::ZERO,
        })
    }

    /// Takes events in. `at`: when they were received.
    pub(crate) fn hear(&mut self, events: Vec<Event>, at: Instant) {
        self.waiting_since.get_or_insert(at);
        for event in events {
            let Some(relist) = self.store.feed(event) else { continue };
            tracing::warn!(kind = %relist.0, "a list would remove too much: asking for a second one");
            if self.effects.relists.try_send(relist).is_err() {
                tracing::warn!(kind = %relist.0, "nobody can list again");
            }
        }
    }

    /// A grace period that began at `began` is over.
    pub(crate) fn graced(&mut self, began: u64) {
        self.layout.graced(began);
    }

    /// Once a second.
    pub(crate) fn tick(&mut self) {
        let now = self.clock.now_ms();
        self.effects.vitals.ticked(now);
        if self.layout.wants_grace() {
            self.effects.graces.request();
        }
        if self.store.view().synced().is_some() && now >= self.next_audit_ms {
            self.next_audit_ms = now + audit::EVERY_MS;
            self.audit();
        }
    }

    /// Commit, plan, lay out, write, record. Nothing is written before every kind was listed: a
    /// Service whose slices are still on their way would look as if it had no endpoints.
    pub(crate) fn turn(&mut self) {
        let Some(synced) = self.store.view().synced() else {
            self.waiting_since = None;
            return;
        };
        let (view, changes) = self.store.commit();
        let rested = self.layout.has_rested(self.clock.now_ms());
        if changes.is_empty() && !self.layout.pending() && !rested {
            self.waiting_since = None;
            return;
        }
        let began = self.waiting_since.take();
        let planning = Instant::now();
        let (delta, problems) = plan(&view, &changes, &mut self.plan);
        if changes.synced {
            let ms = planning.elapsed().as_millis();
            let uptime_ms = self.clock.now_ms();
            tracing::info!(
                services = delta.services.len(),
                ms,
                uptime_ms,
                "everything was listed: planned"
            );
        }
        self.effects.vitals.node(view.own_node().is_none_or(|node| !node.going_away));
        report(&problems);
        self.publish(&delta, &synced);
        self.record(&changes, &delta, began);
        self.tell(&changes);
    }

    fn publish(&mut self, delta: &PlanDelta, synced: &Synced) {
        let now = self.clock.now_ms();
        let laying_out = Instant::now();
        let batch: Batch = self.layout.lay_out(delta, Some(synced), now);
        let laid_out = laying_out.elapsed();
        if batch.is_empty() {
            self.effects.vitals.settled(now, self.layout.pending());
            return;
        }
        let began = Instant::now();
        let applied = self.kernel.apply(&batch);
        let took = began.elapsed();
        self.longest_write = self.longest_write.max(took);
        let now = self.clock.now_ms();
        self.layout.settle(&batch, &applied, now);
        self.effects.metrics.wrote(&batch, took);
        if batch.ops.len() > 1_000 {
            let (layout_ms, write_ms) = (laid_out.as_millis(), took.as_millis());
            tracing::info!(
                operations = batch.ops.len(),
                layout_ms,
                write_ms,
                "a large change is in force"
            );
        }
        if let Some(failure) = &applied.failure {
            let (done, of) = (applied.done, batch.ops.len());
            tracing::error!(%failure, done, of, "the kernel took only part of a change");
            self.effects.metrics.write_failed();
        }
        self.effects.vitals.settled(now, self.layout.pending());
        if self.layout.wants_grace() {
            self.effects.graces.request();
        }
    }

    /// What became of each Service.
    fn record(&mut self, changes: &Changes, delta: &PlanDelta, began: Option<Instant>) {
        let took = began.map(|began| began.elapsed()).unwrap_or_default();
        let received_ms = self.clock.now_ms();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for name in &delta.services {
            if self.plan.service(name).is_none() {
                self.ledger.forget(name);
                continue;
            }
            let refused = self.layout.refused().find(|refused| refused.service == *name);
            let outcome = refused.map_or(Outcome::Done, |r| Outcome::Failed(r.why.clone()));
            self.ledger.record(name.clone(), Entry { outcome, received_ms, took_us });
        }
        self.effects.metrics.changed(changes, delta, took);
    }

    /// Whoever serves or ends something because of the plan.
    fn tell(&self, changes: &Changes) {
        let checks: Vec<_> = self.plan.health_checks().cloned().collect();
        self.effects.health_checks.send_if_modified(|served| {
            let differs = *served != checks;
            if differs {
                served.clone_from(&checks);
            }
            differs
        });
        let Some(removed) = &self.effects.removed_udp else { return };
        let gone = self.removed_udp(changes);
        if !gone.is_empty() && removed.try_send(gone).is_err() {
            // The next change tells again about its own; a socket missed here times out by itself.
            tracing::warn!("too many removed UDP endpoints at once: some sockets are not ended");
        }
    }

    /// UDP endpoints of changed slices that no set of their Service holds any more.
    fn removed_udp(&self, changes: &Changes) -> BTreeSet<SocketAddr> {
        let mut gone = BTreeSet::new();
        for change in &changes.slices {
            let Some(old) = &change.old else { continue };
            let udp = old.ports.iter().filter(|port| port.protocol == Protocol::Udp);
            let before = udp.flat_map(|port| {
                old.endpoints.iter().map(|endpoint| SocketAddr::new(endpoint.addr, port.port))
            });
            let service = self.plan.service(&old.service);
            let records = service.into_iter().flat_map(|s| &s.ports).flat_map(|p| p.records());
            let used: BTreeSet<SocketAddr> = records
                .flat_map(|record| record.sets.iter().flat_map(|set| set.backends.iter()))
                .map(|b| SocketAddr::new(b.addr.into(), u16::from_be(b.port)))
                .collect();
            gone.extend(before.filter(|endpoint| !used.contains(endpoint)));
        }
        gone
    }

    /// Compares, repairs, remembers.
    fn audit(&mut self) {
        let finding = match audit::audit(self) {
            Ok(finding) => finding,
            Err(error) => {
                tracing::error!(%error, "the audit could not read the kernel");
                return;
            }
        };
        self.effects.metrics.audited(finding.differences.len());
        if !finding.differences.is_empty() {
            for difference in finding.differences.iter().take(20) {
                tracing::error!(
                    difference,
                    "the kernel or the plan is not as it must be: repairing"
                );
            }
            self.repair();
        }
        self.audited = Some(finding);
    }

    /// Everything anew: the plan from scratch, the layout from what the kernel really holds.
    fn repair(&mut self) {
        let view = self.store.view();
        let Some(synced) = view.synced() else { return };
        let delta = audit::plan_from_scratch(self);
        match self.kernel.read() {
            Ok(image) => {
                self.plan = delta;
                let now = self.clock.now_ms();
                self.layout.readopt(image, now);
                let everything = self.plan.everything();
                self.publish(&everything, &synced);
            }
            Err(error) => tracing::error!(%error, "the kernel could not be read for repair"),
        }
    }
}

fn report(problems: &[Problem]) {
    for problem in problems.iter().take(50) {
        tracing::warn!(%problem, "problem");
    }
    if problems.len() > 50 {
        tracing::warn!(more = problems.len() - 50, "further problems: see `towpath status`");
    }
}
