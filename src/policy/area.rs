//! Policy as an area of the loop: plan, bind, lay out, write.

use std::collections::BTreeSet;

use towpath_image::{
    Attachment, Attachments, Batch, Kernel, KernelError, PolicyImage, PolicyOp,
    datapath::policy::PolicyCounters,
};
use towpath_model::{Changes, Code, Key, Kind, ObjectName, Problem, Scope, Stream, Synced, View};
use towpath_netpol::{Bindings, PodsWanted, PolicyDelta, PolicyLayout, PolicyPlan, Refused};

use super::{binding::bind, startup::Startup};
use crate::{
    clock::{Clock, Millis, Now},
    reconcile::{Area, Failure, Outcome, Planned, Published},
};

/// What must be listed before anything is judged anew.
pub static NEEDS: [Stream; 3] = [
    Stream { kind: Kind::Pod, scope: Scope::Node },
    Stream::all(Kind::Namespace),
    Stream::all(Kind::NetworkPolicy),
];

/// So long a change waits for lists of the pods that its policies select: longer, and its peers that are
/// not known yet are let in when they are.
const PATIENCE_MS: u64 = 5_000;

/// The maps of policies, and what their programs count.
pub trait PolicyKernel: Kernel<PolicyImage> {
    /// What did not pass so far.
    fn counters(&self) -> PolicyCounters;
}

impl PolicyKernel for towpath_ebpf::LiveMaps<PolicyImage> {
    fn counters(&self) -> PolicyCounters {
        Self::counters(self)
    }
}

/// NetworkPolicy: what this node wants enforced, and what the kernel holds of it.
pub struct Policy {
    kernel: Box<dyn PolicyKernel>,
    needs: Vec<Stream>,
    /// The Service at whose addresses this node answers DNS itself.
    dns: Option<ObjectName>,
    plan: PolicyPlan,
    layout: PolicyLayout,
    bindings: Bindings,
    /// What was planned and not laid out yet.
    delta: PolicyDelta,
    /// What an earlier daemon left at devices; then what is wanted there.
    attachments: Attachments,
    /// Since when lists of pods are waited for.
    waits: Option<Millis>,
    planned: bool,
    startup: Startup,
    refused: Option<Refused>,
    failure: Option<String>,
    /// Isolated pods of this node without a device.
    adrift: BTreeSet<ObjectName>,
}

impl Policy {
    /// Over what the kernel holds now, and has in force at devices. `dns`: the Service at whose
    /// addresses this node answers DNS itself, if it does; then Services are needed too.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn new(
        mut kernel: Box<dyn PolicyKernel>,
        attachments: Attachments,
        dns: Option<ObjectName>,
    ) -> Result<Self, KernelError> {
        let image = kernel.read()?;
        let (pods, peers) = (image.pods.len(), image.peers.len());
        tracing::info!(pods, peers, "what the kernel holds of policies was adopted");
        let bindings = Bindings::new();
        let services = dns.is_some().then_some(Stream::all(Kind::Service));
        Ok(Self {
            kernel,
            needs: NEEDS.iter().cloned().chain(services).collect(),
            dns,
            plan: PolicyPlan::default(),
            layout: PolicyLayout::adopt(image),
            bindings,
            delta: PolicyDelta::default(),
            attachments,
            waits: None,
            planned: false,
            startup: Startup::default(),
            refused: None,
            failure: None,
            adrift: BTreeSet::new(),
        })
    }

    pub(super) const fn wanted(&self) -> &PolicyPlan {
        &self.plan
    }

    pub(super) const fn layout(&self) -> &PolicyLayout {
        &self.layout
    }

    pub(super) const fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    pub(super) fn adrift(&self) -> usize {
        self.adrift.len()
    }

    /// What did not pass so far.
    pub(super) fn counters(&self) -> PolicyCounters {
        self.kernel.counters()
    }

    /// May the first lists be believed? Answers the streams to list again where they may not.
    fn judge_lists(&mut self, changes: &Changes) -> BTreeSet<Stream> {
        changes.listed.iter().for_each(|stream| self.startup.listed(stream));
        if self.planned && !self.startup.is_due() {
            return BTreeSet::new();
        }
        let relist = self.startup.judge(self.layout.opens(&self.plan));
        if let Some(problem) = self.startup.problem() {
            tracing::warn!(%problem, "asking for second lists");
        }
        relist
    }

    /// The streams of pods that the policies in force may select.
    fn streams(&self, view: &View<'_>) -> BTreeSet<Stream> {
        match self.plan.pods_wanted(view) {
            PodsWanted::All => [Stream::all(Kind::Pod)].into(),
            PodsWanted::Of(namespaces) => namespaces
                .into_iter()
                .map(|name| Stream { kind: Kind::Pod, scope: Scope::Namespace(name) })
                .collect(),
        }
    }

    fn bind(&mut self, view: &View<'_>) {
        self.bindings = bind(self.plan.pods(), view.pod_devices(), &self.bindings);
        let bound: BTreeSet<&ObjectName> = self.bindings.values().collect();
        let isolated = self.plan.pods().filter(|pod| pod.ingress.is_some() || pod.egress.is_some());
        self.adrift = isolated
            .map(|local| local.pod.name.clone())
            .filter(|name| !bound.contains(name))
            .collect();
    }

    /// Everything that was planned and not laid out; nothing while lists are waited for.
    fn write(&mut self, clock: &dyn Clock) -> Option<String> {
        let mut now = clock.now_ms();
        if self.startup.doubts() {
            return None;
        }
        if self.waits.is_some_and(|since| now.saturating_sub(since) < PATIENCE_MS) {
            return None;
        }
        self.waits = None;
        // Several batches: the second phase of a change follows without a grace period when there is
        // nothing that leaves.
        let delta = std::mem::take(&mut self.delta);
        let (batch, refused): (Batch<PolicyOp>, _) =
            self.layout.lay_out(&self.plan, delta, &self.bindings, now);
        if self.refused != refused
            && let Some(refused) = refused
        {
            tracing::error!(map = %refused.map, capacity = refused.capacity, "policies refused");
        }
        self.refused = refused;
        if batch.ops.is_empty() {
            return None;
        }
        let applied = self.kernel.apply(&batch);
        // What leaves is stamped after the write: a grace period that began before it proves nothing.
        now = clock.now_ms();
        self.layout.settle(&batch, &applied, now);
        tracing::debug!(operations = batch.ops.len(), done = applied.done, "policies written");
        applied.failure.map(|failure| {
            tracing::error!(%failure, "policies could not be written");
            failure.to_string()
        })
    }
}

