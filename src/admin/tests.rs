//! The listeners, over real sockets and a made-up daemon.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use towpath_model::ObjectName;
use towpath_proxy::HealthCheck;

use super::{Admin, AdminMetrics, Ports, Route, Servers, start};
use crate::{
    api::{
        KernelReply, SourceReply, StateReply, StatusReply, VERSION,
        services::{ServiceReply, ServicesReply},
    },
    clock::SystemClock,
    config::AdminConfig,
    metrics::Registry,
    services::{HealthChecks, ServiceMetrics, serve_health_checks},
    vitals::Vitals,
};

#[derive(Default)]
struct Daemon {
    gathered: AtomicU64,
    /// The loop hangs, and so many wait for it.
    stuck: AtomicBool,
    waiting: AtomicU64,
}

fn status() -> StatusReply {
    StatusReply {
        api_version: VERSION.into(),
        version: "0.1.0".into(),
        pid: 1,
        node: "w1".into(),
        uptime_ms: 1,
        source: SourceReply { kind: "kube".into(), streams: Vec::new() },
        state: StateReply {
            synced: true,
            services: 0,
            endpoint_slices: 0,
            nodes: 0,
            problems: Vec::new(),
            kernel: KernelReply {
                maps: Vec::new(),
                pending: false,
                longest_write_us: 0,
                programs_reattached: 0,
            },
            audit: None,
        },
        map_bytes: 0,
        stale_udp: None,
        ports: Vec::new(),
        not_served: Vec::new(),
    }
}

impl Daemon {
    /// As the real one: it gives up on a loop that hangs, here when the test says so.
    fn wait(&self) -> Option<()> {
        if !self.stuck.load(Ordering::Relaxed) {
            return Some(());
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        while self.stuck.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(5));
        }
        None
    }
}

/// Two questions, the second with a parameter.
fn routes(daemon: &Arc<Daemon>) -> Vec<Route> {
    let asked = Arc::clone(daemon);
    let services = |name: Option<String>| {
        let name = name.unwrap_or_else(|| "everything".to_owned());
        let service =
            ServiceReply { name, ports: Vec::new(), problems: Vec::new(), last_change: None };
        Some(ServicesReply {
            api_version: VERSION.into(),
            unlisted: Vec::new(),
            services: vec![service],
            not_routed: Vec::new(),
        })
    };
    vec![
        Route::json("/v1/status", move |_| asked.wait().map(|()| status())),
        Route::json("/v1/services", move |asked| services(asked.get("name"))),
    ]
}

struct Fixture {
    daemon: Arc<Daemon>,
    registry: Arc<Registry>,
    vitals: Arc<Vitals>,
    ports: Arc<Ports>,
    checks: watch::Sender<Vec<HealthCheck>>,
    drain: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

fn fixture(healthz: &str) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("run/control.sock");
    fixture_at(healthz, socket, dir)
}

fn fixture_at(healthz: &str, socket: PathBuf, dir: tempfile::TempDir) -> Fixture {
    let config = AdminConfig {
        healthz: Some(healthz.parse().unwrap()),
        metrics: Some("127.0.0.1:0".parse().unwrap()),
        socket: socket.clone(),
    };
    let (checks, wanted) = watch::channel(Vec::new());
    let (drain, draining) = watch::channel(false);
    let daemon = Arc::new(Daemon::default());
    let registry = Arc::new(Registry::new());
    let metrics = AdminMetrics::new(&registry).unwrap();
    let _services = ServiceMetrics::new(&registry).unwrap();
    let (vitals, ports) = (Arc::new(Vitals::default()), Arc::new(Ports::default()));
    let clock = SystemClock::start();
    let checked = HealthChecks { wanted, vitals: Arc::clone(&vitals), clock };
    let gathered = Arc::clone(&daemon);
    let listeners: Vec<super::Listener> =
        vec![Box::new(|servers| Box::pin(serve_health_checks(servers, checked)))];
    let admin = Admin {
        config,
        vitals: Arc::clone(&vitals),
        registry: Arc::clone(&registry),
        clock,
        routes: routes(&daemon),
        gather: Box::new(move || {
            gathered.gathered.fetch_add(1, Ordering::Relaxed);
            gathered.wait().unwrap_or_default();
        }),
        servers: Arc::new(Servers {
            ports: Arc::clone(&ports),
            metrics,
            // Room for two health check ports.
            descriptors: 64,
            draining,
        }),
    };
    let thread = start(admin, listeners).unwrap();
    Fixture { daemon, registry, vitals, ports, checks, drain, thread, socket, _dir: dir }
}

