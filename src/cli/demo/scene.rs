//! The demo's cluster: two nodes, five pods, a small API server, two daemons.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use towpath_ebpf::Settings;
use towpath_testbed::{
    Cluster, Host, Wiring,
    api::Api,
    objects::{self, Endpoint, namespace, node, pod, slice},
    probe::Agent,
};

use super::{
    area::{Area, InForce},
    report::Report,
};
use crate::{api::StatusReply, cli::client};

/// Addresses of the demo's Services, by family.
pub(super) const WEB: [&str; 2] = ["10.96.0.10", "fd00:96::10"];
pub(super) const EMPTY: [&str; 2] = ["10.96.0.20", "fd00:96::20"];
pub(super) const STICKY: [&str; 2] = ["10.96.0.30", "fd00:96::30"];
pub(super) const LOCAL: [&str; 2] = ["10.96.0.40", "fd00:96::40"];
pub(super) const LOAD_BALANCER: [&str; 2] = ["203.0.113.10", "2001:db8::10"];
pub(super) const EXTERNAL: [&str; 2] = ["198.51.100.10", "2001:db8:1::10"];
const FRONT: [&str; 2] = ["10.96.0.60", "fd00:96::60"];
/// Hosts of Ingresses: with a certificate, without, one whose Ingress goes, one without endpoints.
pub(super) const SHOP_HOST: &str = "shop.example";
pub(super) const PLAIN_HOST: &str = "plain.example";
pub(super) const LINES_HOST: &str = "lines.example";
pub(super) const EMPTY_HOST: &str = "empty.example";
/// The cluster's DNS.
pub(super) const DNS: [&str; 2] = ["10.96.0.53", "fd00:96::53"];
/// A name that the upstream of the nodes knows.
pub(super) const EXTERNAL_NAME: &str = "www.external.test.";
pub(super) const EXTERNAL_NAME_IP: &str = "192.0.2.53";
/// The database of the shop, and the namespace that the shop's pods are in.
pub(super) const DATABASE: [&str; 2] = ["10.96.0.50", "fd00:96::50"];
pub(super) const SHOP: &str = "shop";
/// nodePorts of `web`.
pub(super) const NODE_PORT_TCP: u16 = 30_080;
pub(super) const NODE_PORT_UDP: u16 = 30_053;
/// For an answer that must come, on a machine that may be busy, and for one that should not.
const ANSWER_MS: u64 = 5_000;
const NO_ANSWER_MS: u64 = 150;
/// The port that pods listen on.
pub(super) const TARGET: u16 = 8080;

pub(super) struct Scene {
    pub(super) api: Api,
    pub(super) daemons: Vec<Child>,
    _servers: Vec<Child>,
    /// Clients: the first pod of each node, and each node's host.
    pub(super) pods: Vec<Agent>,
    pub(super) hosts: Vec<Agent>,
    /// The client outside.
    pub(super) outside: Agent,
    /// How long one answer is waited for.
    pub(super) patience_ms: u64,
    /// Are names answered?
    dns: bool,
    /// Are policies enforced?
    policy: bool,
    /// Are packets from outside translated?
    packets: bool,
    /// Are requests taken?
    ingress: bool,
    /// The shop's, DER; it is its own authority.
    pub(super) certificate: Vec<u8>,
    kubeconfig: PathBuf,
    exe: PathBuf,
    // Last: everything else runs inside it.
    pub(super) cluster: Cluster,
}

