//! Services as an area of the loop: plan, lay out, write, and who is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    time::Duration,
};

use towpath_image::{Attachments, Kernel, KernelError, Observed, ServiceImage};
use towpath_model::{Changes, Key, Kind, ObjectName, Problem, Synced, View};
use towpath_proxy::{HealthCheck, Hold, Layout, NEEDS, PlanDelta, ProxyConfig, ServicePlan, plan};

use super::{
    ServiceMetrics, in_force, problems::PlanProblems, programming_latency::ProgrammingLatency,
    startup::Startup, udp_endpoints::UdpEndpoints,
};
use crate::{
    clock::{Clock, Millis, Now},
    reconcile::{Area, Failure, Outcome, Planned, Published, Stream},
    vitals::Vitals,
};

/// The maps of Services, written and looked at.
pub trait ServiceKernel: Kernel<ServiceImage> + Observed {}
impl<T: Kernel<ServiceImage> + Observed> ServiceKernel for T {}

/// Where the results go besides the kernel.
#[derive(Debug)]
pub struct ServiceOutputs {
    /// healthCheckNodePorts to serve.
    pub health_checks: tokio::sync::watch::Sender<Vec<HealthCheck>>,
    /// Told when a UDP endpoint is used no more, and once when everything was listed: connected
    /// sockets may be stale. `None`: they are not swept.
    pub udp_gone: Option<mpsc::SyncSender<()>>,
    /// Numbers for Prometheus.
    pub metrics: Arc<ServiceMetrics>,
    /// Signs of life for the health endpoints: kube-proxy's are those of Services.
    pub vitals: Arc<Vitals>,
}

/// Services: what this node must translate, and what the kernel holds of it.
pub struct Services {
    needs: [Stream; 3],
    pub(super) plan: ServicePlan,
    pub(super) layout: Layout,
    pub(super) kernel: Box<dyn ServiceKernel>,
    pub(super) outputs: ServiceOutputs,
    pub(super) startup: Startup,
    pub(super) problems: PlanProblems,
    pub(super) udp: UdpEndpoints,
    /// An endpoint went that sockets may be connected to, and the sweeper was not told.
    udp_gone: bool,
    pub(super) latency: ProgrammingLatency,
    /// What was planned and not laid out yet.
    pub(super) delta: PlanDelta,
    /// Services that have a healthCheckNodePort, served or not.
    checked: BTreeSet<ObjectName>,
    /// One of those changed: whose port is served is to be found out again. Few changes do this, and
    /// finding out takes as long as there are such Services.
    checks_changed: bool,
    /// Everything was planned once.
    planned: bool,
    /// Services that cannot be read and of which the kernel may hold something.
    pub(super) unread: Vec<Key>,
    /// Why the last write stopped early.
    pub(super) failure: Option<WriteFailure>,
    /// Services that stay as they were although they changed, and why.
    pub(super) unplaced: BTreeMap<ObjectName, String>,
    /// Longest time spent on writing one batch.
    pub(super) longest_write: Duration,
}

/// Why a write stopped early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WriteFailure {
    pub(super) why: String,
    /// Frontends that should be gone are still there.
    pub(super) removals_left: bool,
}

impl Services {
    /// Over what the kernel holds now.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn new(
        config: ProxyConfig,
        mut kernel: Box<dyn ServiceKernel>,
        outputs: ServiceOutputs,
        clock: &dyn Clock,
    ) -> Result<Self, KernelError> {
        let image = kernel.read()?;
        let (services, frontends) = (image.services.len(), image.frontends.len());
        tracing::info!(services, frontends, "what the kernel holds was adopted");
        Ok(Self {
            needs: NEEDS,
            plan: ServicePlan::new(config),
            layout: Layout::adopt(image),
            kernel,
            outputs,
            startup: Startup::default(),
            problems: PlanProblems::default(),
            udp: UdpEndpoints::default(),
            udp_gone: false,
            latency: ProgrammingLatency::since(clock.now().wall),
            delta: PlanDelta::default(),
            checked: BTreeSet::new(),
            checks_changed: false,
            planned: false,
            unread: Vec::new(),
            failure: None,
            unplaced: BTreeMap::new(),
            longest_write: Duration::ZERO,
        })
    }

    /// What this node must translate.
    #[must_use]
    pub const fn plan(&self) -> &ServicePlan {
        &self.plan
    }

    /// What the kernel holds of it.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Longest time spent on writing one batch.
    #[must_use]
    pub const fn longest_write(&self) -> Duration {
        self.longest_write
    }

    /// Are the lists doubted that came after the start? Nothing that was found goes meanwhile.
    #[must_use]
    pub const fn doubts_lists(&self) -> bool {
        self.startup.doubts()
    }

    /// Which of the entries found at the start stay for now; answers the streams to list again.
    fn retain_found(&mut self, view: &View<'_>, changes: &Changes) -> BTreeSet<Stream> {
        let (mut relist, doubted) = (BTreeSet::new(), self.startup.doubts());
        for stream in &changes.listed {
            self.startup.listed(stream.kind);
        }
        if !self.planned || self.startup.is_due() {
            let kinds = self.startup.judge(self.layout.found(&self.delta));
            for problem in self.startup.problems() {
                tracing::warn!(%problem, "asking for a second list");
            }
            relist.extend(kinds.into_iter().map(Stream::all));
        }
        let unreadable = NEEDS.iter().any(|need| changes.unreadable.contains(need.kind));
        if self.planned && !unreadable && doubted == self.startup.doubts() {
            return relist;
        }
        self.unread = view.unread().filter(|key| key.kind == Kind::Service).cloned().collect();
        let hold = self.startup.hold(view);
        if hold != *self.layout.hold() {
            if hold == Hold::default() {
                tracing::info!("no entry found at the start is kept any more without its object");
            } else {
                tracing::warn!(
                    "entries found at the start are kept although no object claims them"
                );
            }
            // Sockets may be connected to what goes now.
            self.udp_gone = true;
            self.layout.set_hold(hold);
        }
        relist
    }

    /// What is kept per Service besides the plan.
    fn record(&mut self, services: &BTreeSet<ObjectName>, planned: &mut Planned) {
        for name in services {
            let service = self.plan.service(name);
            self.problems.planned(name, service);
            let had = self.checked.contains(name);
            let has = service.is_some_and(|service| service.health_check.is_some());
            if has && !had {
                self.checked.insert(name.clone());
            } else if had && !has {
                self.checked.remove(name);
            }
            self.checks_changed |= had || has;
            let key = Key { kind: Kind::Service, name: name.clone() };
            if service.is_some() {
                planned.touched.insert(key)
            } else {
                planned.gone.insert(key)
            };
        }
    }

    /// Tells the health check listeners and the sweeper of stale UDP sockets.
    pub(super) fn notify(&mut self) {
        if std::mem::take(&mut self.checks_changed) {
            self.outputs.health_checks.send_if_modified(|served| {
                let differs = !served.iter().eq(self.plan.health_checks());
                if differs {
                    *served = self.plan.health_checks().cloned().collect();
                }
                differs
            });
        }
        // While the kernel refuses writes, a socket that is ended would be sent back; and while the
        // lists are doubted, it is not known which endpoints are gone.
        if self.udp_gone && self.failure.is_none() && !self.startup.doubts() {
            self.udp_gone = false;
            if let Some(sweeper) = &self.outputs.udp_gone {
                // A full queue: the sweeper has yet to look, and will see this, too.
                let _looks_anyway = sweeper.try_send(());
            }
        }
    }

    /// The plan from scratch, the layout from what the kernel really holds.
    fn replan(&mut self, image: ServiceImage, view: &View<'_>, now: Millis) {
        let mut fresh = ServicePlan::new(self.plan.config().clone());
        // The first plan compiles everything, whatever the changes say.
        plan(view, &Changes::default(), &mut fresh);
        self.plan = fresh;
        self.checks_changed = true;
        self.layout.readopt(image, now);
        self.delta = self.plan.everything();
    }
}

