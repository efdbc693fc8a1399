//! The words that the tests are written in.

use std::{
    collections::BTreeSet,
    fs::File,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use towpath_testbed::{
    Cluster, Wiring,
    api::Api,
    objects::{self, Endpoint, node},
    probe::{Agent, Ask},
};

pub(crate) const TOWPATH: &str = env!("CARGO_BIN_EXE_towpath");
/// The port that servers listen on in every pod.
pub(crate) const TARGET: u16 = 8080;
/// Patience for what must happen at all, on a machine that is busy with other things; how fast it
/// happens is a benchmark's business. Longer than the longest back-off of a daemon, which is 30 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// For one answer that must come.
pub(crate) const ANSWER_MS: u64 = 10_000;
/// For one answer of many that may not come: what is seen is judged again until it is as wanted.
const LOOK_MS: u64 = 300;

/// Two nodes, the first with three pods, the second with two; daemons fed by a small API server.
pub(crate) struct Bed {
    pub(crate) api: Api,
    daemons: Vec<Option<Child>>,
    _servers: Vec<Child>,
    /// First pod of each node.
    pub(crate) pods: Vec<Agent>,
    /// The nodes' hosts.
    pub(crate) hosts: Vec<Agent>,
    pub(crate) cluster: Cluster,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with_features(None)
    }

    /// With this `features` section in the daemons' configuration.
    pub(crate) fn with_features(features: Option<&str>) -> Self {
        let tool = Path::new(TOWPATH);
        let cluster =
            Cluster::build(tool, &[(Wiring::Bridge, 3), (Wiring::PointToPoint, 2)]).unwrap();
        let api = Api::new();
        api.serve(cluster.control.listen(6443).unwrap()).unwrap();
        for (bed, zone) in cluster.nodes.iter().zip(["zone-1", "zone-2"]) {
            api.put(node(bed, zone)).unwrap();
        }
        let servers = [(0, 1), (0, 2), (1, 1)]
            .map(|(node, pod)| cluster.pod(node, pod).serve(&[TARGET, TARGET + 1]).unwrap());
        let mut bed = Self {
            api,
            daemons: vec![None, None],
            _servers: servers.into(),
            pods: (0..2).map(|node| cluster.pod(node, 0).agent().unwrap()).collect(),
            hosts: (0..2).map(|node| cluster.nodes[node].host.agent().unwrap()).collect(),
            cluster,
        };
        if let Some(features) = features {
            std::fs::write(bed.config(), format!("features: {features}\n")).unwrap();
        }
        let server = format!("http://{}:6443", bed.cluster.control.v4());
        bed.write_kubeconfig(&json!({ "server": server }));
        for node in 0..2 {
            bed.start(node);
            bed.ready(node);
        }
        bed
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.cluster.dir.join("kubeconfig")
    }

    /// With these fields of the cluster.
    pub(crate) fn write_kubeconfig(&self, cluster: &Value) {
        let text = objects::kubeconfig(cluster).to_string();
        std::fs::write(self.kubeconfig(), text).unwrap();
    }

    /// The file of the daemons that start from now on, where one is written.
    pub(crate) fn config(&self) -> PathBuf {
        self.cluster.dir.join("config.yaml")
    }

    /// The command of a node's daemon.
    fn command(&self, node: usize) -> Command {
        let mut command = self.cluster.nodes[node].daemon(Path::new(TOWPATH));
        command
            .args(["--external-ips", "198.51.100.0/24"])
            .arg("--kubeconfig")
            .arg(self.kubeconfig());
        if self.config().exists() {
            command.arg("--config").arg(self.config());
        }
        command
    }

    pub(crate) fn start(&mut self, node: usize) {
        let mut command = self.command(node);
        let log = File::create(self.cluster.nodes[node].run_dir.join("daemon.log")).unwrap();
        command.stderr(log);
        self.daemons[node] = Some(self.cluster.nodes[node].host.spawn(command).unwrap());
    }

    /// Starts a second daemon beside the first; answers what it says.
    pub(crate) fn start_second(&self, node: usize) -> Output {
        let mut command = self.command(node);
        command.stderr(Stdio::piped());
        self.cluster.nodes[node].host.spawn(command).unwrap().wait_with_output().unwrap()
    }

    /// Starts a second daemon that stands by, with a control socket of its own.
    pub(crate) fn stand_by(&self, node: usize, kubeconfig: &Path) -> StandsBy {
        let control = self.cluster.dir.join("control");
        let mut command = self.cluster.nodes[node].daemon(Path::new(TOWPATH));
        command.arg("--kubeconfig").arg(kubeconfig).arg("--standby");
        command.arg("--control-dir").arg(&control);
        command.stderr(File::create(self.cluster.dir.join("standby.log")).unwrap());
        StandsBy { daemon: self.cluster.nodes[node].host.spawn(command).unwrap(), control }
    }

    /// SIGTERM, and waits until the daemon has ended.
    pub(crate) fn stop(&mut self, node: usize) {
        self.terminate(node);
        self.ends(node);
    }

    /// SIGTERM, without waiting.
    pub(crate) fn terminate(&self, node: usize) {
        terminate(self.daemons[node].as_ref().unwrap());
    }

    /// Sends a signal to a node's daemon.
    pub(crate) fn signal(&self, node: usize, signal: Signal) {
        let pid = self.daemons[node].as_ref().unwrap().id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// Waits until a daemon that was told to stop has ended.
    pub(crate) fn ends(&mut self, node: usize) {
        let mut daemon = self.daemons[node].take().unwrap();
        assert!(daemon.wait().unwrap().success());
    }

    /// kill -9.
    pub(crate) fn kill(&mut self, node: usize) {
        let mut daemon = self.daemons[node].take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Runs a command of the CLI against a node's daemon.
    pub(crate) fn cli(&self, node: usize, args: &[&str]) -> Output {
        let run_dir = &self.cluster.nodes[node].run_dir;
        Command::new(TOWPATH).args(args).arg("--run-dir").arg(run_dir).output().unwrap()
    }

    pub(crate) fn status(&self, node: usize) -> Option<Value> {
        serde_json::from_slice(&self.cli(node, &["status", "-o", "json"]).stdout).ok()
    }

    /// Waits until a daemon has everything in force.
    pub(crate) fn ready(&self, node: usize) {
        self.until("a ready daemon", || {
            self.status(node).is_some_and(|status| {
                status["state"]["synced"] == true && status["state"]["kernel"]["pending"] == false
            })
        });
    }

    /// Waits until a daemon has noticed that its API server is silent.
    pub(crate) fn alone(&self, node: usize) {
        self.until("a daemon that is alone", || {
            let status = self.status(node).unwrap_or_default();
            let streams = status["source"]["streams"].as_array().cloned().unwrap_or_default();
            !streams.is_empty() && streams.iter().all(|stream| stream["connected"] == false)
        });
    }

    pub(crate) fn until(&self, what: &str, mut wanted: impl FnMut() -> bool) {
        let began = Instant::now();
        while !wanted() {
            if began.elapsed() > PATIENCE {
                let logs = self.cluster.nodes.iter().map(|node| {
                    std::fs::read_to_string(node.run_dir.join("daemon.log")).unwrap_or_default()
                });
                panic!("{what} never came\n{}", logs.collect::<String>());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A ready endpoint.
    pub(crate) fn at(&self, node: usize, pod: usize) -> Endpoint<'_> {
        Endpoint::ready(self.cluster.pod(node, pod), &self.cluster.nodes[node].host.name)
    }

    /// Makes these the IPv4 endpoints of a Service with the ports of [`service`].
    pub(crate) fn endpoints(&self, service: &str, endpoints: &[Endpoint<'_>]) {
        let ports = [("t", "TCP", TARGET), ("u", "UDP", TARGET)];
        self.api.put(objects::slice(service, false, &ports, endpoints)).unwrap();
    }
}

/// A daemon that stands by.
pub(crate) struct StandsBy {
    pub(crate) daemon: Child,
    control: PathBuf,
}

impl StandsBy {
    /// Runs a command of the CLI against it.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        Command::new(TOWPATH).args(args).arg("--run-dir").arg(&self.control).output().unwrap()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.cli(&["probe", "ready"]).status.success()
    }
}

impl Drop for StandsBy {
    fn drop(&mut self) {
        let _gone = self.daemon.kill().and_then(|()| self.daemon.wait());
    }
}

/// SIGTERM, as the kubelet ends a container.
pub(crate) fn terminate(daemon: &Child) {
    kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
}

impl Drop for Bed {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().flatten() {
            let _gone = daemon.kill().and_then(|()| daemon.wait());
        }
    }
}

/// A Service with TCP port 80 and UDP port 53; `spec` is laid over its own.
pub(crate) fn service(name: &str, ip: &str, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": "default", "labels": {} },
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip],
            "ports": [
                { "name": "t", "protocol": "TCP", "port": 80 },
                { "name": "u", "protocol": "UDP", "port": 53 },
            ],
        },
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    object
}

pub(crate) fn to(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)
}

