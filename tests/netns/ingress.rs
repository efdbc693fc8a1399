//! Requests from outside, through a node's Ingress, to pods of both nodes.

use std::net::{IpAddr, SocketAddr};

use rcgen::{CertifiedKey, KeyPair};
use towpath_testbed::{
    objects::{ingress, ingress_class, tls_secret},
    probe::{Agent, Ask, HttpAsk, HttpSeen},
};

use crate::support::{ANSWER_MS, Bed, service};

const HOST: &str = "shop.example";

/// A bed whose nodes serve Ingress; `web` is the pod 1 of node 1, `api` that of node 2.
struct Front {
    bed: Bed,
    outside: Agent,
}

impl Front {
    fn new() -> Self {
        let bed = Bed::with_features(Some("{ingress: on}"));
        bed.api.put(ingress_class("towpath")).unwrap();
        bed.api.put(service("web", "10.96.7.1", serde_json::json!({}))).unwrap();
        bed.api.put(service("api", "10.96.7.2", serde_json::json!({}))).unwrap();
        bed.endpoints("web", &[bed.at(0, 1)]);
        bed.endpoints("api", &[bed.at(1, 1)]);
        let outside = bed.cluster.outside.agent().unwrap();
        Self { bed, outside }
    }

    fn put(&self, secret: Option<&str>) {
        let hosts: [(&str, &[(&str, &str)]); 1] = [(HOST, &[("/", "web"), ("/api", "api")])];
        self.bed.api.put(ingress("shop", "towpath", &hosts, secret)).unwrap();
    }

    fn name(&self, node: usize, pod: usize) -> String {
        self.bed.cluster.pod(node, pod).name.clone()
    }

    fn ask(&mut self, ip: IpAddr, path: &str, trust: Option<&CertifiedKey<KeyPair>>) -> HttpSeen {
        self.ask_as(ip, path, trust, false)
    }

    fn ask_as(
        &mut self,
        ip: IpAddr,
        path: &str,
        trust: Option<&CertifiedKey<KeyPair>>,
        upgrade: bool,
    ) -> HttpSeen {
        let ask = HttpAsk {
            to: SocketAddr::new(ip, if trust.is_some() { 443 } else { 80 }),
            host: HOST.to_owned(),
            path: path.to_owned(),
            trust: trust.map(|pair| pair.cert.der().to_vec()),
            upgrade,
            timeout_ms: ANSWER_MS,
        };
        self.outside.ask_for(&Ask::Http(ask)).unwrap()
    }

    /// Every address of both nodes.
    fn addresses(&self) -> Vec<IpAddr> {
        self.bed.cluster.nodes.iter().flat_map(|node| node.host.addresses).collect()
    }

    /// Waits until a path is answered like this by every node.
    #[track_caller]
    fn until(&mut self, path: &str, trust: Option<&CertifiedKey<KeyPair>>, wanted: (u16, &str)) {
        let mut last = HttpSeen::default();
        for ip in self.addresses() {
            let came = (0..1_200).any(|_| {
                last = self.ask(ip, path, trust);
                let came = last.status == wanted.0 && last.body.starts_with(wanted.1);
                if !came {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                came
            });
            assert!(came, "{path} at {ip}: {wanted:?}, not {last:?}");
        }
    }
}

fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap()
}

fn secret(name: &str, pair: &CertifiedKey<KeyPair>) -> serde_json::Value {
    tls_secret(name, &pair.cert.pem(), &pair.signing_key.serialize_pem())
}

#[test]
#[ignore = "needs root"]
fn requests_go_by_host_and_path_from_every_node_and_both_families() {
    let mut front = Front::new();
    // Before there is an Ingress there is an answer, and it is no backend's.
    front.until("/", None, (404, "404 no_route"));
    front.put(None);
    let (web, api) = (front.name(0, 1), front.name(1, 1));
    front.until("/", None, (200, &web));
    front.until("/api/v1", None, (200, &api));
    let seen = front.ask(front.addresses()[0], "/", None);
    let client = front.bed.cluster.outside.v4();
    assert!(seen.body.to_ascii_lowercase().contains(&format!("x-forwarded-for: {client}\r\n")));
    // Endpoints move, and requests with them; without any there is a 503 that says why.
    front.bed.endpoints("api", &[front.bed.at(0, 2)]);
    let moved = front.name(0, 2);
    front.until("/api", None, (200, &moved));
    front.bed.endpoints("api", &[]);
    front.until("/api", None, (503, "503 no_endpoints"));
    front.until("/", None, (200, &web));
    front.bed.api.delete("ingresses", "default", "shop");
    front.until("/", None, (404, "404 no_route"));
}

