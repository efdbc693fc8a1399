//! An engine on loopback, with backends that record what arrives.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod certificates;
pub(crate) mod http_2;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use towpath_ingress::{
    CertStore, Connector, Engine, EngineSettings, IngressMetrics, Listen, Listeners, Snapshots,
};
use towpath_model::{Event, Kind, ObjectName, Secret, Store, decode};
use towpath_route::{
    EndpointSet, EndpointSets, Missing, NEEDS, Protocol, RoutePlan, Settings, Target,
};

/// Answers each request with 200, its name and the request's head; an upgrade with 101 and an echo. A
/// request for `/wait` is answered once the gate is open.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn wait(&self) {
        let open = self.open.lock().unwrap();
        drop(self.changed.wait_while(open, |open| !*open).unwrap());
    }
}

impl Backend {
    /// The same over TLS. What each client said in its handshake is recorded before its requests.
    pub(crate) fn over_tls(name: &str, config: &Arc<rustls::ServerConfig>) -> Self {
        let config = Arc::clone(config);
        Self::with(name, move |mut stream, name, recorded, gate| {
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            while tls.is_handshaking() {
                if tls.complete_io(&mut stream).is_err() {
                    recorded.lock().unwrap().push("no handshake".to_owned());
                    return;
                }
            }
            let certificates = tls.peer_certificates().map_or(0, <[_]>::len);
            let alpn = tls.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
            recorded.lock().unwrap().push(format!(
                "hello sni={} alpn={} certificates={certificates}",
                tls.server_name().unwrap_or("-"),
                alpn.as_deref().unwrap_or("-"),
            ));
            echo(rustls::StreamOwned::new(tls, stream), name, recorded, gate);
        })
    }

    /// One that is there already, and records elsewhere.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, heads: Arc::default(), gate: Arc::default() }
    }

    /// Takes whatever comes for no request of HTTP/1.
    pub(crate) fn refuses() -> Self {
        Self::with("", |mut stream, _, _, _| {
            let _begun = stream.read(&mut [0; 16]).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
        })
    }

    /// Is asked about requests: says 200 to who has the cookie `good`, with a user and a cookie, what
    /// another cookie says, and 401 without one. Its answers have a body.
    pub(crate) fn judge() -> Self {
        Self::with("", |mut stream, _, recorded, _| {
            loop {
                let head = read_head(&mut stream);
                if head.is_empty() {
                    return;
                }
                let says = head.lines().find_map(|line| line.strip_prefix("cookie: session="));
                let status = says.unwrap_or("401").to_owned();
                recorded.lock().unwrap().push(head);
                let (status, fields) = match &*status {
                    "good" => ("200", "X-Auth-User: alice\r\n"),
                    "401" => ("401", "WWW-Authenticate: Bearer\r\n"),
                    other => (other, ""),
                };
                let answer = format!(
                    "HTTP/1.1 {status} Said\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n{fields}Content-Length: 4\r\n\r\nbody"
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
        })
    }

    /// Begins its answers and does not go on.
    pub(crate) fn halts() -> Self {
        Self::with("", |mut stream, _, _, gate| {
            read_head(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun").unwrap();
            gate.wait();
        })
    }

    /// Takes connections and reads nothing.
    pub(crate) fn deaf() -> Self {
        Self::with("", |_stream, _, _, gate| gate.wait())
    }

    pub(crate) fn start(name: &str) -> Self {
        Self::with(name, echo)
    }

    fn with(
        name: &str,
        serve: impl Fn(TcpStream, &str, &Mutex<Vec<String>>, &Gate) + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let gate: Arc<Gate> = Arc::default();
        let (recorded, opens, name) = (Arc::clone(&heads), Arc::clone(&gate), name.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (recorded, opens) = (Arc::clone(&recorded), Arc::clone(&opens));
                let (name, serve) = (name.clone(), serve.clone());
                thread::spawn(move || serve(stream.unwrap(), &name, &recorded, &opens));
            }
        });
        Self { address, heads, gate }
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(crate) fn open_gate(&self) {
        *self.gate.open.lock().unwrap() = true;
        self.gate.changed.notify_all();
    }
}

fn echo<S: std::io::Read + std::io::Write>(
    mut stream: S,
    name: &str,
    recorded: &Mutex<Vec<String>>,
    gate: &Gate,
) {
    loop {
        let head = read_head(&mut stream);
        if head.is_empty() {
            return;
        }
        recorded.lock().unwrap().push(head.clone());
        let lower = head.to_ascii_lowercase();
        if lower.contains("\r\nupgrade:") {
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                stream.write_all(&bytes[..count]).unwrap();
            }
            return;
        }
        if head.starts_with("GET /wait ") {
            gate.wait();
        }
        let length = |line: &str| Some(line.split_once(": ")?.1.parse::<usize>().unwrap());
        let lines = lower.lines();
        let length = lines.filter(|line| line.starts_with("content-length")).find_map(length);
        if stream.read_exact(&mut vec![0; length.unwrap_or(0)]).is_err() {
            return;
        }
        if lower.contains("transfer-encoding: chunked") && read_chunks(&mut stream).is_none() {
            return;
        }
        let body = if head.starts_with("HEAD ") { "" } else { &head };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Backend: {name}\r\nContent-Length: {}\r\n\r\n{body}",
            head.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Up to the last chunk, without trailers.
fn read_chunks(stream: &mut impl std::io::Read) -> Option<()> {
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            line.push(byte[0]);
        }
        let text = String::from_utf8(line).ok()?;
        let size = usize::from_str_radix(text.trim(), 16).ok()?;
        stream.read_exact(&mut vec![0; size + 2]).ok()?;
        if size == 0 {
            return Some(());
        }
    }
}