impl Fixture {
    fn address(&self, listener: &str) -> SocketAddr {
        eventually(listener, || self.ports.address(listener))
    }
    fn ask(&self, path: &str) -> String {
        let stream = eventually("control socket", || UnixStream::connect(&self.socket).ok());
        exchange(stream, path)
    }
    fn text(&self) -> String {
        String::from_utf8(self.registry.text()).unwrap()
    }
    fn metric(&self, line: &str) -> bool {
        self.text().lines().any(|l| l == line)
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{what} did not come");
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
    let fixture = fixture("127.0.0.1:0");
    let at = fixture.address("healthz");
    let well = get(at, "/healthz");
    assert!(well.starts_with("HTTP/1.1 200 OK\r\n"), "{well}");
    assert!(well.contains("content-type: application/json\r\n"), "{well}");
    let reply: serde_json::Value = serde_json::from_str(body(&well)).unwrap();
    assert_eq!((&reply["nodeEligible"], &reply["healthy"]), (&true.into(), &true.into()));
    assert_eq!(reply["lastUpdated"], reply["currentTime"]);
    assert_eq!(reply["status"]["IPv6"]["healthy"], true);
    fixture.vitals.node(false);
    let leaving = get(at, "/healthz");
    assert!(leaving.starts_with("HTTP/1.1 503 "), "{leaving}");
    assert!(leaving.contains("\"healthy\":false"), "{leaving}");
    let live = get(at, "/livez");
    assert!(live.starts_with("HTTP/1.1 200 ") && !live.contains("nodeEligible"), "{live}");
    assert!(get(at, "/").starts_with("HTTP/1.1 404 "));
    assert!(fixture.metric("kubeproxy_proxy_healthz_total{code=\"503\"} 1"));
    assert!(fixture.metric("kubeproxy_proxy_livez_total{code=\"200\"} 1"));
}

#[test]
fn a_scrape_gathers_first() {
    let fixture = fixture("127.0.0.1:0");
    let at = fixture.address("metrics");
    let text = get(at, "/metrics");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("# TYPE kubeproxy_sync_proxy_rules_duration_seconds histogram\n"));
    assert_eq!(fixture.daemon.gathered.load(Ordering::Relaxed), 1);
    assert_eq!(body(&get(at, "/healthz")), "ok");
    assert_eq!(body(&get(at, "/proxyMode")), "ebpf");
}

#[test]
fn a_loop_that_hangs_does_not_hold_up_health() {
    let fixture = fixture("127.0.0.1:0");
    let (health, numbers) = (fixture.address("healthz"), fixture.address("metrics"));
    fixture.daemon.stuck.store(true, Ordering::Relaxed);
    let scrape = std::thread::spawn(move || get(numbers, "/metrics"));
    let socket = fixture.socket.clone();
    let asked = std::thread::spawn(move || {
        let stream = eventually("control socket", || UnixStream::connect(&socket).ok());
        exchange(stream, "/v1/status")
    });
    eventually("both", || (fixture.daemon.waiting.load(Ordering::Relaxed) == 2).then_some(()));
    // While the loop hangs: nothing but this thread ends that.
    assert!(get(health, "/healthz").starts_with("HTTP/1.1 200 "));
    fixture.daemon.stuck.store(false, Ordering::Relaxed);
    assert!(scrape.join().unwrap().starts_with("HTTP/1.1 200 "));
    let late = asked.join().unwrap();
    assert!(late.starts_with("HTTP/1.1 504 ") && late.contains("did not answer"), "{late}");
}