impl Scene {
    pub(super) fn build(report: &mut Report, in_force: InForce) -> Result<Self> {
        let exe = std::env::current_exe().context("finding this program")?;
        let began = Instant::now();
        let nodes = [(Wiring::Bridge, 3), (Wiring::PointToPoint, 2)];
        let cluster = Cluster::build(&exe, &nodes)?;
        let ms = began.elapsed().as_millis();
        report.say(&format!("two nodes, five pods, an outside client: up in {ms} ms"));

        let api = Api::new();
        api.serve(cluster.control.listen(6443)?)?;
        for (bed, zone) in cluster.nodes.iter().zip(["zone-1", "zone-2"]) {
            api.put(node(bed, zone))?;
        }
        for object in services() {
            api.put(object)?;
        }
        let mut servers = Vec::new();
        for (node, pod) in [(0, 1), (0, 2), (1, 0), (1, 1)] {
            servers.push(cluster.pod(node, pod).serve(&[TARGET])?);
        }
        let names = [(EXTERNAL_NAME, ip(EXTERNAL_NAME_IP))];
        servers.push(cluster.control.serve_names(&names)?);
        let kubeconfig = cluster.dir.join("kubeconfig");
        let server = SocketAddr::new(cluster.control.v4(), 6443);
        let fields = json!({ "server": format!("http://{server}") });
        std::fs::write(&kubeconfig, objects::kubeconfig(&fields).to_string())?;
        let mut scene = Self {
            api,
            daemons: Vec::new(),
            _servers: servers,
            pods: vec![cluster.pod(0, 0).agent()?, cluster.pod(1, 1).agent()?],
            hosts: vec![cluster.nodes[0].host.agent()?, cluster.nodes[1].host.agent()?],
            outside: cluster.outside.agent()?,
            patience_ms: ANSWER_MS,
            dns: in_force != InForce::Without(Area::Dns),
            policy: true,
            packets: true,
            ingress: in_force != InForce::Without(Area::Ingress),
            certificate: Vec::new(),
            kubeconfig,
            exe,
            cluster,
        };
        scene.endpoints(&[(0, 1), (0, 2), (1, 0)])?;
        scene.shop()?;
        for vip in [WEB, LOAD_BALANCER, EXTERNAL, EMPTY].into_iter().flatten() {
            scene.cluster.lead(ip(vip), 0)?;
        }
        scene.front()?;
        let began = Instant::now();
        for node in 0..scene.cluster.nodes.len() {
            let daemon = scene.start(node)?;
            scene.daemons.push(daemon);
        }
        for node in 0..scene.cluster.nodes.len() {
            scene.ready(node)?;
        }
        let ms = began.elapsed().as_millis();
        report.say(&format!("a daemon on each node, fed by a watch: ready in {ms} ms"));
        Ok(scene)
    }

    /// Makes these pods (node, pod) the endpoints of `web` and `sticky`; `local` keeps its own.
    pub(super) fn endpoints(&self, pods: &[(usize, usize)]) -> Result<()> {
        let ports = [("http", "TCP", TARGET), ("dns", "UDP", TARGET)];
        for v6 in [false, true] {
            for service in ["web", "sticky"] {
                self.api.put(slice(service, v6, &ports, &self.ready_endpoints(pods)))?;
            }
            let local = self.ready_endpoints(&[(0, 1), (1, 0)]);
            self.api.put(slice("local", v6, &ports, &local))?;
        }
        let mut named = slice("db", false, &ports, &self.ready_endpoints(&[(1, 0)]));
        named["endpoints"][0]["hostname"] = "db-0".into();
        self.api.put(named)?;
        Ok(())
    }

    /// The pods of the shop, and its database's endpoint.
    fn shop(&self) -> Result<()> {
        self.api.put(namespace(SHOP, &json!({})))?;
        for (node, at, name) in [(0, 0, "web"), (1, 1, "api"), (0, 2, "database")] {
            let (host, of) = (self.cluster.pod(node, at), &self.cluster.nodes[node].host.name);
            self.api.put(pod(host, of, SHOP, name, &json!({ "shop": name })))?;
        }
        let ports = [("http", "TCP", TARGET), ("dns", "UDP", TARGET)];
        for v6 in [false, true] {
            self.api.put(slice("database", v6, &ports, &self.ready_endpoints(&[(0, 2)])))?;
        }
        Ok(())
    }