/// Up to the empty line; nothing where the other end closed.
pub(crate) fn read_head(stream: &mut impl std::io::Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

pub(crate) struct Bed {
    pub(crate) store: Store,
    plan: RoutePlan,
    pub(crate) snapshots: Arc<Snapshots>,
    /// By the name of the Service that leads to them.
    pub(crate) backends: BTreeMap<String, Vec<Backend>>,
    /// Addresses that nothing listens on come first in every set.
    pub(crate) dead: Vec<SocketAddr>,
    /// What `appProtocol` says of every Service.
    pub(crate) protocol: Protocol,
    /// The Secret that annotations name, whatever its name.
    pub(crate) secret: Option<Secret>,
    pub(crate) metrics: prometheus::Registry,
    pub(crate) engine: Engine,
}

impl Bed {
    /// With one Service `s`.
    pub(crate) fn new() -> Self {
        Self::with(Settings::default(), 100)
    }

    pub(crate) fn with(settings: Settings, connections: usize) -> Self {
        let mut store = Store::new("node");
        NEEDS.into_iter().for_each(|stream| _ = store.feed(Event::Init(stream)));
        let class =
            json!({ "metadata": { "name": "c" }, "spec": { "controller": "towpath.io/ingress" } });
        apply(&mut store, Kind::IngressClass, &class);
        NEEDS.into_iter().for_each(|stream| _ = store.feed(Event::InitDone(stream)));
        let snapshots: Arc<Snapshots> = Arc::default();
        let address = "127.0.0.1:0".parse().unwrap();
        let engine = EngineSettings { workers: 2, connections, https_port: 443, seed: 7 };
        let listeners =
            [false, true].map(|tls| Listeners::bind(Listen { address, tls }, 2).unwrap());
        let metrics = prometheus::Registry::new();
        let counted = Arc::new(IngressMetrics::new(&metrics).unwrap());
        let engine = Engine::start(&engine, listeners.into(), &snapshots, &counted).unwrap();
        let plan = RoutePlan::new(settings);
        let backends = BTreeMap::from([("s".to_owned(), vec![Backend::start("s")])]);
        let (protocol, secret) = (Protocol::default(), None);
        Self {
            store,
            plan,
            snapshots,
            backends,
            dead: Vec::new(),
            protocol,
            secret,
            metrics,
            engine,
        }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backends["s"][0]
    }

    /// One Ingress of host `h.example`, all paths to Service `s`.
    pub(crate) fn ingress(&mut self, annotations: &Value) {
        let object = json!({ "metadata": { "name": "i", "namespace": "n", "annotations": annotations },
            "spec": { "ingressClassName": "c", "rules": [{ "host": "h.example", "http": { "paths": [
                { "path": "/", "pathType": "Prefix",
                  "backend": { "service": { "name": "s", "port": { "number": 80 } } } }] } }] } });
        self.apply(Kind::Ingress, &object);
    }

    pub(crate) fn apply(&mut self, kind: Kind, object: &Value) {
        apply(&mut self.store, kind, object);
        self.publish();
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.store.feed(Event::Delete(Kind::Ingress, ObjectName::new("n", name)));
        self.publish();
    }

    pub(crate) fn publish(&mut self) {
        let (view, _) = self.store.commit();
        self.plan.update(&view, None);
        let table = Arc::clone(self.plan.table());
        let mut sets = Vec::new();
        let tables = table.hosts();
        let routes = tables.iter().flat_map(|(_, host)| host.routes()).chain(table.catch_all());
        let target = |route: &towpath_route::Route| match route.target {
            Target::Service(slot) => Some(slot),
            _ => None,
        };
        let slots = routes.flat_map(|route| target(route).into_iter().chain(route.asked));
        for slot in slots {
            let service = &self.plan.backend(slot).unwrap().service.name;
            let backends = self.backends.get(&**service).into_iter().flatten();
            let endpoints: Vec<_> =
                self.dead.iter().copied().chain(backends.map(|backend| backend.address)).collect();
            let keys = endpoints.iter().map(|at| towpath_route::endpoint_key("uid", at)).collect();
            let missing = endpoints.is_empty().then_some(Missing::Service);
            sets.push((
                slot,
                EndpointSet { endpoints: endpoints.into(), missing, protocol: self.protocol, keys },
            ));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let connectors = self.plan.endpoint_tls().keys().filter_map(|tls| {
            let secret = self.secret.as_ref().filter(|_| tls.secret.is_some());
            let connector = Connector::new(tls, secret, &provider).ok();
            connector
                .filter(|_| tls.secret.is_none() || secret.is_some())
                .map(|made| (Arc::clone(tls), made))
        });
        self.snapshots.connectors.store(Arc::new(connectors.collect()));
        self.snapshots.sets.store(Arc::new(sets.into_iter().collect::<EndpointSets>()));
        self.snapshots.table.store(table);
    }

    pub(crate) fn certificates(&self, certs: CertStore) {
        self.snapshots.certs.store(Arc::new(certs));
    }

    pub(crate) fn plain(&self) -> SocketAddr {
        self.engine.addresses()[0]
    }

    pub(crate) fn tls(&self) -> SocketAddr {
        self.engine.addresses()[1]
    }

    pub(crate) fn client(&self) -> TcpStream {
        let stream = TcpStream::connect(self.plain()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// A number, by its name and the value of its label.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let of = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        };
        let metric = family.get_metric().iter().find(of).unwrap();
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    }

    /// What a client sees may come before it is counted.
    pub(crate) fn wait_for(&self, name: &str, label: &str, value: f64) {
        let counted = (0..6000).any(|_| {
            let seen = self.metric(name, label) == value;
            if !seen {
                thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        assert!(counted, "{name} is {}", self.metric(name, label));
    }
}

pub(crate) fn apply(store: &mut Store, kind: Kind, object: &Value) {
    store.feed(Event::Apply(decode(kind, object.to_string().as_bytes()).unwrap()));
}

/// Sends, and reads one answer: head and body.
pub(crate) fn ask(stream: &mut TcpStream, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

pub(crate) fn answer(stream: &mut TcpStream) -> (String, String) {
    let head = read_head(stream);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}
