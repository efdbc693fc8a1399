//! Store, plan, layout and maps in memory in a row, without the loop around them: what the tests of
//! this crate play on. The daemon's loop itself is driven by the tests of the daemon.
#![allow(dead_code, reason = "each test binary that shares this file uses a part of it")]

pub(crate) mod maps;

use serde_json::Value;
use towpath_image::{
    Applied, Batch, Capacities, FakeKernel, Kernel as _, KernelError, MapName, ServiceImage,
    ServiceOp,
};
use towpath_model::{Event, Kind, Store, Synced, decode};
use towpath_proxy::{Layout, NEEDS, PlanDelta, ServicePlan, plan};

/// This node.
pub(crate) const NODE: &str = "n0";

pub(crate) struct Pipeline {
    pub(crate) store: Store,
    pub(crate) plan: ServicePlan,
    pub(crate) layout: Layout,
    pub(crate) kernel: FakeKernel<ServiceImage>,
    /// Milliseconds since the daemon started.
    pub(crate) now: u64,
}

impl Pipeline {
    /// Nothing is listed.
    pub(crate) fn new(capacities: Capacities, plan: ServicePlan) -> Self {
        let kernel = FakeKernel::new(capacities);
        let layout = Layout::adopt(kernel.image.clone());
        Self { store: Store::new(NODE), plan, layout, kernel, now: 1 }
    }

    /// Every kind is listed, and there is nothing of any.
    pub(crate) fn listed(capacities: Capacities, plan: ServicePlan) -> Self {
        let mut pipeline = Self::new(capacities, plan);
        pipeline.feed(NEEDS.map(Event::InitDone));
        pipeline
    }

    pub(crate) fn feed(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.store.feed(event);
        }
    }

    /// An object as the API server sends it, which can be read.
    pub(crate) fn apply(&mut self, kind: Kind, json: &Value) {
        let object = decode(kind, json.to_string().as_bytes()).unwrap();
        self.feed([Event::Apply(object)]);
    }

    pub(crate) fn synced(&self) -> Option<Synced> {
        self.store.view().synced(&NEEDS)
    }

    /// Commits what was fed and plans it.
    pub(crate) fn plan(&mut self) -> PlanDelta {
        let (view, changes) = self.store.commit();
        plan(&view, &changes, &mut self.plan).0
    }

    /// Lays out, and writes for a millisecond. Answers what was laid out, and how much was written.
    pub(crate) fn write(
        &mut self,
        delta: &PlanDelta,
        synced: Option<&Synced>,
    ) -> (Batch<ServiceOp>, Applied) {
        let batch = self.layout.lay_out(delta, synced, self.now);
        let applied = self.kernel.apply(&batch);
        self.now += 1;
        self.layout.settle(&batch, &applied, self.now);
        assert_eq!(*self.layout.image(), self.kernel.image, "the mirror is the kernel");
        (batch, applied)
    }

    /// The same, with what is listed.
    pub(crate) fn publish(&mut self, delta: &PlanDelta) -> Batch<ServiceOp> {
        let synced = self.synced();
        self.write(delta, synced.as_ref()).0
    }

    /// Commit, plan, lay out, write.
    pub(crate) fn turn(&mut self) -> Batch<ServiceOp> {
        let delta = self.plan();
        self.publish(&delta)
    }

    /// No program runs any more that began before.
    pub(crate) fn grace(&mut self) {
        self.now += 1;
        self.layout.graced(self.now);
    }

    /// The daemon dies and another one takes over what is there, and plans the same.
    pub(crate) fn restart(&mut self) -> Batch<ServiceOp> {
        self.layout = Layout::adopt(self.kernel.image.clone());
        let everything = self.plan.everything();
        self.publish(&everything)
    }

    /// The write after the next `successes` fails, once.
    pub(crate) fn fail_after(&mut self, successes: usize) {
        let (map, what, cause) = (MapName::FRONTENDS, "writing".into(), "ordered".into());
        self.kernel.fail_after(successes, KernelError::System { map, what, cause });
    }
}