/// Where no endpoint is: an unconnected datagram is refused; a connect() of a datagram socket
/// succeeds, as it does everywhere, and no answer comes.
pub(crate) const UNANSWERED_UDP: [&str; 2] = ["refused", "timeout"];

/// Silence is waited for so often, and no more: an address is silent or it is not.
const SILENT: u32 = 3;

/// Who answers: asks until nothing new comes.
pub(crate) fn who(agent: &mut Agent, to: SocketAddr) -> BTreeSet<String> {
    who_over(agent, |_| Ask::Tcp { to, mapped: false, timeout_ms: LOOK_MS })
}

/// The same with datagrams, each of a new socket; connected and unconnected in turn.
fn who_udp(agent: &mut Agent, to: SocketAddr) -> BTreeSet<String> {
    who_over(agent, |turn| {
        let connected = turn % 2 == 0;
        Ask::Udp { to, connected, mapped: false, keep: None, timeout_ms: LOOK_MS }
    })
}

/// One datagram, whose answer must come.
pub(crate) const fn datagram(to: SocketAddr, connected: bool, keep: Option<u32>) -> Ask {
    Ask::Udp { to, connected, mapped: false, keep, timeout_ms: ANSWER_MS }
}

fn who_over(agent: &mut Agent, ask: impl Fn(u32) -> Ask) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut silent = 0;
    for turn in 0..25 {
        let seen = agent.ask(&ask(turn)).unwrap();
        silent += u32::from(seen.outcome == "timeout");
        found.insert(if seen.outcome == "ok" { seen.name } else { seen.outcome });
        if silent == SILENT {
            break;
        }
    }
    found
}