#[test]
fn the_control_socket_answers_its_owner_in_json() {
    let fixture = fixture("127.0.0.1:0");
    let reply: StatusReply = serde_json::from_str(body(&fixture.ask("/v1/status"))).unwrap();
    assert_eq!(reply, status());
    let one = fixture.ask("/v1/services?name=shop%2Fcart");
    let one: ServicesReply = serde_json::from_str(body(&one)).unwrap();
    assert_eq!(one.services[0].name, "shop/cart");
    let lost = fixture.ask("/v1/nothing");
    assert!(lost.starts_with("HTTP/1.1 404 ") && lost.contains("no such question"), "{lost}");
    let mode = std::fs::metadata(&fixture.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let first = fixture("127.0.0.1:0");
    first.ask("/v1/status");
    let second = fixture_at("127.0.0.1:0", first.socket.clone(), tempfile::tempdir().unwrap());
    let said = eventually("the refusal", || second.ports.failures().into_iter().next());
    assert!(said.starts_with("control socket: can not listen on "), "{said}");
    assert!(said.contains("another daemon answers there"), "{said}");
    first.ask("/v1/status");
    // What a killed daemon leaves behind.
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    fixture_at("127.0.0.1:0", left, dir).ask("/v1/status");
}

#[test]
fn a_socket_that_was_removed_comes_back() {
    let fixture = fixture("127.0.0.1:0");
    fixture.ask("/v1/status");
    std::fs::remove_dir_all(fixture.socket.parent().unwrap()).unwrap();
    fixture.ask("/v1/status");
}

#[test]
fn what_is_no_socket_is_not_removed_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("control.sock");
    std::fs::write(&foreign, "foreign").unwrap();
    let fixture = fixture_at("127.0.0.1:0", foreign.clone(), dir);
    let said = eventually("the refusal", || fixture.ports.failures().into_iter().next());
    assert!(said.starts_with("control socket: can not listen on "), "{said}");
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "foreign");
}

#[test]
fn a_taken_port_is_reported_and_tried_again() {
    let taken = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let at = taken.local_addr().unwrap();
    let fixture = fixture(&at.to_string());
    let said = eventually("the report", || fixture.ports.failures().into_iter().next());
    assert!(said.starts_with(&format!("healthz: can not listen on {at}: Address already in use")));
    assert!(fixture.text().contains("towpath_listen_failures_total{listener=\"healthz\"} "));
    drop(taken);
    assert_eq!(fixture.address("healthz"), at);
    assert!(get(at, "/healthz").starts_with("HTTP/1.1 200 "));
    assert!(fixture.ports.failures().is_empty());
}

/// A port that is free, and that no other test comes to by chance: the kernel gives ports from
/// 32,768, and each process of these tests begins elsewhere.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 100 * 100;
    loop {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + u16::try_from((first + next) % 10_000).unwrap();
        if TcpListener::bind(("::", port)).is_ok() {
            return port;
        }
    }
}

#[test]
fn health_check_ports_follow_the_snapshot() {
    let fixture = fixture("127.0.0.1:0");
    let (one, other) = (free_port(), free_port());
    let check = |port, name: &str, ready_local| HealthCheck {
        service: ObjectName::new("shop", name),
        port,
        ready_local,
    };
    fixture.checks.send_replace(vec![check(one, "cart", 2), check(other, "db", 0)]);
    let v4 = |port| SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    let v6 = |port| SocketAddr::new("::1".parse().unwrap(), port);
    let connected = |at: SocketAddr| eventually("a listener", || TcpStream::connect(at).ok());
    let well = exchange(connected(v4(one)), "/any/path");
    assert!(well.starts_with("HTTP/1.1 200 OK\r\n"), "{well}");
    assert!(well.contains("x-load-balancing-endpoint-weight: 2\r\n"), "{well}");
    assert_eq!(
        body(&well),
        "{\"localEndpoints\":2,\"service\":{\"name\":\"cart\",\"namespace\":\"shop\"},\
         \"serviceProxyHealthy\":true}"
    );
    assert!(exchange(connected(v6(other)), "/").starts_with("HTTP/1.1 503 "));
    // A node on its way out still counts.
    fixture.vitals.node(false);
    assert!(get(v4(one), "/").starts_with("HTTP/1.1 200 "));
    fixture.checks.send_replace(vec![check(other, "db", 1)]);
    eventually("the close", || TcpStream::connect(v4(one)).err());
    assert!(get(v4(other), "/").starts_with("HTTP/1.1 200 "));
}

