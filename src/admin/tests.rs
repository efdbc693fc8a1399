//! The listeners, over real sockets and a made-up daemon.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use towpath_model::ObjectName;

use super::{
    Admin, Answers, HealthSnapshot, HealthTracker, Metrics, NodePortCheck, NodePortChecks,
    api::{API_VERSION, ProblemsReply, ServiceReply, ServicesReply, StatusReply},
};
use crate::config::AdminConfig;

#[derive(Default)]
struct Daemon {
    tracker: Mutex<HealthTracker>,
    gathered: AtomicU64,
}

impl Answers for Daemon {
    fn status(&self) -> StatusReply {
        StatusReply { api_version: API_VERSION.into(), node: "w1".into(), ..StatusReply::default() }
    }
    fn services(&self, name: Option<&str>) -> ServicesReply {
        let service = name.unwrap_or("everything").to_owned();
        let services = vec![ServiceReply { service, ..ServiceReply::default() }];
        ServicesReply { api_version: API_VERSION.into(), services }
    }
    fn health(&self) -> HealthSnapshot {
        self.tracker.lock().unwrap().snapshot(1_000)
    }
    fn gather(&self) {
        self.gathered.fetch_add(1, Ordering::Relaxed);
    }
}

struct Stage {
    daemon: Arc<Daemon>,
    metrics: Arc<Metrics>,
    admin: Option<Admin>,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

fn stage(healthz: &str) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("run/control.sock");
    let config = AdminConfig {
        healthz: Some(healthz.parse().unwrap()),
        metrics: Some("127.0.0.1:0".parse().unwrap()),
        socket: socket.clone(),
    };
    let (daemon, metrics) = (Arc::new(Daemon::default()), Arc::new(Metrics::new().unwrap()));
    let answers: Arc<dyn Answers> = Arc::<Daemon>::clone(&daemon);
    let admin = Admin::start(&config, answers, Arc::clone(&metrics)).unwrap();
    Stage { daemon, metrics, admin: Some(admin), socket, _dir: dir }
}

impl Stage {
    fn admin(&self) -> &Admin {
        self.admin.as_ref().unwrap()
    }
    fn address(&self, listener: &str) -> SocketAddr {
        eventually(listener, || self.admin().address(listener))
    }
    fn ask(&self, path: &str) -> String {
        let stream = eventually("control socket", || UnixStream::connect(&self.socket).ok());
        exchange(stream, path)
    }
    fn metric(&self, line: &str) -> bool {
        String::from_utf8(self.metrics.text().unwrap()).unwrap().lines().any(|l| l == line)
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{what} did not come");
        sleep(Duration::from_millis(5));
    }
}

fn exchange<S: Read + Write>(mut stream: S, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    exchange(TcpStream::connect(address).unwrap(), path)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[test]
fn health_answers_as_kube_proxy_does() {
    let stage = stage("127.0.0.1:0");
    let at = stage.address("healthz");
    let well = get(at, "/healthz");
    assert!(well.starts_with("HTTP/1.1 200 OK\r\n"), "{well}");
    assert!(well.contains("\"lastUpdated\":\"1970-01-01T00:00:01Z\""), "{well}");
    assert!(well.contains("\"nodeEligible\":true"), "{well}");
    stage.daemon.tracker.lock().unwrap().node_eligible(false);
    assert!(get(at, "/healthz").starts_with("HTTP/1.1 503 "));
    assert!(get(at, "/livez").starts_with("HTTP/1.1 200 "));
    stage.daemon.tracker.lock().unwrap().failure(Some("full".into()));
    let dead = get(at, "/livez");
    assert!(dead.starts_with("HTTP/1.1 503 ") && dead.contains("\"failure\":\"full\""), "{dead}");
    assert!(get(at, "/").starts_with("HTTP/1.1 404 "));
    assert!(stage.metric("kubeproxy_proxy_healthz_total{code=\"503\"} 1"));
    assert!(stage.metric("kubeproxy_proxy_livez_total{code=\"200\"} 1"));
}

#[test]
fn a_scrape_gathers_first() {
    let stage = stage("127.0.0.1:0");
    let at = stage.address("metrics");
    let text = get(at, "/metrics");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("# TYPE kubeproxy_sync_proxy_rules_duration_seconds histogram\n"));
    assert_eq!(stage.daemon.gathered.load(Ordering::Relaxed), 1);
    assert_eq!(body(&get(at, "/healthz")), "ok");
    assert_eq!(body(&get(at, "/proxyMode")), "towpath");
}

