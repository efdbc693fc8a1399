use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use towpath_image::{
    Image as _, Kernel as _, ServiceOp,
    datapath::{BackendRecord, FrontendWord, ServiceRecord},
};
use towpath_model::{Event, Kind};

use super::*;
use crate::{
    agent::Daemon,
    clock::ManualClock,
    metrics::Registry,
    reconcile::{self, Asker, Auditor, Finding, State, Wake, audit},
    services::{
        self, ServiceMetrics,
        fixture::{self, Fixture, SharedKernel, lists, service, slice},
    },
};

/// A loop that runs, and what audits it.
struct Running {
    kernel: SharedKernel,
    registry: Registry,
    metrics: Arc<ServiceMetrics>,
    asker: Asker<Daemon>,
    audit: ServiceAudit,
    clock: ManualClock,
    wakes: mpsc::Sender<Wake<Daemon>>,
    looping: thread::JoinHandle<State<Daemon>>,
}

fn run(fixture: Fixture) -> Running {
    let Fixture { kernel, state, registry, metrics, wakes, inbox, clock, .. } = fixture;
    let asker = Asker::new(wakes.clone());
    let audit = ServiceAudit { asker: asker.area(), read: reader(&kernel) };
    let looping = reconcile::start(state, inbox).unwrap();
    Running { kernel, registry, metrics, asker, audit, clock, wakes, looping }
}

fn reader(kernel: &SharedKernel) -> Reader {
    let mut beside = kernel.clone();
    Box::new(move || beside.read())
}

impl Running {
    fn say(&self, events: Vec<Event>) {
        self.wakes.blocking_send(Wake::Events(events)).unwrap();
    }

    fn audit(&mut self) -> Vec<String> {
        let pause = Duration::from_millis(10);
        audit(&mut self.audit, &self.clock, pause).unwrap().differences
    }
}

/// `number` Services with ten endpoints each.
fn cluster(number: u32) -> Vec<Event> {
    let mut objects = Vec::new();
    for n in 0..number {
        let meta = |name: &str| {
            serde_json::json!({
                "name": name, "namespace": format!("ns-{}", n % 100),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { "kubernetes.io/service-name": format!("svc-{n:05}") },
            })
        };
        let service = serde_json::json!({
            "metadata": meta(&format!("svc-{n:05}")),
            "spec": { "clusterIP": format!("10.110.{}.{}", n / 250, n % 250 + 1),
                      "ports": [{ "name": "http", "port": 80 }] },
        });
        let endpoints: Vec<_> = (0..10)
            .map(|e| {
                let e = n * 10 + e;
                let ip = format!("10.{}.{}.{}", 128 + e / 62_500, e / 250 % 250, e % 250 + 1);
                serde_json::json!({ "addresses": [ip], "nodeName": format!("node-{}", e % 50) })
            })
            .collect();
        let slice = serde_json::json!({
            "metadata": meta(&format!("svc-{n:05}-x")), "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 8080 }], "endpoints": endpoints,
        });
        objects.push(Event::Apply(fixture::object(Kind::Service, &service)));
        objects.push(Event::Apply(fixture::object(Kind::EndpointSlice, &slice)));
    }
    for n in 0..number / 10 {
        let address = format!("172.16.{}.{}", n / 250, n % 250 + 1);
        let node = serde_json::json!({
            "metadata": { "name": format!("node-{n}") },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }] },
        });
        objects.push(Event::Apply(fixture::object(Kind::Node, &node)));
    }
    lists(objects)
}

#[test]
fn what_is_as_it_must_be_has_no_difference_also_while_it_changes() {
    let mut running = run(Fixture::new());
    running.say(cluster(300));
    let stop = Arc::new(AtomicBool::new(false));
    let churn = {
        let (wakes, stop) = (running.wakes.clone(), Arc::clone(&stop));
        thread::spawn(move || {
            let mut turns = 0u8;
            while !stop.load(Ordering::Relaxed) {
                turns = turns.wrapping_add(1);
                let events = vec![service("a", 1), slice("a", &[turns | 1, 3])];
                wakes.blocking_send(Wake::Events(events)).unwrap();
            }
        })
    };
    for _ in 0..20 {
        assert_eq!(running.audit(), Vec::<String>::new());
    }
    stop.store(true, Ordering::Relaxed);
    churn.join().unwrap();
}

#[test]
fn whatever_was_changed_behind_our_back_is_found_and_repaired() {
    let mut running = run(Fixture::new());
    running.say(lists(vec![service("a", 1), slice("a", &[1, 2]), service("b", 2)]));
    assert_eq!(running.audit(), Vec::<String>::new());
    let frontends = running.kernel.maps().image.frontends.len();
    for (damage, said) in DAMAGES {
        let damage = damage(&running.kernel.maps().image);
        running.kernel.maps().image.apply(&damage).unwrap();
        let differences = running.audit();
        assert!(differences.iter().any(|line| line.contains(said)), "{said}: {differences:?}");
        let finding = Finding { area: Services::NAME, at_ms: 1, differences };
        running.wakes.blocking_send(Wake::Audited(finding)).unwrap();
        assert_eq!(running.audit(), Vec::<String>::new(), "after {damage:?}");
        let held = running.kernel.maps().image.frontends.len();
        assert_eq!(held, frontends, "after {damage:?}");
    }
}

