//! `status.loadBalancer` of Ingresses over the small API server: two daemons, of which one leads.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use towpath::{
    config::IngressConfig,
    metrics::Registry,
    report::{Board, Pace, ReportMetrics, Reporter},
    source::{Feed, Health, kube},
};
use towpath_model::{Event, ObjectName, Store};
use towpath_route::{NEEDS, RoutePlan, Settings};
use towpath_testbed::api::{Api, Write};

use crate::support::{LIMIT, QUICK, kubeconfig, settings, small_api};

/// Everything of the real one, faster. A machine that is busy for three seconds changes the leader, which
/// no test minds.
const PACE: Pace = Pace {
    lease: Duration::from_secs(4),
    deadline: Duration::from_secs(3),
    retry: Duration::from_millis(100),
    write: Duration::from_millis(1),
    look: Duration::from_millis(50),
    settle: Duration::from_millis(200),
    hold: Duration::from_millis(600),
};

/// One daemon: what watches, and what writes.
struct Daemon {
    node: &'static str,
    health: Health,
    drain: watch::Sender<bool>,
    closed: oneshot::Receiver<()>,
    tasks: JoinSet<()>,
    _dir: tempfile::TempDir,
}

impl Daemon {
    fn start(node: &'static str, server: &str, config: &IngressConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(&kubeconfig(server), QUICK, dir.path());
        settings.node_name = node.to_owned();
        let (board, health) = (Arc::<Board>::default(), Health::default());
        let mut tasks = JoinSet::new();
        let watching = watches(settings.clone(), health.clone(), Arc::clone(&board));
        tasks.spawn(watching);
        let metrics = Arc::new(ReportMetrics::new(&Registry::new()).unwrap());
        let reporter = Reporter::new(settings, config, PACE, board, (health.clone(), metrics));
        let (drain, draining) = watch::channel(false);
        let (closing, closed) = oneshot::channel();
        let _reporting: AbortHandle = tasks.spawn(reporter.run(draining, closing));
        Self { node, health, drain, closed, tasks, _dir: dir }
    }

    /// As by SIGTERM.
    async fn stop(self) {
        self.drain.send_replace(true);
        tokio::time::timeout(LIMIT, self.closed).await.unwrap().unwrap();
    }

    /// As by SIGKILL.
    async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    fn notes(&self) -> String {
        self.health.notes().iter().map(|note| note.coded() + "\n").collect()
    }
}