/// Waits until exactly these answer (or `refused`, `timeout`).
#[track_caller]
pub(crate) fn reaches(agent: &mut Agent, to: SocketAddr, wanted: &[&str]) {
    comes_to(to, wanted, || who(agent, to));
}

/// The same with datagrams.
#[track_caller]
pub(crate) fn reaches_udp(agent: &mut Agent, to: SocketAddr, wanted: &[&str]) {
    comes_to(to, wanted, || who_udp(agent, to));
}

/// Waits until one of these alone answers; says which.
#[track_caller]
pub(crate) fn settles(agent: &mut Agent, to: SocketAddr, among: &[&str]) -> String {
    settles_on(to, among, || who(agent, to))
}

/// The same with datagrams.
#[track_caller]
pub(crate) fn settles_udp(agent: &mut Agent, to: SocketAddr, among: &[&str]) -> String {
    settles_on(to, among, || who_udp(agent, to))
}

#[track_caller]
fn settles_on(to: SocketAddr, among: &[&str], mut who: impl FnMut() -> BTreeSet<String>) -> String {
    let began = Instant::now();
    loop {
        let mut found = who();
        if found.len() == 1 && found.iter().all(|name| among.contains(&name.as_str())) {
            return found.pop_first().unwrap();
        }
        assert!(began.elapsed() < PATIENCE, "{to}: {found:?} answer, not one of {among:?}");
    }
}

#[track_caller]
fn comes_to(to: SocketAddr, wanted: &[&str], mut who: impl FnMut() -> BTreeSet<String>) {
    let wanted: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    let began = Instant::now();
    loop {
        let found = who();
        if found == wanted {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{to}: {found:?} answer, not {wanted:?}");
    }
}