/// Something that a stranger may do to the maps, and what the audit says of it.
type Damage = (fn(&ServiceImage) -> ServiceOp, &'static str);

const DAMAGES: [Damage; 6] = [
    (|image| ServiceOp::DeleteFrontend { key: frontend(image).0 }, "FRONTENDS: "),
    (
        |image| {
            let (key, word) = frontend(image);
            ServiceOp::PutFrontend { key, word: FrontendWord(word.0 ^ 1) }
        },
        "FRONTENDS: ",
    ),
    (
        |image| {
            let (key, word) = frontend(image);
            ServiceOp::PutFrontend { key: FrontendKey { port: 9, ..key }, word }
        },
        "should not be there",
    ),
    (
        |image| {
            let (index, record) = record(image);
            ServiceOp::WriteService {
                index,
                record: ServiceRecord { affinity_seconds: 9, ..record },
            }
        },
        "SERVICES: index",
    ),
    (
        |image| {
            let base = record(image).1.sets[0].base();
            ServiceOp::WriteBackends { base, records: vec![BackendRecord::default()] }
        },
        "BACKENDS: the set",
    ),
    (
        |image| ServiceOp::DeleteNodeAddress { addr: *image.node_addresses.keys().next().unwrap() },
        "NODE_ADDRESSES differs",
    ),
];

fn frontend(image: &ServiceImage) -> (FrontendKey, FrontendWord) {
    image.frontends.iter().next().map(|(key, word)| (*key, *word)).unwrap()
}

/// One with backends.
fn record(image: &ServiceImage) -> (u32, ServiceRecord) {
    let mut records = image.services.iter();
    records.find(|(_, r)| r.sets[0].count() > 0).map(|(index, r)| (*index, *r)).unwrap()
}

#[test]
fn the_thread_ends_with_the_loop() {
    let running = run(Fixture::new());
    let auditor = Auditor::new(vec![Box::new(running.audit)], Arc::new(running.clock));
    let asker = running.asker.clone();
    let auditing = auditor.start(move || asker.is_over(), |_finding| ()).unwrap();
    running.wakes.blocking_send(Wake::Stop).unwrap();
    running.looping.join().unwrap();
    let began = Instant::now();
    while !auditing.is_finished() {
        assert!(began.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(20));
    }
}

/// The longest time, in microseconds of the loop's own processor time, that one question took.
fn longest_question(running: &Running, all: &impl Fn(&AreaAsker<Services>)) -> u64 {
    let longest = Arc::new(AtomicU64::new(0));
    let (seen, wakes) = (Arc::clone(&longest), Mutex::new(running.wakes.clone()));
    let asker = AreaAsker::through(move |question| {
        let seen = Arc::clone(&seen);
        let measured = move |state: &State<Daemon>| {
            let runner = state.areas().services.as_ref().unwrap();
            let began = thread_time();
            question(&Asked { view: state.view(), runner, now: state.now() });
            let took = thread_time().saturating_sub(began);
            seen.fetch_max(took.as_micros().try_into().unwrap(), Ordering::Relaxed);
        };
        wakes.lock().unwrap().blocking_send(Wake::Ask(Box::new(measured))).is_ok()
    });
    all(&asker);
    // The last one is answered before it is measured: one more, and it was.
    running.asker.ask(|_| ()).unwrap();
    longest.load(Ordering::Relaxed)
}

/// The least of several: cold caches and neighbours come and go, what the code does stays.
fn least_longest(running: &Running, all: impl Fn(&AreaAsker<Services>)) -> u64 {
    (0..5).map(|_| longest_question(running, &all)).min().unwrap()
}

/// Processor time of this thread: what others do on this machine does not count.
fn thread_time() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::from(now)
}

#[test]
fn nothing_that_is_asked_of_the_largest_cluster_holds_up_a_change() {
    let running = run(Fixture::new());
    running.say(cluster(10_000));
    let name = |services: &crate::api::services::ServicesReply| services.services.len();
    // The first plan of so many may take longer, on a busy machine, than a question waits.
    let began = Instant::now();
    while running.asker.ask(|_| ()).is_none() {
        assert!(began.elapsed() < Duration::from_secs(120), "the first plan never ended");
    }
    let all = services::services(&running.asker.area(), None);
    assert_eq!(all.as_ref().map(name), Some(10_000));
    let audit = least_longest(&running, |asker| {
        let mut audit = ServiceAudit { asker: asker.clone(), read: reader(&running.kernel) };
        let finding = reconcile::audit(&mut audit, &running.clock, Duration::ZERO).unwrap();
        assert_eq!(finding.differences, Vec::<String>::new());
    });
    let gather = least_longest(&running, |asker| {
        services::gather(asker, &running.metrics).unwrap();
    });
    let status = least_longest(&running, |asker| {
        asker.ask(services::maps).unwrap();
    });
    let services = least_longest(&running, |asker| {
        assert_eq!(services::services(asker, Some("svc-09999")).as_ref().map(name), Some(1));
        services::services(asker, None).unwrap();
    });
    let all = [("audit", audit), ("metrics", gather), ("status", status), ("services", services)];
    let whole = longest_question(&running, &|asker| {
        asker.ask(|asked| asked.runner.area().plan.differences(&asked.view)).unwrap();
    });
    println!("longest portions: {all:?} us; the plan alone, in one piece: {whole} us");
    for (what, longest) in all {
        assert!(longest < 2_000, "{what}: {longest} us");
    }
    // What is gathered in portions is what there is: index + 1 for each record (see the fixture).
    let text = String::from_utf8(running.registry.text()).unwrap();
    let sum: u64 = (1..=10_000).sum();
    let wanted = format!("towpath_socket_verdicts{{verdict=\"translated\"}} {sum}\n");
    assert!(text.contains(&wanted), "{text}");
}