impl Area for Services {
    const NAME: &'static str = "services";

    fn needs(&self) -> &[Stream] {
        &self.needs
    }

    fn attachments(&self) -> Attachments {
        super::attachments()
    }

    fn heard(&mut self, changes: &Changes, received: Now) {
        self.outputs.metrics.heard(changes, received.wall);
    }

    fn plan(
        &mut self,
        view: &View<'_>,
        changes: &Changes,
        _synced: &Synced,
        clock: &dyn Clock,
    ) -> Planned {
        let began = clock.now();
        let first = !self.planned;
        let (delta, problems) = plan(view, changes, &mut self.plan);
        for name in touched(changes, &delta) {
            self.udp_gone |= self.udp.update(name, &self.plan, view);
        }
        self.outputs.vitals.node(view.own_node().is_none_or(|node| !node.going_away));
        let services = delta.services.clone();
        self.delta.absorb(delta);
        let mut planned =
            Planned { relist: self.retain_found(view, changes), ..Planned::default() };
        self.planned = true;
        report(&problems);
        if first {
            self.udp_gone = true;
            view.slices().for_each(|slice| self.latency.appeared(slice));
            self.outputs.metrics.changed(view.services().len(), view.slices().len());
            let now = clock.now();
            let (ms, uptime_ms) = (now.since(&began).as_millis(), now.ms());
            let services = services.len();
            tracing::info!(services, ms, uptime_ms, "everything was listed: planned");
        } else {
            self.latency.changed(changes);
            self.outputs.metrics.changed(changes.services.len(), changes.slices.len());
        }
        self.record(&services, &mut planned);
        planned
    }

    fn publish(&mut self, synced: &Synced, clock: &dyn Clock) -> Published {
        self.write(synced, clock)
    }

    fn repair(&mut self, view: &View<'_>, clock: &dyn Clock) -> Result<(), Failure> {
        match self.kernel.read() {
            Ok(image) => {
                self.replan(image, view, clock.now_ms());
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the kernel could not be read for repair");
                let why = error.to_string();
                self.failure = Some(WriteFailure { why: why.clone(), removals_left: true });
                self.outputs.vitals.settled(clock.now_ms(), true);
                self.outputs.metrics.write_failed();
                Err(Failure(why))
            }
        }
    }

    fn outcome(&self, of: &Key) -> Outcome {
        if let Some(why) = self.unplaced.get(&of.name) {
            return Outcome::Failed(why.clone());
        }
        match &self.failure {
            Some(failure)
                if failure.removals_left
                    || !in_force::service(&self.layout, &self.plan, &of.name) =>
            {
                Outcome::Failed(failure.why.clone())
            }
            _ => Outcome::Done,
        }
    }

    fn settled(&mut self, longest: Option<Duration>, now: Now) {
        let metrics = &self.outputs.metrics;
        if let Some(took) = longest {
            metrics.in_force(took);
        }
        if self.failure.is_none() {
            metrics.nothing_waits();
            self.latency.done(now.wall).for_each(|took| metrics.programmed(took));
        }
    }

    fn problems(&self, out: &mut Vec<Problem>) {
        self.list_problems(out);
    }

    fn is_due(&self, now: Now) -> bool {
        self.layout.has_rested(now.ms())
    }

    fn graced(&mut self, began: Millis) {
        self.layout.graced(began);
    }

    fn wants_grace(&self) -> bool {
        self.layout.wants_grace()
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