    /// Is no answer to be waited for, because what would give it is switched off?
    pub(super) const fn hurries(&self) -> bool {
        self.patience_ms != ANSWER_MS
    }

    fn ready_endpoints(&self, pods: &[(usize, usize)]) -> Vec<Endpoint<'_>> {
        let endpoint = |(node, pod): &(usize, usize)| {
            Endpoint::ready(self.cluster.pod(*node, *pod), &self.cluster.nodes[*node].host.name)
        };
        pods.iter().map(endpoint).collect()
    }

    /// What is in front of the shop: hosts, one of them with a certificate, and where their paths lead.
    fn front(&mut self) -> Result<()> {
        self.api.put(service("front", FRONT, json!({})))?;
        let ports = [("http", "TCP", TARGET)];
        self.api.put(slice("front", false, &ports, &self.ready_endpoints(&[(0, 1)])))?;
        self.api.put(objects::ingress_class("towpath"))?;
        let pair = rcgen::generate_simple_self_signed(vec![SHOP_HOST.to_owned()])?;
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        self.api.put(objects::tls_secret("shop-tls", &certificate, &key))?;
        self.certificate = pair.cert.der().to_vec();
        let paths: &[_] = &[("/", "front"), ("/api", "db")];
        let put = |name, host, paths, secret| {
            self.api.put(objects::ingress(name, "towpath", &[(host, paths)], secret))
        };
        put("shop", SHOP_HOST, paths, Some("shop-tls"))?;
        put("plain", PLAIN_HOST, paths, None)?;
        put("lines", LINES_HOST, paths, None)?;
        put("empty", EMPTY_HOST, &[("/", "empty")], None)
    }

    /// Starts a node's daemon.
    pub(super) fn start(&self, node: usize) -> Result<Child> {
        let bed = &self.cluster.nodes[node];
        let log = File::create(bed.run_dir.join("daemon.log"))?;
        let config = bed.run_dir.join("config.yaml");
        let switch = |on| if on { "on" } else { "off" };
        let (dns, policy, packets) = (switch(self.dns), switch(self.policy), switch(self.packets));
        let ingress = switch(self.ingress);
        let upstream = self.cluster.control.v4();
        let text = format!(
            "features: {{dns: {dns}, networkPolicy: {policy}, packets: {packets}, ingress: {ingress}}}\n\
             dns: {{upstreams: ['{upstream}']}}\n"
        );
        std::fs::write(&config, text)?;
        let mut command = bed.daemon(&self.exe);
        command
            .arg("--config")
            .arg(config)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--external-ips", "198.51.100.0/24,2001:db8:1::/64"])
            .stderr(log);
        bed.host.spawn(command)
    }

    /// Waits until a node's daemon has everything in force.
    pub(super) fn ready(&self, node: usize) -> Result<()> {
        let run_dir = &self.cluster.nodes[node].run_dir;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let daemon = client::Target { run_dir: run_dir.clone() };
            let error = match daemon.ask("/v1/status") {
                Ok(reply) => match serde_json::from_value::<StatusReply>(reply) {
                    Ok(reply) if reply.state.synced && !reply.state.kernel.pending => return Ok(()),
                    Ok(_) => "it has not heard everything yet".to_owned(),
                    Err(error) => error.to_string(),
                },
                Err(failure) => failure.what,
            };
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(run_dir.join("daemon.log")).unwrap_or_default();
                bail!("the daemon on node {} is not ready: {error}\n{log}", node + 1);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes out of force, on every node, what is not to be in it.
    pub(super) fn switch_off(&mut self, in_force: InForce) -> Result<()> {
        match in_force {
            InForce::All => return Ok(()),
            InForce::Without(Area::Policy) => {
                self.policy = false;
                self.restart()?;
            }
            InForce::Without(Area::Packets) => {
                self.packets = false;
                self.restart()?;
            }
            // The programs are what carries Services, and they carry nothing else.
            InForce::Without(Area::Services) | InForce::WithoutPrograms => self.detach()?,
            // The daemons were started without it.
            InForce::Without(Area::Dns | Area::Ingress) => {}
        }
        self.patience_ms = NO_ANSWER_MS;
        Ok(())
    }

    /// Ends every daemon, and starts it as it is to be now.
    fn restart(&mut self) -> Result<()> {
        for node in 0..self.cluster.nodes.len() {
            if let Some(daemon) = self.daemons.get_mut(node) {
                daemon.kill()?;
                daemon.wait()?;
            }
            let daemon = self.start(node)?;
            if let Some(known) = self.daemons.get_mut(node) {
                *known = daemon;
            }
            self.ready(node)?;
        }
        Ok(())
    }

    /// Takes the programs out of force on every node; the daemons, which would bring them back, end
    /// first.
    fn detach(&mut self) -> Result<()> {
        for daemon in &mut self.daemons {
            daemon.kill()?;
            daemon.wait()?;
        }
        for bed in &self.cluster.nodes {
            let pins = bed.bpffs.join("towpath");
            towpath_ebpf::detach(&Settings::new(pins, &bed.cgroup, &bed.run_dir))?;
        }
        Ok(())
    }

    /// Commands that enter the cluster.
    pub(super) fn doors(&self) -> Vec<String> {
        let shell = |host: &Host| {
            format!("nsenter --net={} sh     # {}", host.netns.path().display(), host.name)
        };
        let mut doors = Vec::new();
        for bed in &self.cluster.nodes {
            doors.push(shell(&bed.host));
            doors.extend(bed.pods.iter().map(|pod| shell(&pod.host)));
            let run_dir = bed.run_dir.display();
            doors.push(format!("towpath status --run-dir {run_dir}"));
            doors.push(format!(
                "echo $$ > {}/host/cgroup.procs     # then this shell's sockets are the node's",
                bed.cgroup.display()
            ));
        }
        doors
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _gone = daemon.kill().and_then(|()| daemon.wait());
        }
    }
}

