//! What the tests of Services in the loop are written in: objects in, a kernel in memory that fails
//! on order, a clock that is moved by hand.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use towpath_image::{
    Applied, Attachment, Attachments, Batch, Capacities, Counters, FakeKernel, FakePrograms,
    Kernel, KernelError, MapName, Observed, Programs, ServiceImage, ServiceOp,
    datapath::ServiceCounters,
};
use towpath_model::{Event, Kind, Object, ObjectName, Relist, Store, Stream, decode};
use towpath_proxy::{HealthCheck, ProxyConfig};

use super::{NEEDS, ServiceMetrics, ServiceOutputs, Services};
use crate::{
    agent::Daemon,
    clock::{Clock as _, ManualClock},
    metrics::Registry,
    reconcile::{
        Area as _, Areas, Asked, Finding, GraceRequests, Graces, Has, LoopMetrics, Outputs, QUEUE,
        Runner, State, Wake,
    },
    vitals::Vitals,
};

/// Maps and programs that the test and the loop share.
#[derive(Clone, Default)]
pub(crate) struct SharedKernel {
    maps: Arc<Mutex<FakeKernel<ServiceImage>>>,
    programs: Arc<Mutex<FakePrograms>>,
}

impl SharedKernel {
    pub(crate) fn new(capacities: Capacities) -> Self {
        let programs = Arc::new(Mutex::new(FakePrograms::default()));
        programs.lock().unwrap().attach(&Attachment::of_sockets());
        Self { maps: Arc::new(Mutex::new(FakeKernel::new(capacities))), programs }
    }

    pub(crate) fn maps(&self) -> MutexGuard<'_, FakeKernel<ServiceImage>> {
        self.maps.lock().unwrap()
    }

    pub(crate) fn programs(&self) -> MutexGuard<'_, FakePrograms> {
        self.programs.lock().unwrap()
    }

    /// The write after the next `successes` fails, once.
    pub(crate) fn fail_after(&self, successes: usize) {
        self.maps().fail_after(successes, system_error());
    }
}

/// What a refused system call looks like.
pub(crate) fn system_error() -> KernelError {
    KernelError::System {
        map: MapName::FRONTENDS,
        what: "writing".to_owned(),
        cause: "no memory".to_owned(),
    }
}

impl Kernel<ServiceImage> for SharedKernel {
    fn read(&mut self) -> Result<ServiceImage, KernelError> {
        self.maps().read()
    }
    fn apply(&mut self, batch: &Batch<ServiceOp>) -> Applied {
        self.maps().apply(batch)
    }
}

impl Programs for SharedKernel {
    fn bind(&mut self, cluster: u64) -> Result<(), KernelError> {
        self.programs().bind(cluster)
    }
    fn heal(&mut self) -> Result<Vec<String>, KernelError> {
        self.programs().heal()
    }
    fn attach(&mut self, wanted: &Attachments) -> Applied {
        self.programs().attach(wanted)
    }
}

impl Observed for SharedKernel {
    fn service_counters(&self, index: u32) -> ServiceCounters {
        ServiceCounters { translated: u64::from(index) + 1, ..ServiceCounters::default() }
    }
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// A daemon's loop over an empty kernel in memory, and the other ends of its channels.
pub(crate) struct Fixture<A = Daemon> {
    pub(crate) kernel: SharedKernel,
    pub(crate) clock: ManualClock,
    pub(crate) state: State<A>,
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<ServiceMetrics>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) wakes: mpsc::Sender<Wake<A>>,
    pub(crate) inbox: mpsc::Receiver<Wake<A>>,
    pub(crate) relists: mpsc::Receiver<Relist>,
    pub(crate) wants: watch::Receiver<BTreeSet<Stream>>,
    pub(crate) graces: GraceRequests,
    pub(crate) checks: watch::Receiver<Vec<HealthCheck>>,
    pub(crate) udp_gone: std::sync::mpsc::Receiver<()>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Capacities::default())
    }

    pub(crate) fn with(capacities: Capacities) -> Self {
        Self::over(SharedKernel::new(capacities))
    }

    /// A daemon that starts over what another one left in the kernel.
    pub(crate) fn over(kernel: SharedKernel) -> Self {
        Self::with_relists(kernel, 16)
    }

    /// The same, with a source that takes so many requests for lists at a time.
    pub(crate) fn with_relists(kernel: SharedKernel, most: usize) -> Self {
        Self::with_areas(kernel, most, |services| Daemon {
            policy: None,
            packets: None,
            services: Some(services),
            dns: None,
            ingress: None,
        })
    }
}