#[test]
fn the_control_socket_answers_its_owner_in_json() {
    let stage = stage("127.0.0.1:0");
    let status: StatusReply = serde_json::from_str(body(&stage.ask("/v1/status"))).unwrap();
    assert_eq!((status.node.as_str(), status.problems.len()), ("w1", 0));
    let one = stage.ask("/v1/services?name=shop%2Fcart");
    let one: ServicesReply = serde_json::from_str(body(&one)).unwrap();
    assert_eq!(one.services[0].service, "shop/cart");
    let lost = stage.ask("/v1/nothing");
    assert!(lost.starts_with("HTTP/1.1 404 ") && lost.contains("no such question"), "{lost}");
    let mode = std::fs::metadata(&stage.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let mut first = stage("127.0.0.1:0");
    first.ask("/v1/status");
    let config = AdminConfig { healthz: None, metrics: None, socket: first.socket.clone() };
    let metrics = Arc::new(Metrics::new().unwrap());
    let daemon: Arc<dyn Answers> = Arc::new(Daemon::default());
    let second = Admin::start(&config, daemon, Arc::clone(&metrics)).unwrap();
    let down = "towpath_listeners_down 1";
    eventually(down, || {
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        text.lines().any(|line| line == down).then_some(())
    });
    first.ask("/v1/status");
    first.admin.take().unwrap().stop();
    assert!(!first.socket.exists(), "a graceful stop takes the socket away");
    // What a killed daemon leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&first.socket));
    eventually("the second daemon", || {
        UnixStream::connect(&first.socket).ok().map(|s| exchange(s, "/v1/status"))
    });
    second.stop();
}

#[test]
fn a_taken_port_is_reported_and_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let stage = stage(&at.to_string());
    let problem = eventually("the problem", || {
        let problems: ProblemsReply =
            serde_json::from_str(body(&stage.ask("/v1/problems"))).unwrap();
        problems.problems.into_iter().next()
    });
    assert_eq!(problem.field, "healthz");
    assert!(problem.why.contains("Address already in use"), "{}", problem.why);
    assert!(stage.metric("towpath_listeners_down 1"));
    drop(taken);
    assert_eq!(stage.address("healthz"), at);
    assert!(get(at, "/healthz").starts_with("HTTP/1.1 200 "));
    assert!(stage.metric("towpath_listeners_down 0"));
}

fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn health_check_ports_follow_the_snapshot() {
    let stage = stage("127.0.0.1:0");
    let (one, other) = (free_port(), free_port());
    let check = |name: &str, ready_local| NodePortCheck {
        service: ObjectName::new("shop", name),
        ready_local,
    };
    let both = NodePortChecks::from([(one, check("cart", 2)), (other, check("db", 0))]);
    stage.admin().publish(both);
    let v4 = |port| SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    let v6 = |port| SocketAddr::new("::1".parse().unwrap(), port);
    let connected = |at: SocketAddr| eventually("a listener", || TcpStream::connect(at).ok());
    let well = exchange(connected(v4(one)), "/any/path");
    assert!(well.starts_with("HTTP/1.1 200 OK\r\n"), "{well}");
    assert!(well.contains("x-load-balancing-endpoint-weight: 2\r\n"), "{well}");
    assert_eq!(
        body(&well),
        "{\"service\":{\"namespace\":\"shop\",\"name\":\"cart\"},\"localEndpoints\":2,\
         \"serviceProxyHealthy\":true}"
    );
    assert!(exchange(connected(v6(other)), "/").starts_with("HTTP/1.1 503 "));
    // A node on its way out still counts; a proxy that does not work does not.
    stage.daemon.tracker.lock().unwrap().node_eligible(false);
    assert!(get(v4(one), "/").starts_with("HTTP/1.1 200 "));
    stage.daemon.tracker.lock().unwrap().failure(Some("full".into()));
    let unwell = get(v4(one), "/");
    assert!(unwell.starts_with("HTTP/1.1 503 "), "{unwell}");
    assert!(unwell.contains("\"serviceProxyHealthy\":false"), "{unwell}");
    stage.daemon.tracker.lock().unwrap().failure(None);
    stage.admin().publish(NodePortChecks::from([(other, check("db", 1))]));
    eventually("the close", || TcpStream::connect(v4(one)).err());
    assert!(get(v4(other), "/").starts_with("HTTP/1.1 200 "));
}

#[test]
fn too_much_is_refused() {
    let stage = stage("127.0.0.1:0");
    let at = stage.address("healthz");
    let mut posted = TcpStream::connect(at).unwrap();
    posted.write_all(b"POST /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    posted.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let mut long = TcpStream::connect(at).unwrap();
    long.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nx: {}", "a".repeat(64 * 1024));
    drop(long.write_all(head.as_bytes()));
    let mut answer = Vec::new();
    drop(long.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let idle: Vec<_> = (0..80).map(|_| TcpStream::connect(at).unwrap()).collect();
    eventually("the limit", || {
        let text = String::from_utf8(stage.metrics.text().unwrap()).unwrap();
        let name = "towpath_admin_connections_refused_total{listener=\"healthz\"} ";
        let counted = text.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        counted.filter(|refused| *refused >= 16)
    });
    drop(idle);
    eventually("room again", || get_maybe(at).filter(|a| a.starts_with("HTTP/1.1 200 ")));
}

fn get_maybe(at: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
