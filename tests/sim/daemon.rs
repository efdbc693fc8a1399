//! The daemon's loop over a kernel in memory, with the clock in the hands of the simulation.

use towpath_image::{
    Applied, Batch, FakeKernel, Kernel as _, KernelError, MapName, ServiceImage, ServiceOp,
};
use towpath_model::{Store, service::Cidr};
use towpath_proxy::{Layout, NEEDS, PlanDelta, ProxyConfig, ServicePlan, plan};

use crate::world::Random;

/// What goes wrong in a turn.
pub(crate) enum Fault {
    None,
    /// The write after so many does not succeed.
    Fails(usize, KernelError),
    /// The daemon is killed after so many writes, and never learns how far it came.
    Dies(usize),
}

pub(crate) struct Daemon {
    pub(crate) store: Store,
    pub(crate) plan: ServicePlan,
    pub(crate) layout: Layout,
    kernel: FakeKernel<ServiceImage>,
    pub(crate) now: u64,
    /// Grace periods that have begun and are not over.
    graces: Vec<u64>,
    pub(crate) batches: Vec<Batch<ServiceOp>>,
    /// Batches are carried out last operation first: what no kernel may do.
    pub(crate) backwards: bool,
}

pub(crate) fn new_plan() -> ServicePlan {
    ServicePlan::new(ProxyConfig {
        external_ips: vec![Cidr::parse("2.2.2.0/24").unwrap()],
        ..ProxyConfig::default()
    })
}

impl Daemon {
    pub(crate) fn new(kernel: FakeKernel<ServiceImage>) -> Self {
        Self {
            store: Store::new("n0"),
            plan: new_plan(),
            layout: Layout::adopt(kernel.image.clone()),
            kernel,
            now: 1,
            graces: Vec::new(),
            batches: Vec::new(),
            backwards: false,
        }
    }

    pub(crate) fn synced(&self) -> bool {
        self.store.view().synced(&NEEDS).is_some()
    }

    pub(crate) const fn image(&self) -> &ServiceImage {
        &self.kernel.image
    }

    /// States since they were last asked for.
    pub(crate) fn history(&mut self) -> Vec<ServiceImage> {
        self.kernel.history.replace(Vec::new()).unwrap_or_default()
    }

    /// One turn, as `reconcile::State::turn` takes it. Answers whether the fault struck.
    pub(crate) fn turn(&mut self, fault: Fault) -> bool {
        self.now += 7;
        let Some(synced) = self.store.view().synced(&NEEDS) else { return false };
        let (view, changes) = self.store.commit();
        let delta = if changes.is_empty() {
            if !self.layout.pending() && !self.layout.has_rested(self.now) {
                return false;
            }
            PlanDelta::default()
        } else {
            plan(&view, &changes, &mut self.plan).0
        };
        let mut batch = self.layout.lay_out(&delta, Some(&synced), self.now);
        if self.backwards {
            batch.ops.reverse();
        }
        let dies = matches!(fault, Fault::Dies(_));
        match fault {
            Fault::None => {}
            Fault::Fails(after, failure) => self.kernel.fail_after(after, failure),
            Fault::Dies(after) => {
                let cause = "killed".to_owned();
                let failure =
                    KernelError::System { map: MapName::CONFIG, what: "dying".into(), cause };
                self.kernel.fail_after(after, failure);
            }
        }
        let applied: Applied = self.kernel.apply(&batch);
        let struck = self.kernel.fail_after.take().is_none() && self.kernel.failure.is_none();
        self.kernel.failure = None;
        self.now += 1;
        self.batches.push(batch.clone());
        if !dies {
            self.layout.settle(&batch, &applied, self.now);
            assert_eq!(*self.layout.image(), self.kernel.image, "the mirror is the kernel");
            if self.layout.wants_grace() && self.graces.len() < 3 {
                self.graces.push(self.now);
            }
        }
        struck && applied.failure.is_some()
    }

    /// Some grace period ends, perhaps a late one.
    pub(crate) fn late_grace(&mut self, random: &mut Random) {
        if !self.graces.is_empty() {
            let began = self.graces.remove(random.below(self.graces.len()));
            self.layout.graced(began);
        }
    }

    /// Time goes by and every grace period ends.
    pub(crate) fn rest(&mut self) {
        self.graces.clear();
        self.now += 1;
        self.layout.graced(self.now);
        self.now += 1_500;
    }

    /// Another daemon takes over what the kernel holds.
    pub(crate) fn restart(&mut self) {
        self.store = Store::new("n0");
        self.plan = new_plan();
        self.layout = Layout::adopt(self.kernel.read().unwrap());
        self.graces.clear();
    }
}