impl<A: Areas + Has<Services>> Fixture<A> {
    /// The same, with other areas beside Services.
    pub(crate) fn with_areas(
        kernel: SharedKernel,
        most: usize,
        areas: impl FnOnce(Runner<Services>) -> A,
    ) -> Self {
        let clock = ManualClock::default();
        let registry = Registry::new();
        let (wakes, inbox) = mpsc::channel(QUEUE);
        let (checks_out, checks) = watch::channel(Vec::new());
        let (relists_out, relists) = mpsc::channel(most);
        let (sweeper, udp_gone) = std::sync::mpsc::sync_channel(1);
        let (graces_out, graces) = Graces::channel();
        let metrics = Arc::new(ServiceMetrics::new(&registry).unwrap());
        let vitals = Arc::new(Vitals::default());
        let outputs = ServiceOutputs {
            health_checks: checks_out,
            udp_gone: Some(sweeper),
            metrics: Arc::clone(&metrics),
            vitals: Arc::clone(&vitals),
        };
        let maps = Box::new(kernel.clone());
        let services = Services::new(ProxyConfig::default(), maps, outputs, &clock).unwrap();
        let areas = areas(Runner::new(services));
        let (streams, wants) = watch::channel(areas.streams());
        let outputs = Outputs {
            relists: relists_out,
            streams,
            graces: graces_out,
            metrics: Arc::new(LoopMetrics::new(&registry).unwrap()),
            vitals: Arc::clone(&vitals),
        };
        let programs = Box::new(kernel.clone());
        let state = State::new(Arc::new(clock.clone()), Store::new("n0"), areas, programs, outputs);
        Self {
            kernel,
            clock,
            state,
            registry,
            metrics,
            vitals,
            wakes,
            inbox,
            relists,
            wants,
            graces,
            checks,
            udp_gone,
        }
    }

    /// Events, then one turn.
    pub(crate) fn say(&mut self, events: Vec<Event>) {
        self.state.ingest(events, self.clock.now());
        self.state.turn();
    }

    /// Time goes by; the loop ticks every second, grace periods end.
    pub(crate) fn pass(&mut self, time: Duration) {
        let step = Duration::from_millis(100);
        for number in 0..time.as_millis().div_ceil(step.as_millis()) {
            self.clock.advance(step);
            if self.graces.take() {
                let began = self.clock.now_ms();
                self.clock.advance(Duration::from_millis(10));
                self.state.graced(began);
            }
            if number % 10 == 0 {
                self.state.tick();
            }
            self.state.turn();
        }
    }

    /// The area.
    pub(crate) fn services(&self) -> &Services {
        self.runner().area()
    }

    pub(crate) fn runner(&self) -> &Runner<Services> {
        self.state.areas().runner().unwrap()
    }

    /// What a question to the area looks at.
    pub(crate) fn asked(&self) -> Asked<'_, Services> {
        Asked { view: self.state.view(), runner: self.runner(), now: self.clock.now() }
    }

    /// An audit found this.
    pub(crate) fn audited(&mut self, differences: Vec<String>) {
        let at_ms = self.clock.now_ms();
        self.state.audited(Finding { area: Services::NAME, at_ms, differences });
    }

    /// Everything that is wrong, a line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.state.problems(100).iter().map(ToString::to_string).collect()
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.registry.text()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }
}

/// Lists of everything that Services need, with these objects in them.
pub(crate) fn lists(objects: Vec<Event>) -> Vec<Event> {
    let begin = NEEDS.map(Event::Init);
    let end = NEEDS.map(Event::InitDone);
    begin.into_iter().chain(objects).chain(end).collect()
}

/// One kind's list.
pub(crate) fn list(kind: Kind, objects: Vec<Event>) -> Vec<Event> {
    let stream = Stream::all(kind);
    [vec![Event::Init(stream.clone())], objects, vec![Event::InitDone(stream)]].concat()
}

pub(crate) fn object(kind: Kind, value: &Value) -> Object {
    decode(kind, value.to_string().as_bytes()).unwrap()
}

/// Service d/NAME at 10.96.0.`last`, TCP port 80 and UDP port 53.
pub(crate) fn service(name: &str, last: u8) -> Event {
    Event::Apply(object(
        Kind::Service,
        &json!({
            "metadata": { "name": name, "namespace": "d" },
            "spec": { "type": "ClusterIP", "clusterIPs": [format!("10.96.0.{last}")], "ports": [
                { "name": "t", "protocol": "TCP", "port": 80 },
                { "name": "u", "protocol": "UDP", "port": 53 },
            ]},
        }),
    ))
}

/// Its only slice: ready endpoints 10.0.0.`last`, TCP 8080 and UDP 5353.
pub(crate) fn slice(service: &str, endpoints: &[u8]) -> Event {
    slice_with(service, endpoints, &json!({}))
}

/// The same with annotations.
pub(crate) fn slice_with(service: &str, endpoints: &[u8], annotations: &Value) -> Event {
    let endpoints: Vec<Value> =
        endpoints.iter().map(|last| json!({ "addresses": [format!("10.0.0.{last}")] })).collect();
    Event::Apply(object(
        Kind::EndpointSlice,
        &json!({
            "metadata": {
                "name": service, "namespace": "d", "annotations": annotations,
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{ "name": "t", "protocol": "TCP", "port": 8080 },
                      { "name": "u", "protocol": "UDP", "port": 5353 }],
        }),
    ))
}

/// One endpoint that is terminating, and serving or not.
pub(crate) fn slice_conditions(service: &str, last: u8, serving: bool) -> Event {
    Event::Apply(object(
        Kind::EndpointSlice,
        &json!({
            "metadata": {
                "name": service, "namespace": "d",
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4",
            "endpoints": [{
                "addresses": [format!("10.0.0.{last}")],
                "conditions": { "ready": false, "serving": serving, "terminating": true },
            }],
            "ports": [{ "name": "u", "protocol": "UDP", "port": 5353 }],
        }),
    ))
}

/// d/NAME.
pub(crate) fn name(name: &str) -> ObjectName {
    ObjectName::new("d", name)
}