/// An address of one of the demo's constants.
pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// A Service of both families; `rest`: fields of its spec.
pub(super) fn service(name: &str, ips: [&str; 2], rest: Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": ["IPv4", "IPv6"],
            "ipFamilyPolicy": "RequireDualStack",
            "ports": [
                { "name": "http", "protocol": "TCP", "port": 80, "targetPort": TARGET },
                { "name": "dns", "protocol": "UDP", "port": 53, "targetPort": TARGET },
            ],
        },
    });
    if let (Some(spec), Value::Object(rest)) = (object["spec"].as_object_mut(), rest) {
        spec.extend(rest);
    }
    object
}

fn services() -> Vec<Value> {
    let mut web = service("web", WEB, json!({ "type": "LoadBalancer", "externalIPs": EXTERNAL }));
    web["spec"]["ports"][0]["nodePort"] = NODE_PORT_TCP.into();
    web["spec"]["ports"][1]["nodePort"] = NODE_PORT_UDP.into();
    web["status"]["loadBalancer"]["ingress"] =
        LOAD_BALANCER.iter().map(|ip| json!({ "ip": ip })).collect();
    let namespace = |name: &str| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let ports = json!({ "ports": [
        { "name": "dns", "protocol": "UDP", "port": 53 },
        { "name": "dns-tcp", "protocol": "TCP", "port": 53 },
    ] });
    let mut dns = service("kube-dns", DNS, ports);
    dns["metadata"]["namespace"] = "kube-system".into();
    let headless = json!({ "clusterIP": "None", "clusterIPs": ["None"] });
    vec![
        namespace("default"),
        namespace("kube-system"),
        dns,
        service("db", ["None", "None"], headless),
        web,
        service("empty", EMPTY, json!({})),
        service("sticky", STICKY, json!({ "sessionAffinity": "ClientIP" })),
        service("database", DATABASE, json!({})),
        service("local", LOCAL, json!({ "internalTrafficPolicy": "Local" })),
    ]
}
