//! A daemon to which a test says what there is, and which comes to rest in between: what scenarios
//! and fuzz targets play on. (The simulation's comes to no rest, and has a kernel of its own.)

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use towpath::{
    agent,
    clock::{Clock as _, ManualClock},
    reconcile::{Runner, State},
    services::Services,
};
use towpath_image::{
    Applied, Batch, Capacities, Counters, FakeKernel, FakePrograms, Kernel, KernelError, Observed,
    ServiceImage, ServiceOp, datapath::ServiceCounters,
};
use towpath_model::{Event, Relist};
use towpath_proxy::ProxyConfig;

use crate::start::{Started, start};

/// Turns after which whatever has to rest has rested.
const TURNS: u32 = 6;

/// Maps that the loop writes and the test reads.
#[derive(Clone)]
struct Maps(Arc<Mutex<Written>>);

struct Written {
    kernel: FakeKernel<ServiceImage>,
    /// What was carried out since the test asked last.
    ops: Vec<ServiceOp>,
}

impl Maps {
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap()
    }
}

impl Kernel<ServiceImage> for Maps {
    fn read(&mut self) -> Result<ServiceImage, KernelError> {
        self.lock().kernel.read()
    }
    fn apply(&mut self, batch: &Batch<ServiceOp>) -> Applied {
        let mut maps = self.lock();
        let applied = maps.kernel.apply(batch);
        maps.ops.extend(batch.ops.iter().take(applied.done).cloned());
        applied
    }
}

impl Observed for Maps {
    fn service_counters(&self, _index: u32) -> ServiceCounters {
        ServiceCounters::default()
    }
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// A daemon over empty maps.
pub(crate) struct Fixture {
    maps: Maps,
    clock: ManualClock,
    config: ProxyConfig,
    daemon: Started,
}

impl Fixture {
    pub(crate) fn new(capacities: Capacities, config: ProxyConfig) -> Self {
        let kernel = FakeKernel::new(capacities);
        let maps = Maps(Arc::new(Mutex::new(Written { kernel, ops: Vec::new() })));
        let clock = ManualClock::default();
        let daemon = start(maps.clone(), FakePrograms::default(), config.clone(), &clock);
        Self { maps, clock, config, daemon }
    }

    /// Another daemon takes over what the maps hold; nothing was said to it.
    #[allow(dead_code, reason = "not every test that shares this file restarts")]
    pub(crate) fn restart(&mut self) {
        self.daemon =
            start(self.maps.clone(), FakePrograms::default(), self.config.clone(), &self.clock);
    }

    /// Events arrive.
    pub(crate) fn ingest(&mut self, events: Vec<Event>) {
        self.daemon.state.ingest(events, self.clock.now());
    }

    /// The loop turns, seconds go by and grace periods end, until there is nothing left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS {
            self.daemon.state.turn();
            self.clock.advance(Duration::from_millis(1));
            if self.daemon.graces.take() {
                self.daemon.state.graced(self.clock.now_ms());
            }
            self.clock.advance(Duration::from_secs(2));
            self.daemon.state.tick();
        }
        let services = self.services();
        assert_eq!(*services.layout().image(), self.image(), "the mirror is the kernel");
        if self.runner().is_planned() {
            let differences = services.plan().differences(&self.state().view());
            assert_eq!(differences, Vec::<String>::new(), "the plan is one from scratch");
        }
    }

    /// Lists that the loop asked for since the last call.
    #[allow(dead_code, reason = "not every test that shares this file has a source")]
    pub(crate) fn take_relists(&mut self) -> Vec<Relist> {
        std::iter::from_fn(|| self.daemon.relists.try_recv().ok()).collect()
    }

    /// What the maps hold.
    pub(crate) fn image(&self) -> ServiceImage {
        self.maps.lock().kernel.image.clone()
    }

    /// Operations since the last call.
    pub(crate) fn take_written(&mut self) -> Vec<ServiceOp> {
        std::mem::take(&mut self.maps.lock().ops)
    }

    pub(crate) const fn state(&self) -> &State<agent::Daemon> {
        &self.daemon.state
    }

    fn runner(&self) -> &Runner<Services> {
        self.state().areas().services.as_ref().unwrap()
    }

    pub(crate) fn services(&self) -> &Services {
        self.runner().area()
    }

    /// healthCheckNodePorts that are served.
    #[allow(dead_code, reason = "not every test that shares this file looks at them")]
    pub(crate) fn health_checks(&self) -> Vec<towpath::services::HealthCheck> {
        self.daemon.health_checks.borrow().clone()
    }
}