#[test]
fn health_check_ports_leave_descriptors_to_the_rest() {
    let fixture = fixture("127.0.0.1:0");
    let mut ports = [free_port(), free_port(), free_port()];
    ports.sort_unstable();
    let check = |port: &u16| HealthCheck {
        service: ObjectName::new("shop", &format!("s{port}")),
        port: *port,
        ready_local: 1,
    };
    let open = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
    fixture.checks.send_replace(ports[1..].iter().map(check).collect());
    eventually("both", || (open(ports[1]) && open(ports[2])).then_some(()));
    // One too many: what is open stays, though another comes before it.
    fixture.checks.send_replace(ports.iter().map(check).collect());
    let said = eventually("the report", || fixture.ports.failures().into_iter().next());
    assert!(said.contains("2 of 3 are served") && said.contains("LimitNOFILE"), "{said}");
    assert!(!open(ports[0]) && open(ports[1]) && open(ports[2]));
    fixture.checks.send_replace(ports[..2].iter().map(check).collect());
    eventually("the first", || open(ports[0]).then_some(()));
    assert!(fixture.ports.failures().is_empty());
}

#[test]
fn too_much_is_refused() {
    let fixture = fixture("127.0.0.1:0");
    let at = fixture.address("healthz");
    let mut posted = TcpStream::connect(at).unwrap();
    posted.write_all(b"POST /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    posted.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let mut long = TcpStream::connect(at).unwrap();
    long.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nx: {}", "a".repeat(64 * 1024));
    drop(long.write_all(head.as_bytes()));
    let mut answer = Vec::new();
    drop(long.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

impl Fixture {
    fn refused(&self) -> u64 {
        let name = "towpath_admin_connections_refused_total{listener=\"healthz\"} ";
        let text = self.text();
        let counted = text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
        counted.unwrap_or(0)
    }
}

/// A connection from one of the loopback addresses.
fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

#[test]
fn a_flood_keeps_no_probe_out() {
    let fixture = fixture("127.0.0.1:0");
    let at = fixture.address("healthz");
    // One address, and many; idle, in the middle of a head, and kept alive after an answer.
    // As many as it takes: those that wait for their clients are closed after a while.
    let mut from_one = Vec::new();
    eventually("the share of one address", || {
        from_one.push(TcpStream::connect(at).unwrap());
        (fixture.refused() >= 64).then_some(())
    });
    assert!(get(at, "/livez").starts_with("HTTP/1.1 200 "));
    let mut from_many = Vec::new();
    eventually("the limit of all", || {
        let nth = from_many.len();
        let mut stream = connect_from([127, 0, 1, u8::try_from(nth / 10 % 250).unwrap() + 1], at);
        let head = ["GET /livez", "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"][nth % 2];
        drop(stream.write_all(head.as_bytes()));
        from_many.push(stream);
        (fixture.refused() >= 64 + 40).then_some(())
    });
    for _ in 0..5 {
        assert!(get(at, "/livez").starts_with("HTTP/1.1 200 "));
    }
    drop((from_one, from_many));
}

#[tokio::test]
async fn a_server_that_panics_takes_the_thread_with_it() {
    let mut servers = tokio::task::JoinSet::new();
    servers.spawn(std::future::pending());
    servers.spawn(async { panic!("on purpose") });
    let ended = tokio::spawn(super::outlive(servers)).await.unwrap_err();
    assert_eq!(ended.into_panic().downcast_ref::<&str>(), Some(&"on purpose"));
}

#[test]
fn a_drain_closes_listeners_and_answers_what_was_asked() {
    let fixture = fixture("127.0.0.1:0");
    let (health, numbers) = (fixture.address("healthz"), fixture.address("metrics"));
    fixture.daemon.stuck.store(true, Ordering::Relaxed);
    let idle = TcpStream::connect(health).unwrap();
    let scrape = std::thread::spawn(move || get(numbers, "/metrics"));
    eventually("the scrape", || {
        (fixture.daemon.gathered.load(Ordering::Relaxed) > 0).then_some(())
    });
    fixture.drain.send_replace(true);
    eventually("a closed port", || TcpStream::connect(health).is_err().then_some(()));
    fixture.daemon.stuck.store(false, Ordering::Relaxed);
    assert!(scrape.join().unwrap().starts_with("HTTP/1.1 200 OK\r\n"), "it was being answered");
    fixture.thread.join().unwrap();
    drop(idle);
}
