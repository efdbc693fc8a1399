//! The daemon's loop as it is, over a kernel in memory, with the clock in the hands of the simulation.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use towpath::{
    clock::{Clock as _, ManualClock, Millis},
    reconcile::{Area as _, Asked, Finding, Runner},
    services::{self, NEEDS, Services},
};
use towpath_image::{
    Applied, Attachments, Batch, Counters, FakeKernel, FakePrograms, Kernel, KernelError, Observed,
    Programs, ServiceImage, ServiceOp, datapath::ServiceCounters,
};
use towpath_model::{Event, Relist, service::Cidr};
use towpath_proxy::{Hold, Layout, ProxyConfig};

use crate::{
    readers::Readers,
    start::{Started, start},
    world::Random,
};

/// What goes wrong in a turn.
pub(crate) enum Fault {
    None,
    /// The write after so many does not succeed.
    Fails(usize, KernelError),
    /// The daemon is killed after so many writes, and never learns how far it came.
    Dies(usize),
}

/// What unwinds a daemon that is killed.
struct Killed;

/// The maps, as the loop and the simulation share them.
pub(crate) struct Maps {
    pub(crate) fake: FakeKernel<ServiceImage>,
    clock: ManualClock,
    /// Operations until the daemon is killed.
    dies_after: Option<usize>,
    /// A grace period begins at this many operations from now, and programs right after it.
    grace_at: Option<usize>,
    random: Random,
    /// Grace periods that have begun and are not over.
    graces: Vec<Millis>,
    failed: bool,
    readers: Readers,
    batches: Vec<Batch<ServiceOp>>,
    /// Batches are carried out last operation first: what no kernel may do.
    pub(crate) backwards: bool,
}

impl Maps {
    fn carry_out(&mut self, op: &ServiceOp) -> Option<KernelError> {
        if self.dies_after == Some(0) {
            resume_unwind(Box::new(Killed));
        }
        self.dies_after = self.dies_after.map(|left| left - 1);
        // Time goes on with every operation: what is stamped before a write is found out.
        self.clock.advance(Duration::from_millis(1));
        if self.grace_at == Some(0) {
            self.graces.push(self.clock.now_ms());
            self.clock.advance(Duration::from_millis(1));
            for _ in 0..3 {
                let now = self.clock.now_ms();
                self.readers.begin(&self.fake.image, now, &mut self.random);
            }
        }
        self.grace_at = self.grace_at.and_then(|left| left.checked_sub(1));
        self.clock.advance(Duration::from_millis(1));
        let failure = self.fake.apply(&Batch { ops: vec![op.clone()] }).failure;
        self.readers.assert_undisturbed(&self.fake.image);
        failure
    }
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Maps>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Maps> {
        // A daemon that was killed held it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel<ServiceImage> for Shared {
    fn read(&mut self) -> Result<ServiceImage, KernelError> {
        self.lock().fake.read()
    }

    fn apply(&mut self, batch: &Batch<ServiceOp>) -> Applied {
        let mut maps = self.lock();
        maps.batches.push(batch.clone());
        let mut ops = batch.ops.clone();
        if maps.backwards {
            ops.reverse();
        }
        for (done, op) in ops.iter().enumerate() {
            if let Some(failure) = maps.carry_out(op) {
                maps.failed = true;
                return Applied { done, failure: Some(failure) };
            }
        }
        Applied { done: ops.len(), failure: None }
    }
}

impl Observed for Shared {
    fn service_counters(&self, _index: u32) -> ServiceCounters {
        ServiceCounters::default()
    }
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// The programs, which outlive a daemon.
#[derive(Clone)]
struct SharedPrograms(Arc<Mutex<FakePrograms>>);

impl SharedPrograms {
    fn lock(&self) -> MutexGuard<'_, FakePrograms> {
        self.0.lock().unwrap()
    }
}

impl Programs for SharedPrograms {
    fn bind(&mut self, cluster: u64) -> Result<(), KernelError> {
        self.lock().bind(cluster)
    }
    fn heal(&mut self) -> Result<Vec<String>, KernelError> {
        self.lock().heal()
    }
    fn attach(&mut self, wanted: &Attachments) -> Applied {
        self.lock().attach(wanted)
    }
}

pub(crate) struct Daemon {
    maps: Shared,
    programs: SharedPrograms,
    clock: ManualClock,
    started: Started,
}

impl Daemon {
    pub(crate) fn new(fake: FakeKernel<ServiceImage>) -> Self {
        let clock = ManualClock::default();
        let maps = Maps {
            fake,
            clock: clock.clone(),
            dies_after: None,
            grace_at: None,
            random: Random::new(0),
            graces: Vec::new(),
            failed: false,
            readers: Readers::default(),
            batches: Vec::new(),
            backwards: false,
        };
        let mut programs = FakePrograms::default();
        programs.attach(&services::attachments());
        let programs = SharedPrograms(Arc::new(Mutex::new(programs)));
        Self::over(Shared(Arc::new(Mutex::new(maps))), programs, clock)
    }

    /// A daemon that starts over what the maps hold.
    fn over(maps: Shared, programs: SharedPrograms, clock: ManualClock) -> Self {
        let config = ProxyConfig {
            external_ips: vec![Cidr::parse("2.2.2.0/24").unwrap()],
            ..ProxyConfig::default()
        };
        let started = start(maps.clone(), programs.clone(), config, &clock);
        Self { maps, programs, clock, started }
    }

    pub(crate) fn maps(&self) -> MutexGuard<'_, Maps> {
        self.maps.lock()
    }

