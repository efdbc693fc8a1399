//! What the loop's tests are written in: objects in, a kernel in memory that fails on order.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use towpath_image::{
    Applied, Attachments, Batch, Capacities, Counters, FakeKernel, FakePrograms, Kernel,
    KernelError, MapName, Observed, Programs, ServiceImage, ServiceOp, datapath::ServiceCounters,
};
use towpath_model::{Event, Kind, Object, ObjectName, Relist, Store, decode};
use towpath_proxy::{HealthCheck, NEEDS, ProxyConfig, ServicePlan};

use super::{Clock, Effects, Graces, State, Vitals, Wake};
use crate::admin::Metrics;

/// A kernel that the test keeps a hand on.
#[derive(Clone)]
pub(crate) struct SharedKernel {
    maps: Arc<Mutex<FakeKernel<ServiceImage>>>,
    programs: Arc<Mutex<FakePrograms>>,
}

impl SharedKernel {
    pub(crate) fn new(capacities: Capacities) -> Self {
        Self { maps: Arc::new(Mutex::new(FakeKernel::new(capacities))), programs: Arc::default() }
    }

    pub(crate) fn hand(&self) -> MutexGuard<'_, FakeKernel<ServiceImage>> {
        self.maps.lock().unwrap()
    }

    /// Its programs.
    pub(crate) fn programs(&self) -> MutexGuard<'_, FakePrograms> {
        self.programs.lock().unwrap()
    }

    /// The write after the next `successes` fails, once.
    pub(crate) fn fail_after(&self, successes: usize) {
        self.hand().fail_after(successes, system_error());
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
        self.hand().read()
    }
    fn apply(&mut self, batch: &Batch<ServiceOp>) -> Applied {
        self.hand().apply(batch)
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

/// A state over an empty kernel in memory, and the other ends of its channels.
pub(crate) struct Desk {
    pub(crate) kernel: SharedKernel,
    pub(crate) state: State,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) wakes: mpsc::Sender<Wake>,
    pub(crate) inbox: mpsc::Receiver<Wake>,
    pub(crate) relists: mpsc::Receiver<Relist>,
    pub(crate) checks: watch::Receiver<Vec<HealthCheck>>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(Capacities::default())
    }

    pub(crate) fn with(capacities: Capacities) -> Self {
        Self::over(SharedKernel::new(capacities))
    }

    /// A daemon that starts over what another one left in the kernel.
    pub(crate) fn over(kernel: SharedKernel) -> Self {
        let clock = Clock::start();
        let (wakes, inbox) = mpsc::channel(super::QUEUE);
        let (checks, served) = watch::channel(Vec::new());
        let metrics = Arc::new(Metrics::new().unwrap());
        let vitals = Arc::new(Vitals::default());
        let (relists_out, relists) = mpsc::channel(16);
        let effects = Effects {
            relists: relists_out,
            graces: Graces::start(clock, || Ok(()), wakes.clone()).unwrap().0,
            health_checks: checks,
            udp_gone: None,
            metrics: Arc::clone(&metrics),
            vitals: Arc::clone(&vitals),
        };
        let plan = ServicePlan::new(ProxyConfig::default());
        let (door, programs) = (Box::new(kernel.clone()), Box::new(kernel.clone()));
        let state = State::new(clock, Store::new("n0"), plan, door, programs, effects).unwrap();
        Self { kernel, state, metrics, vitals, wakes, inbox, relists, checks: served }
    }

    /// Events, then one turn.
    pub(crate) fn say(&mut self, events: Vec<Event>) {
        self.state.hear(events, Instant::now());
        self.state.turn();
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.metrics.text()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }
}

/// Lists of every stream that Services need, with these objects in them.
pub(crate) fn lists(objects: Vec<Event>) -> Vec<Event> {
    let begin = NEEDS.map(Event::Init);
    let end = NEEDS.map(Event::InitDone);
    begin.into_iter().chain(objects).chain(end).collect()
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
