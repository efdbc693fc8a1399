//! A daemon that starts over what another one left in the kernel, and whose first list lacks most of
//! it: the small API server, the source and the loop itself, over maps in memory.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use towpath::source::{Feed, Health, kube};
use towpath_image::{Capacities, ServiceImage, ServiceOp, datapath::FrontendKind};
use towpath_model::{Event, Kind, Relist};
use towpath_proxy::{NEEDS, ProxyConfig};
use towpath_testbed::api::Api;

use crate::{
    fixture::Fixture,
    support::{LIMIT, QUICK, kubeconfig, settings, small_api},
};

/// Services that the first daemon serves; of those the second one is listed the first few.
const SERVICES: u8 = 60;
const LEFT: u8 = 4;

fn name(number: u8) -> String {
    format!("s-{number:03}")
}

fn service(number: u8) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name(number), "namespace": "default" },
        "spec": { "clusterIP": format!("10.96.0.{number}"),
            "clusterIPs": [format!("10.96.0.{number}")],
            "ports": [{ "port": 80, "protocol": "TCP" }] },
    })
}

/// Last bytes of the clusterIPs that are served.
fn served(image: &ServiceImage) -> BTreeSet<u8> {
    let vips = image.frontends.keys().filter(|key| key.kind() == Some(FrontendKind::Vip));
    let last = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => panic!("{ip}"),
    };
    vips.map(|key| last(key.addr.into())).collect()
}

/// The source of a daemon that runs.
struct Source {
    events: mpsc::Receiver<Vec<Event>>,
    /// The second lists that the loop asks for are asked of the source by the test.
    relists: mpsc::Sender<Relist>,
    _wants: watch::Sender<BTreeSet<towpath_model::Stream>>,
    task: JoinHandle<Result<(), kube::ConnectError>>,
    _dir: tempfile::TempDir,
}

impl Source {
    fn of(server: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(&kubeconfig(server), QUICK, dir.path());
        let (sender, events) = mpsc::channel(64);
        let (relists, inbox) = mpsc::channel(16);
        let (wants, wanted) = watch::channel(BTreeSet::from(NEEDS));
        let run = kube::run(settings, Feed::new(sender), wanted, inbox, Health::default());
        Self { events, relists, _wants: wants, task: tokio::spawn(run), _dir: dir }
    }

    /// Hands the loop what comes, until it is as the test says.
    async fn until(&mut self, daemon: &mut Fixture, what: &str, is: impl Fn(&Fixture) -> bool) {
        let end = Instant::now() + LIMIT;
        while !is(daemon) {
            let events = timeout_at(end, self.events.recv()).await;
            let events = events.unwrap_or_else(|_| panic!("not in time: {what}"));
            daemon.ingest(events.expect("the source goes on"));
            daemon.settle();
        }
    }

    /// The same until this list is there once more.
    async fn until_listed(&mut self, daemon: &mut Fixture, kind: Kind) {
        let end = Instant::now() + LIMIT;
        loop {
            let events = timeout_at(end, self.events.recv()).await.unwrap();
            let events = events.expect("the source goes on");
            let listed = events.contains(&Event::InitDone(kind.into()));
            daemon.ingest(events);
            daemon.settle();
            if listed {
                return;
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Each Service has a frontend and a guard for its other ports.
fn doubts(daemon: &Fixture) -> bool {
    let problems = daemon.state().problems(10);
    let doubted = problems.iter().any(|p| {
        p.to_string().contains("the first list after the start would remove 112 of 120 frontends")
    });
    assert_eq!(doubted, daemon.services().doubts_lists());
    doubted
}

fn planned(daemon: &Fixture) -> bool {
    daemon.state().area_states().iter().all(|area| area.planned)
}

/// Everything is served; then the daemon dies, and while none runs the API server loses most. Answers
/// the next daemon after its first lists, and the list that it asks for again.
async fn started_on_a_half_empty_list() -> (Api, Fixture, Source, Relist) {
    let (api, server) = small_api();
    (1..=SERVICES).for_each(|number| api.put(service(number)).unwrap());
    let mut daemon = Fixture::new(Capacities::default(), ProxyConfig::default());
    let mut source = Source::of(&server);
    source.until(&mut daemon, "everything is planned", planned).await;
    assert_eq!(served(&daemon.image()), (1..=SERVICES).collect());
    drop(source);
    for number in LEFT + 1..=SERVICES {
        api.delete("services", "default", &name(number));
    }
    // One that is new: it harms nothing.
    api.put(service(100)).unwrap();
    daemon.restart();
    let mut source = Source::of(&server);
    source.until(&mut daemon, "the lists are planned", planned).await;
    let mut all: BTreeSet<u8> = (1..=SERVICES).collect();
    all.insert(100);
    assert_eq!(served(&daemon.image()), all, "nothing goes, and what is new comes");
    assert!(doubts(&daemon), "{:?}", daemon.state().problems(10));
    let relists = daemon.take_relists();
    let [relist] = &relists[..] else { panic!("one list is doubted: {relists:?}") };
    assert_eq!(relist.0, Kind::Service.into());
    let relist = relist.clone();
    (api, daemon, source, relist)
}

#[tokio::test]
async fn a_first_list_that_lacks_most_removes_nothing_when_the_second_has_it_again() {
    let (api, mut daemon, mut source, relist) = started_on_a_half_empty_list().await;
    (1..=SERVICES).for_each(|number| api.put(service(number)).unwrap());
    source.relists.send(relist).await.unwrap();
    source.until_listed(&mut daemon, Kind::Service).await;
    source.until(&mut daemon, "the doubt ends", |daemon| !doubts(daemon)).await;
    let mut all: BTreeSet<u8> = (1..=SERVICES).collect();
    all.insert(100);
    assert_eq!(served(&daemon.image()), all);
    let written = daemon.take_written();
    let removes = |op: &ServiceOp| matches!(op, ServiceOp::DeleteFrontend { .. });
    assert!(!written.iter().any(removes), "not at any time");
}

#[tokio::test]
async fn a_first_list_that_lacks_most_is_believed_when_the_second_agrees() {
    let (_api, mut daemon, mut source, relist) = started_on_a_half_empty_list().await;
    source.relists.send(relist).await.unwrap();
    source.until_listed(&mut daemon, Kind::Service).await;
    assert!(!doubts(&daemon));
    let mut left: BTreeSet<u8> = (1..=LEFT).collect();
    left.insert(100);
    assert_eq!(served(&daemon.image()), left, "what is gone is gone at last");
}