    /// Every batch so far.
    pub(crate) fn take_batches(&self) -> Vec<Batch<ServiceOp>> {
        std::mem::take(&mut self.maps().batches)
    }

    pub(crate) fn image(&self) -> ServiceImage {
        self.maps().fake.image.clone()
    }

    /// States since they were last asked for.
    pub(crate) fn history(&self) -> Vec<ServiceImage> {
        self.maps().fake.history.replace(Vec::new()).unwrap_or_default()
    }

    fn runner(&self) -> &Runner<Services> {
        self.started.state.areas().services.as_ref().unwrap()
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.runner().area().layout()
    }

    pub(crate) fn synced(&self) -> bool {
        self.started.state.view().synced(&NEEDS).is_some()
    }

    /// Everything that was received is planned, and nothing waits to be written.
    pub(crate) fn is_settled(&self) -> bool {
        self.runner().is_settled() && !self.runner().is_pending()
    }

    /// Entries that were found at the start are kept although no object claims them.
    pub(crate) fn holds(&self) -> bool {
        *self.layout().hold() != Hold::default()
    }

    pub(crate) fn doubts_lists(&self) -> bool {
        self.runner().area().doubts_lists()
    }

    /// Takes an event in.
    pub(crate) fn ingest(&mut self, event: Event) {
        self.started.state.ingest(vec![event], self.clock.now());
    }

    /// A list that was asked for since the last call.
    pub(crate) fn relist(&mut self) -> Option<Relist> {
        self.started.relists.try_recv().ok()
    }

    /// One turn of the loop. Answers whether the fault struck. A daemon that died must be restarted.
    pub(crate) fn turn(&mut self, fault: Fault) -> bool {
        self.clock.advance(Duration::from_millis(7));
        {
            let mut maps = self.maps.lock();
            (maps.failed, maps.dies_after) = (false, None);
            match fault {
                Fault::None => {}
                Fault::Fails(after, failure) => maps.fake.fail_after(after, failure),
                Fault::Dies(after) => maps.dies_after = Some(after),
            }
        }
        let state = &mut self.started.state;
        let ended = catch_unwind(AssertUnwindSafe(|| state.turn()));
        let mut maps = self.maps.lock();
        (maps.fake.fail_after, maps.fake.failure, maps.dies_after) = (None, None, None);
        let failed = maps.failed;
        match ended {
            Ok(()) => {}
            Err(panic) if panic.is::<Killed>() => return true,
            Err(panic) => {
                drop(maps);
                resume_unwind(panic);
            }
        }
        if self.started.graces.take() && maps.graces.len() < 3 {
            let now = self.clock.now_ms();
            maps.graces.push(now);
        }
        drop(maps);
        assert_eq!(*self.layout().image(), self.image(), "the mirror is the kernel");
        failed
    }

    /// A grace period begins with one of the next operations, and then programs that it does not wait for.
    pub(crate) fn begin_grace(&self, random: &mut Random) {
        let mut maps = self.maps();
        maps.grace_at = Some(random.below(6));
        maps.random = Random::new(random.below(1 << 30) as u64);
    }

    /// A program reads a set word now and the backends later.
    pub(crate) fn begin_reader(&self, random: &mut Random) {
        let now = self.clock.now_ms();
        let mut maps = self.maps();
        let Maps { fake, readers, .. } = &mut *maps;
        readers.begin(&fake.image, now, random);
    }

    /// Some grace period ends, perhaps a late one.
    pub(crate) fn late_grace(&mut self, random: &mut Random) {
        let began = {
            let mut maps = self.maps();
            if maps.graces.is_empty() {
                return;
            }
            let at = random.below(maps.graces.len());
            let began = maps.graces.remove(at);
            // It is over when every program that ran at its beginning has ended.
            maps.readers.end_those_before(began);
            began
        };
        self.started.state.graced(began);
    }

    /// Time goes by.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
        self.started.state.tick();
    }

    /// A program is detached from outside.
    pub(crate) fn detach(&self, random: &mut Random) {
        let mut programs = self.programs.lock();
        let all: Vec<_> = services::attachments().into_iter().collect();
        assert!(programs.detach(&all[random.below(all.len())]), "it was in force");
    }

    /// Every program is in force.
    pub(crate) fn is_attached(&self) -> bool {
        self.programs.lock().attached == services::attachments()
    }

    /// Time goes by and every grace period ends.
    pub(crate) fn rest(&mut self) {
        self.clock.advance(Duration::from_millis(1));
        let began = self.clock.now_ms();
        {
            let mut maps = self.maps();
            maps.graces.clear();
            maps.readers = Readers::default();
        }
        self.started.state.graced(began);
        self.pass(1_500);
    }

    /// What differs between the maps and what should be in them, as an audit sees it.
    pub(crate) fn differences(&self) -> Vec<String> {
        let (view, now) = (self.started.state.view(), self.clock.now());
        services::differences(&Asked { view, runner: self.runner(), now }, &self.image())
    }

    /// An audit finds these differences.
    pub(crate) fn audited(&mut self, differences: Vec<String>) {
        let at_ms = self.clock.now_ms();
        self.started.state.audited(Finding { area: Services::NAME, at_ms, differences });
    }

    /// What differs between the plan and one from scratch.
    pub(crate) fn plan_differences(&self) -> Vec<String> {
        self.runner().area().plan().differences(&self.started.state.view())
    }

    /// Another daemon takes over what the kernel holds. Programs that run go on.
    pub(crate) fn restart(&mut self) {
        self.maps().graces.clear();
        *self = Self::over(self.maps.clone(), self.programs.clone(), self.clock.clone());
    }
}