#[test]
#[ignore = "needs root"]
fn a_host_has_the_certificate_of_its_secret_and_keeps_it_when_the_secret_breaks() {
    let mut front = Front::new();
    let (first, second) = (certificate(), certificate());
    front.put(Some("shop-tls"));
    let told = |front: &Front, what: &str| {
        let status = front.bed.status(0).unwrap_or_default();
        status["state"]["problems"].to_string().contains(what)
    };
    front.bed.until("a problem of the Secret", || told(&front, "TP8007"));
    // Plain requests are sent to HTTPS already: a browser sees at once that the certificate is wrong.
    front.until("/api", None, (308, ""));
    front.bed.api.put(secret("shop-tls", &first)).unwrap();
    let web = front.name(0, 1);
    front.until("/", Some(&first), (200, &web));
    front.bed.until("no problem of the Secret", || !told(&front, "TP8007"));
    let broken = tls_secret("shop-tls", "no certificate", "no key");
    front.bed.api.put(broken).unwrap();
    front.bed.until("a problem of the Secret", || told(&front, "TP8007"));
    front.until("/", Some(&first), (200, &web));
    front.bed.api.put(secret("shop-tls", &second)).unwrap();
    front.until("/", Some(&second), (200, &web));
    // No key is ever told.
    let log = std::fs::read_to_string(front.bed.cluster.nodes[0].run_dir.join("daemon.log"));
    assert!(!log.unwrap().contains("PRIVATE KEY"));
}

#[test]
#[ignore = "needs root"]
fn a_tunnel_outlives_its_ingress_and_a_daemon_that_stops_serves_it_to_its_end() {
    let mut front = Front::new();
    front.put(None);
    let web = front.name(0, 1);
    front.until("/", None, (200, &web));
    let ip = front.addresses()[0];
    assert_eq!(front.ask_as(ip, "/ws", None, true).status, 101);
    let echo = |outside: &mut Agent, word: &str| {
        let line = format!("echo {word}");
        outside.ask(&Ask::Line { line }).unwrap()
    };
    assert_eq!(echo(&mut front.outside, "first").client, None);
    front.bed.api.delete("ingresses", "default", "shop");
    let mut other = front.bed.cluster.outside.agent().unwrap();
    std::mem::swap(&mut front.outside, &mut other);
    front.until("/", None, (404, ""));
    let seen = echo(&mut other, "second");
    assert_eq!((seen.outcome.as_str(), seen.name.as_str()), ("ok", "echo"), "{seen:?}");
    // SIGTERM: what is open goes on, until its end or the patience of the daemon is over.
    front.bed.terminate(0);
    let mut last = HttpSeen::default();
    for _ in 0..1_200 {
        last = front.ask(ip, "/", None);
        if last.outcome == "refused" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(last.outcome, "refused", "{last:?}");
    assert_eq!(echo(&mut other, "third").outcome, "ok");
    drop(other);
    front.bed.ends(0);
}

#[test]
#[ignore = "needs root"]
fn a_port_that_is_taken_is_a_problem_and_is_had_once_it_is_free() {
    let mut front = Front::new();
    front.put(None);
    let web = front.name(0, 1);
    front.until("/", None, (200, &web));
    front.bed.stop(0);
    let other = front.bed.cluster.nodes[0].host.listen(80).unwrap();
    front.bed.start(0);
    front.bed.until("a problem of the port", || {
        let status = front.bed.status(0).unwrap_or_default();
        status["state"]["problems"].to_string().contains("TP8010")
    });
    drop(other);
    front.until("/", None, (200, &web));
}

#[test]
#[ignore = "needs root"]
fn one_daemon_writes_the_status_and_the_other_one_goes_on_when_it_is_killed() {
    let mut front = Front::new();
    front.put(None);
    let mut wanted: Vec<String> = front.addresses().iter().map(ToString::to_string).collect();
    wanted.sort();
    let shows = |front: &Front, name: &str, wanted: &[String]| {
        let object = front.bed.api.get("ingresses", "default", name).unwrap_or_default();
        let entries = object["status"]["loadBalancer"]["ingress"].as_array().cloned();
        let ip = |entry: &serde_json::Value| entry["ip"].as_str().unwrap_or_default().to_owned();
        entries.unwrap_or_default().iter().map(ip).eq(wanted.iter().cloned())
    };
    front.bed.until("a status", || shows(&front, "shop", &wanted));
    let lease = front.bed.api.get("leases", "default", "towpath-ingress").unwrap();
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap().to_owned();
    let node = |number: usize| front.bed.cluster.nodes[number].host.name.clone();
    let leader = (0..2).find(|number| holder.starts_with(&format!("{}_", node(*number)))).unwrap();
    front.bed.kill(leader);
    let hosts: [(&str, &[(&str, &str)]); 1] = [("more.example", &[("/", "web")])];
    front.bed.api.put(ingress("more", "towpath", &hosts, None)).unwrap();
    front.bed.until("a status by the other one", || shows(&front, "more", &wanted));
    // Told to stop, it takes nothing along.
    front.bed.stop(1 - leader);
    assert!(shows(&front, "shop", &wanted) && shows(&front, "more", &wanted));
    let of_status = |write: &&towpath_testbed::api::Write| write.path.ends_with("/status");
    assert_eq!(front.bed.api.writes().iter().filter(of_status).count(), 2);
    let lease = front.bed.api.get("leases", "default", "towpath-ingress").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "");
}