/// The source and the plan of routes, which notes on the board as the area does.
async fn watches(settings: kube::KubeSettings, health: Health, board: Arc<Board>) {
    let (sender, mut events) = mpsc::channel::<Vec<Event>>(64);
    let (_relists, inbox) = mpsc::channel(16);
    let (_wants, wanted) = watch::channel(BTreeSet::from(NEEDS));
    let mut store = Store::new(&settings.node_name);
    let source = tokio::spawn(kube::run(settings, Feed::new(sender), wanted, inbox, health));
    let _ends_with_this = AbortOnDrop(source.abort_handle());
    let (mut plan, mut planned) = (RoutePlan::new(Settings::default()), false);
    while let Some(events) = events.recv().await {
        for event in events {
            let _relist = store.feed(event);
        }
        let (view, changes) = store.commit();
        if view.synced(&NEEDS).is_none() {
            continue;
        }
        let since = planned.then_some(&changes);
        let update = plan.update(&view, since);
        board.note(&view, since, &update.touched, &update.gone);
        planned = true;
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn config() -> IngressConfig {
    IngressConfig {
        http: vec!["0.0.0.0:80".parse().unwrap()],
        https: Vec::new(),
        usual: true,
        controllers: BTreeSet::new(),
        class_annotations: BTreeSet::new(),
        without_class: false,
        ssl_redirect: true,
        default_certificate: None,
        publish_service: None,
        pods: None,
        lease: "front".to_owned(),
    }
}

/// Two nodes, the class `towpath`, and two daemons.
struct Cluster {
    api: Api,
    server: String,
    config: IngressConfig,
    daemons: Vec<Daemon>,
}

const NODES: [&str; 2] = ["10.1.0.1", "10.1.0.2"];

impl Cluster {
    fn with(config: IngressConfig, objects: &[Value]) -> Self {
        let (api, server) = small_api();
        for (name, ip) in ["a", "b"].into_iter().zip(NODES) {
            let addresses = [json!({ "type": "InternalIP", "address": ip })];
            let ready = [json!({ "type": "Ready", "status": "True" })];
            api.put(json!({ "kind": "Node", "metadata": { "name": name },
                "status": { "addresses": addresses, "conditions": ready } }))
                .unwrap();
        }
        api.put(json!({ "kind": "IngressClass", "metadata": { "name": "towpath" },
            "spec": { "controller": "towpath.io/ingress" } }))
            .unwrap();
        for object in objects {
            api.put(object.clone()).unwrap();
        }
        let daemons =
            ["a", "b"].map(|node| Daemon::start(node, &server, &config)).into_iter().collect();
        Self { api, server, config, daemons }
    }

    fn new(objects: &[Value]) -> Self {
        Self::with(config(), objects)
    }

    fn put(&self, name: &str, class: &str) {
        self.api.put(ingress(name, class)).unwrap();
    }

    /// What an Ingress shows.
    fn shown(&self, name: &str) -> Vec<String> {
        let object = self.api.get("ingresses", "shop", name).unwrap();
        let entries = object["status"]["loadBalancer"]["ingress"].as_array().cloned();
        let word = |entry: &Value| {
            let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            field("ip") + &field("hostname")
        };
        entries.iter().flatten().map(word).collect()
    }

    fn lease(&self) -> Value {
        self.api.get("leases", "default", "front").unwrap_or_default()
    }

    /// Whose Lease it is.
    fn holder(&self) -> String {
        let holder = self.lease()["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
        holder.split('_').next().unwrap_or_default().to_owned()
    }

    /// The writes of statuses that were taken.
    fn written(&self) -> Vec<Write> {
        let writes = self.api.writes().into_iter();
        writes.filter(|write| write.path.ends_with("/status") && write.status == 200).collect()
    }

    /// Names of the Ingresses that were written, in order.
    fn names_written(&self) -> String {
        let name = |write: &Write| write.path.split('/').nth_back(1).unwrap().to_owned() + " ";
        self.written().iter().map(name).collect()
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !is(self) {
            let notes: String = self.daemons.iter().map(Daemon::notes).collect();
            assert!(Instant::now() < end, "not in time: {what}; {notes} {:?}", self.written());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_shown(&self, name: &str, ips: &[&str]) {
        let what = format!("{name} shows {ips:?}");
        self.until(&what, |cluster| cluster.shown(name) == ips).await;
    }

    /// Nothing was ever written that is not true of both nodes.
    fn nothing_flapped(&self) {
        for write in self.written() {
            let entries = NODES.map(|ip| json!({ "ip": ip }));
            assert_eq!(write.body["status"]["loadBalancer"]["ingress"], json!(entries));
        }
    }
}

fn ingress(name: &str, class: &str) -> Value {
    let backend = json!({ "service": { "name": "s", "port": { "number": 80 } } });
    let paths = [json!({ "path": "/", "pathType": "Prefix", "backend": backend })];
    let rules = [json!({ "host": format!("{name}.example"), "http": { "paths": paths } })];
    json!({ "kind": "Ingress",
        "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-{name}") },
        "spec": { "ingressClassName": class, "rules": rules } })
}

#[tokio::test]
async fn one_daemon_publishes_the_ready_nodes_once_and_nothing_of_another_class() {
    let mut other = ingress("a-other", "nginx");
    other["status"]["loadBalancer"]["ingress"] = json!([{ "hostname": "front.example" }]);
    let cluster = Cluster::new(&[ingress("one", "towpath"), other, ingress("b-none", "nginx")]);
    cluster.until_shown("one", &NODES).await;
    let written = cluster.written();
    assert_eq!(written[0].method, "PATCH");
    assert_eq!(written[0].query, "fieldManager=towpath");
    assert!(written[0].body["metadata"]["resourceVersion"].is_string(), "{written:?}");
    // A change of what nothing here reads is a new version, and no write.
    let mut noted = ingress("one", "towpath");
    noted["metadata"]["annotations"] = json!({ "someone.example/note": "x" });
    cluster.api.put(noted).unwrap();
    cluster.put("two", "towpath");
    cluster.until_shown("two", &NODES).await;
    assert_eq!(cluster.names_written(), "one two ");
    assert_eq!(cluster.shown("a-other"), ["front.example"]);
    assert!(cluster.shown("b-none").is_empty());
    let lease = cluster.lease();
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 4);
    assert!(["a", "b"].contains(&&*cluster.holder()), "{lease}");
    // What is gone is not written; what comes again is.
    cluster.api.delete("ingresses", "shop", "one");
    cluster.put("three", "towpath");
    cluster.until_shown("three", &NODES).await;
    assert_eq!(cluster.names_written(), "one two three ");
}

#[tokio::test]
async fn the_other_one_takes_over_when_the_leader_is_killed_and_no_status_moves() {
    let mut cluster = Cluster::new(&[ingress("one", "towpath")]);
    cluster.until_shown("one", &NODES).await;
    let holder = cluster.holder();
    let at = cluster.daemons.iter().position(|daemon| daemon.node == holder).unwrap();
    cluster.daemons.remove(at).kill().await;
    assert_eq!(cluster.holder(), holder, "the Lease is still its own");
    cluster.put("two", "towpath");
    cluster.until_shown("two", &NODES).await;
    assert_eq!(cluster.names_written(), "one two ");
    assert_ne!(cluster.holder(), holder);
    assert!(cluster.lease()["spec"]["leaseTransitions"].as_u64() >= Some(1));
    cluster.nothing_flapped();
}

#[tokio::test]
async fn a_leader_that_ends_lets_go_of_the_lease_and_clears_nothing() {
    let mut cluster = Cluster::new(&[ingress("one", "towpath")]);
    cluster.until_shown("one", &NODES).await;
    let holder = cluster.holder();
    let at = cluster.daemons.iter().position(|daemon| daemon.node == holder).unwrap();
    cluster.daemons.remove(at).stop().await;
    assert_ne!(cluster.holder(), holder, "it was released, and perhaps taken already");
    cluster.put("two", "towpath");
    cluster.until_shown("two", &NODES).await;
    // The last one goes: what is published stays, as external-dns and people rely on.
    cluster.daemons.remove(0).stop().await;
    assert_eq!(cluster.holder(), "");
    assert_eq!(
        (cluster.shown("one"), cluster.shown("two")),
        (NODES.map(Into::into).into(), NODES.map(Into::into).into())
    );
    cluster.nothing_flapped();
    // The next daemon finds nothing to write.
    cluster.daemons.push(Daemon::start("a", &cluster.server, &cluster.config));
    cluster.put("three", "towpath");
    cluster.until_shown("three", &NODES).await;
    assert_eq!(cluster.names_written(), "one two three ");
}

#[tokio::test]
async fn conflicts_and_an_api_server_that_is_away_only_delay() {
    let cluster = Cluster::new(&[ingress("one", "towpath")]);
    cluster.until_shown("one", &NODES).await;
    cluster.api.faults().conflicts(u64::MAX);
    cluster.put("two", "towpath");
    let conflict = |write: &Write| write.status == 409 && write.path.ends_with("/status");
    cluster.until("a conflict", |cluster| cluster.api.writes().iter().any(conflict)).await;
    cluster.api.faults().conflicts(0);
    cluster.until_shown("two", &NODES).await;
    cluster.api.faults().away(true);
    cluster.put("three", "towpath");
    cluster.api.delete("ingresses", "shop", "two");
    // Longer than a term lasts without renewal.
    tokio::time::sleep(PACE.deadline + PACE.retry).await;
    cluster.api.faults().away(false);
    cluster.until_shown("three", &NODES).await;
    assert_eq!(cluster.names_written(), "one two three ");
    cluster.nothing_flapped();
}

#[tokio::test]
async fn a_right_that_is_missing_is_a_problem_that_says_which() {
    let cluster = Cluster::new(&[]);
    let faults = cluster.api.faults();
    faults.refuse("ingresses/status", Some(StatusCode::FORBIDDEN));
    cluster.put("one", "towpath");
    let noted = |text: &'static str| {
        move |cluster: &Cluster| cluster.daemons.iter().any(|daemon| daemon.notes().contains(text))
    };
    cluster.until("a problem", noted("patch ingresses/status")).await;
    assert!(noted("TP8011")(&cluster) && cluster.shown("one").is_empty());
    faults.refuse("ingresses/status", None);
    cluster.until_shown("one", &NODES).await;
    cluster.until("no problem", |cluster| !noted("TP8011")(cluster)).await;
    faults.refuse("leases", Some(StatusCode::FORBIDDEN));
    cluster.until("leases", noted("get and update front")).await;
    faults.refuse("leases", None);
    cluster.until("no problem", |cluster| !noted("TP8011")(cluster)).await;
    cluster.put("two", "towpath");
    cluster.until_shown("two", &NODES).await;
    cluster.nothing_flapped();
}

#[tokio::test]
async fn an_ingress_that_is_given_to_another_class_loses_what_was_published() {
    let cluster = Cluster::new(&[ingress("one", "towpath"), ingress("two", "towpath")]);
    cluster.until_shown("one", &NODES).await;
    cluster.until_shown("two", &NODES).await;
    cluster.put("one", "nginx");
    cluster.until_shown("one", &[]).await;
    // Its new controller may run on the same nodes.
    let mut theirs = ingress("one", "nginx");
    theirs["status"]["loadBalancer"]["ingress"] = json!(NODES.map(|ip| json!({ "ip": ip })));
    cluster.api.put(theirs).unwrap();
    // The class of the other one goes away and comes back: nothing is lost.
    cluster.api.delete("ingressclasses", "", "towpath");
    cluster.put("three", "towpath");
    let class = json!({ "kind": "IngressClass", "metadata": { "name": "towpath" },
        "spec": { "controller": "towpath.io/ingress" } });
    cluster.api.put(class).unwrap();
    cluster.until_shown("three", &NODES).await;
    assert_eq!(
        (cluster.shown("one"), cluster.shown("two")),
        (NODES.map(Into::into).into(), NODES.map(Into::into).into())
    );
    let written = cluster.written();
    let back: Vec<_> = written
        .iter()
        .filter(|write| write.body["status"]["loadBalancer"]["ingress"].is_null())
        .map(|write| &*write.path)
        .collect();
    assert_eq!(back, ["/apis/networking.k8s.io/v1/namespaces/shop/ingresses/one/status"]);
    assert_eq!(written.len(), 4, "{written:?}");
}

#[tokio::test]
async fn the_addresses_of_a_service_are_published_where_one_is_named() {
    let name = Some(ObjectName::new("kube-system", "front"));
    let config = IngressConfig { publish_service: name, ..config() };
    let cluster = Cluster::with(config, &[ingress("one", "towpath")]);
    let missing = |cluster: &Cluster| cluster.daemons.iter().any(|d| d.notes().contains("TP8012"));
    cluster.until("no Service", missing).await;
    assert!(cluster.shown("one").is_empty());
    let front = |entries: Value| {
        json!({ "kind": "Service", "metadata": { "name": "front", "namespace": "kube-system" },
            "spec": { "type": "LoadBalancer" }, "status": { "loadBalancer": { "ingress": entries } } })
    };
    let entries = json!([{ "hostname": "lb.example" }, { "ip": "192.0.2.9" }]);
    cluster.api.put(front(entries)).unwrap();
    cluster.until_shown("one", &["192.0.2.9", "lb.example"]).await;
    cluster.until("a Service", |cluster| !missing(cluster)).await;
    // It loses its addresses: that is no reason to take every name out of DNS.
    cluster.api.put(front(json!([]))).unwrap();
    cluster.until("no address", missing).await;
    assert_eq!(cluster.shown("one"), ["192.0.2.9", "lb.example"]);
    cluster.api.put(front(json!([{ "ip": "192.0.2.10" }]))).unwrap();
    cluster.until_shown("one", &["192.0.2.10"]).await;
}

#[tokio::test]
async fn the_nodes_of_ready_pods_are_published_where_pods_are_named() {
    let pod = |node: &str, ready: &str| {
        json!({ "kind": "Pod",
            "metadata": { "name": format!("towpath-{node}"), "namespace": "default", "labels": { "app": "towpath" } },
            "spec": { "nodeName": node },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] } })
    };
    let config = IngressConfig { pods: Some("app=towpath".to_owned()), ..config() };
    let mut stranger = pod("b", "True");
    stranger["metadata"] = json!({ "name": "x", "namespace": "default", "labels": { "app": "x" } });
    let objects = [pod("a", "True"), pod("b", "False"), stranger, ingress("one", "towpath")];
    let cluster = Cluster::with(config, &objects);
    cluster.until_shown("one", &NODES[..1]).await;
    cluster.api.put(pod("b", "True")).unwrap();
    cluster.until_shown("one", &NODES).await;
    // A daemon that restarts takes nothing away; one that stays away does.
    cluster.api.delete("pods", "default", "towpath-a");
    cluster.put("two", "towpath");
    cluster.until_shown("two", &NODES).await;
    cluster.api.put(pod("a", "False")).unwrap();
    cluster.until_shown("one", &NODES[1..]).await;
    // Without any pod that is ready the last ones stay published.
    cluster.api.delete("pods", "default", "towpath-b");
    tokio::time::sleep(PACE.hold * 2).await;
    cluster.put("three", "towpath");
    cluster.until_shown("three", &NODES[1..]).await;
    assert_eq!(cluster.shown("one"), NODES[1..]);
}
