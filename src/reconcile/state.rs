//! What the loop owns, and one turn of it.

mod publish;

use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc as std_mpsc},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::mpsc;
use towpath_image::{Kernel, KernelError, Observed, Programs, ServiceImage};
use towpath_model::{Changes, Event, Kind, ObjectName, Problem, Relist, Store, Stream};
use towpath_proxy::{HealthCheck, Hold, Layout, NEEDS, PlanDelta, ServicePlan, plan};

use super::{
    Clock, Finding, Graces, Ledger, brake::Brake, guard::Guard, retry::Retry, triggers::Triggers,
    troubles::Troubles, udp_endpoints::UdpEndpoints, vitals::Vitals,
};
use crate::admin::Metrics;

/// The kernel, written and looked at.
pub trait Door: Kernel<ServiceImage> + Observed {}
impl<T: Kernel<ServiceImage> + Observed> Door for T {}

/// Where the loop's results go besides the kernel.
pub struct Effects {
    /// Requests for a second list.
    pub relists: mpsc::Sender<Relist>,
    /// Requests for grace periods.
    pub graces: Graces,
    /// healthCheckNodePorts to serve.
    pub health_checks: tokio::sync::watch::Sender<Vec<HealthCheck>>,
    /// Told when a UDP endpoint is used no more, and once when everything was listed: connected
    /// sockets may be stale. `None` when nobody wants to know.
    pub udp_gone: Option<std_mpsc::SyncSender<()>>,
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
    programs: Box<dyn Programs>,
    pub(crate) ledger: Ledger,
    pub(crate) audited: Option<Finding>,
    pub(crate) effects: Effects,
    pub(super) guard: Guard,
    pub(super) brake: Brake,
    /// Streams whose source was not yet told to list again.
    relists: BTreeSet<Stream>,
    pub(super) troubles: Troubles,
    pub(super) udp: UdpEndpoints,
    /// An endpoint went that sockets may be connected to, and nobody was told.
    udp_gone: bool,
    triggers: Triggers,
    retry: Retry,
    /// When the oldest event that is not yet planned was received.
    waiting_since: Option<Instant>,
    /// Everything was listed and planned once.
    planned: bool,
    /// The last audit found something: everything is to be written anew.
    pub(super) repair: bool,
    /// Services that have a healthCheckNodePort, served or not.
    checked: BTreeSet<ObjectName>,
    /// One of those changed: whose port is served is to be found out again. Few changes do this, and
    /// finding out takes as long as there are such Services.
    checks_changed: bool,
    /// [`Brake::stamp`] of what the layout holds.
    held_at: (u64, bool),
    /// Longest time spent on writing one batch.
    pub(crate) longest_write: Duration,
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
        programs: Box<dyn Programs>,
        effects: Effects,
    ) -> Result<Self, KernelError> {
        let image = kernel.read()?;
        effects.metrics.adopted(&image);
        Ok(Self {
            clock,
            store,
            plan,
            layout: Layout::adopt(image),
            kernel,
            programs,
            ledger: Ledger::default(),
            audited: None,
            effects,
            guard: Guard::default(),
            brake: Brake::default(),
            relists: BTreeSet::new(),
            troubles: Troubles::default(),
            udp: UdpEndpoints::default(),
            udp_gone: false,
            triggers: Triggers::since(SystemTime::now()),
            retry: Retry::default(),
            waiting_since: None,
            planned: false,
            repair: false,
            checked: BTreeSet::new(),
            checks_changed: false,
            held_at: (0, false),
            longest_write: Duration::ZERO,
        })
    }

    pub(super) fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.effects.vitals)
    }

    /// Takes events in. `at`: when they were received.
    pub(crate) fn hear(&mut self, events: Vec<Event>, at: Instant) {
        self.waiting_since.get_or_insert(at);
        let of = |kind| events.iter().filter(|event| kind_of(event) == Some(kind)).count();
        self.effects.metrics.heard(of(Kind::Service), of(Kind::EndpointSlice));
        for event in events {
            if let Event::InitDone(stream) = &event {
                self.brake.listed(stream.kind);
            }
            let Some(Relist(stream)) = self.store.feed(event) else { continue };
            tracing::warn!(%stream, "a list is doubted: asking for a second one");
            self.relists.insert(stream);
        }
        self.ask_for_lists();
    }

    /// Tells the source; one that does not listen is told again at the next tick.
    fn ask_for_lists(&mut self) {
        let source = &self.effects.relists;
        self.relists.retain(|stream| source.try_send(Relist(stream.clone())).is_err());
    }

    /// A grace period that began at `began` is over.
    pub(crate) fn graced(&mut self, began: u64) {
        self.layout.graced(began);
    }

    /// Once a second.
    pub(crate) fn tick(&mut self) {
        let now = self.clock.now_ms();
        self.effects.vitals.ticked(now);
        self.ask_for_lists();
        if self.layout.wants_grace() {
            self.effects.graces.request();
        }
        let back = self.guard.tick(self.programs.as_mut(), now);
        self.effects.metrics.reattached(back);
    }

    /// Says whose maps these are, now that it is known. On an error nothing may be written.
    pub(crate) fn bind(&mut self, cluster: u64) -> Result<(), KernelError> {
        self.programs.bind(cluster)
    }

    /// An audit is finished. What it found is repaired in the next turn.
    pub(crate) fn audited(&mut self, finding: Finding) {
        self.effects.metrics.audited(finding.differences.len());
        for difference in finding.differences.iter().take(20) {
            tracing::error!(difference, "the kernel or the plan is not as it must be: repairing");
        }
        let back = self.guard.look(self.programs.as_mut(), self.clock.now_ms());
        self.effects.metrics.reattached(back);
        self.repair |= !finding.differences.is_empty();
        self.audited = Some(finding);
    }

    /// Was everything listed and planned once?
    pub(super) const fn is_planned(&self) -> bool {
        self.planned
    }

    /// Is everything planned that was heard? Not so before the first lists are complete and while
    /// the kernel refuses writes.
    pub(super) const fn is_settled(&self) -> bool {
        self.planned && self.waiting_since.is_none()
    }

    /// Commit, plan, lay out, write, record. Nothing is written before what is needed was listed: a
    /// Service whose slices are still on their way would look as if it had no endpoints.
    pub(crate) fn turn(&mut self) {
        let Some(synced) = self.store.view().synced(&NEEDS) else {
            self.waiting_since = None;
            return;
        };
        let heard = self.waiting_since.is_some();
        let rested = self.layout.has_rested(self.clock.now_ms());
        let lets_go = self.brake.is_due() || self.brake.stamp(&self.store) != self.held_at;
        let work = self.repair || rested || lets_go || self.layout.pending();
        if !(heard || work) || !self.retry.is_due(self.clock.now_ms(), heard) {
            return;
        }
        let (view, changes) = self.store.commit();
        let since = self.waiting_since.take().unwrap_or_else(Instant::now);
        if changes.is_empty() && !work {
            self.effects.metrics.nothing_waits();
            return;
        }
        let planning = Instant::now();
        let (delta, problems) = plan(&view, &changes, &mut self.plan);
        for name in touched(&changes, &delta) {
            self.udp_gone |= self.udp.update(name, &self.plan, &view);
        }
        self.effects.vitals.node(view.own_node().is_none_or(|node| !node.going_away));
        self.hold(&delta);
        if !std::mem::replace(&mut self.planned, true) {
            self.udp_gone = true;
            let (ms, uptime_ms) = (planning.elapsed().as_millis(), self.clock.now_ms());
            let services = delta.services.len();
            tracing::info!(services, ms, uptime_ms, "everything was listed: planned");
        }
        report(&problems);
        self.note(&changes, &delta, since);
        if std::mem::take(&mut self.repair) {
            self.write_anew(&synced);
        } else {
            self.write(&delta, &synced);
        }
        self.tell();
    }

    /// What of the things found at the start stays for now.
    fn hold(&mut self, delta: &PlanDelta) {
        if !self.planned || self.brake.is_due() {
            let kinds = self.brake.judge(self.layout.found(delta));
            for problem in self.brake.problems() {
                tracing::warn!(problem, "asking for a second list");
            }
            self.relists.extend(kinds.into_iter().map(Stream::from));
            self.ask_for_lists();
        }
        let stamp = self.brake.stamp(&self.store);
        if stamp == self.held_at {
            return;
        }
        self.held_at = stamp;
        let hold = self.brake.hold(&self.store);
        if hold != *self.layout.hold() {
            if hold == Hold::default() {
                tracing::info!("nothing that the start found is held any more");
            } else {
                tracing::warn!("of what the start found and nobody claims something is held");
            }
            // Sockets may be connected to what goes now.
            self.udp_gone = true;
            self.layout.set_hold(hold);
        }
    }

    /// What is kept per Service besides the plan.
    fn note(&mut self, changes: &Changes, delta: &PlanDelta, since: Instant) {
        self.troubles.read(changes);
        self.triggers.heard(changes);
        let waited = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let since_ms = self.clock.now_ms().saturating_sub(waited);
        for name in &delta.services {
            let service = self.plan.service(name);
            self.troubles.planned(name, service);
            let had = self.checked.contains(name);
            let has = service.is_some_and(|service| service.health_check.is_some());
            if has && !had {
                self.checked.insert(name.clone());
            } else if had && !has {
                self.checked.remove(name);
            }
            self.checks_changed |= had || has;
            if service.is_some() {
                self.ledger.received(name.clone(), since, since_ms);
            } else {
                self.ledger.forget(name);
            }
        }
        self.effects.metrics.changed(changes);
    }

    /// Whoever serves or ends something because of the plan.
    fn tell(&mut self) {
        if std::mem::take(&mut self.checks_changed) {
            self.effects.health_checks.send_if_modified(|served| {
                let differs = !served.iter().eq(self.plan.health_checks());
                if differs {
                    *served = self.plan.health_checks().cloned().collect();
                }
                differs
            });
        }
        // While the kernel refuses writes, a socket that is ended would be sent back; and while the
        // lists are doubted, nobody knows which endpoints are gone.
        if self.udp_gone && !self.retry.failing() && !self.brake.holds() {
            self.udp_gone = false;
            if let Some(told) = &self.effects.udp_gone {
                // A full queue: whoever is told has yet to look, and will see this, too.
                let _looks_anyway = told.try_send(());
            }
        }
    }
}

const fn kind_of(event: &Event) -> Option<Kind> {
    match event {
        Event::Apply(object) => Some(object.kind()),
        Event::Delete(kind, _) => Some(*kind),
        _ => None,
    }
}

/// Services that changed, or whose slices did.
fn touched<'a>(changes: &'a Changes, delta: &'a PlanDelta) -> BTreeSet<&'a ObjectName> {
    let slices = changes.slices.iter().flat_map(|change| [&change.old, &change.new]);
    let of_slices = slices.flatten().map(|slice| &slice.service);
    delta.services.iter().chain(of_slices).collect()
}

fn report(problems: &[Problem]) {
    for problem in problems.iter().take(50) {
        tracing::warn!(%problem, "problem");
    }
    if problems.len() > 50 {
        tracing::warn!(more = problems.len() - 50, "further problems: see `towpath status`");
    }
}

#[cfg(test)]
mod tests;