impl Area for Policy {
    const NAME: &'static str = "policy";

    fn needs(&self) -> &[Stream] {
        &self.needs
    }

    fn attachments(&self) -> Attachments {
        self.attachments.clone()
    }

    fn plan(
        &mut self,
        view: &View<'_>,
        changes: &Changes,
        _synced: &Synced,
        clock: &dyn Clock,
    ) -> Planned {
        if self.planned {
            let delta = self.plan.update(view, changes);
            self.delta.absorb(delta);
        } else {
            self.plan = PolicyPlan::from_scratch(view, self.dns.as_ref());
            self.delta.absorb(self.plan.everything());
            let (policies, atoms) = (view.network_policies().len(), self.plan.atoms());
            tracing::info!(policies, atoms, "everything was listed: policies planned");
        }
        let relist = self.judge_lists(changes);
        self.planned = true;
        self.bind(view);
        let streams = self.streams(view);
        self.waits = match streams.iter().all(|stream| view.listed(stream)) {
            true => None,
            false => self.waits.or_else(|| Some(clock.now_ms())),
        };
        let devices = view.pod_devices().iter().map(|device| device.index);
        self.attachments = Attachment::of_pods(devices);
        let mut planned = Planned {
            relist,
            streams: Some(streams),
            attachments: Some(self.attachments.clone()),
            ..Planned::default()
        };
        for change in &changes.network_policies {
            let key = Key { kind: Kind::NetworkPolicy, name: change.name.clone() };
            match change.new {
                Some(_) => planned.touched.insert(key),
                None => planned.gone.insert(key),
            };
        }
        planned
    }

    fn publish(&mut self, _synced: &Synced, clock: &dyn Clock) -> Published {
        self.failure = self.write(clock);
        let waits = self.startup.doubts()
            || self.waits.is_some()
            || !self.layout.is_settled()
            || self.refused.is_some();
        Published { failure: self.failure.clone().map(Failure), pending: waits }
    }

    fn repair(&mut self, view: &View<'_>, _clock: &dyn Clock) -> Result<(), Failure> {
        let image = self.kernel.read().map_err(|error| Failure(error.to_string()))?;
        self.plan = PolicyPlan::from_scratch(view, self.dns.as_ref());
        self.layout = PolicyLayout::adopt(image);
        self.delta = self.plan.everything();
        self.bind(view);
        Ok(())
    }

    fn outcome(&self, _of: &Key) -> Outcome {
        match (&self.failure, &self.refused) {
            (Some(why), _) => Outcome::Failed(why.clone()),
            (None, Some(refused)) => Outcome::Failed(full(refused)),
            (None, None) => Outcome::Done,
        }
    }

    fn problems(&self, out: &mut Vec<Problem>) {
        if let Some(refused) = &self.refused {
            let action = "what was in force stays, and new pods are closed; select fewer peers, or raise \
                          the capacity";
            out.push(Problem::new(Code::PolicyRefused, None, "spec", &full(refused), action));
        }
        out.extend(self.startup.problem());
        for name in self.adrift.iter().take(20) {
            let key = Key { kind: Kind::Pod, name: name.clone() };
            let why = "a policy isolates it, and no device of this node certainly leads to its \
                       addresses: nothing but this node reaches it by a device that is not known";
            let action =
                "nothing, while it starts; a pod without a pair of devices cannot be isolated";
            out.push(Problem::new(Code::PodWithoutDevice, Some(key), "status.podIPs", why, action));
        }
    }

    fn is_due(&self, now: Now) -> bool {
        let waited = self.waits.is_some_and(|since| now.ms().saturating_sub(since) >= PATIENCE_MS);
        waited || (self.waits.is_none() && self.layout.is_due(now.ms()))
    }

    fn graced(&mut self, began: Millis) {
        self.layout.graced(began);
    }

    fn wants_grace(&self) -> bool {
        self.layout.wants_grace()
    }
}

fn full(refused: &Refused) -> String {
    format!("{} holds {} entries, and more are needed", refused.map, refused.capacity)
}
