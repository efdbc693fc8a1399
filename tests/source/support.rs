//! Words of these tests: a server that answers from a script, and an ear that keeps what it hears.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use towpath::{
    clock::SystemClock,
    config::Access,
    source::{
        Feed, Health,
        kube::{self, ConnectError, KubeSettings, Patience},
    },
};
use towpath_model::{Event, Kind, Relist, Store, Stream};
use towpath_proxy::NEEDS;
use towpath_testbed::api::Api;

/// How much of floods was taken.
pub(crate) static FLOODED_MIB: AtomicU64 = AtomicU64::new(0);

/// Nothing here takes longer, unless it is broken: not on a machine that is busy either.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Between two looks, and between two bytes or bookmarks of a server that goes on for ever.
const LOOK: Duration = Duration::from_millis(10);
const PULSE: Duration = Duration::from_millis(500);

/// Waiting times of these tests: everything of the real ones, faster. Silence is no test's business
/// but those of `silence.rs`.
pub(crate) const QUICK: Patience = Patience {
    silence: Duration::from_secs(60),
    wait_min: Duration::from_millis(10),
    wait_max: Duration::from_millis(300),
    watch: Duration::from_secs(300),
    look_again: Duration::from_millis(50),
    absent: Duration::from_millis(100),
};

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: String,
    /// How many requests had the same path before.
    pub(crate) nth: usize,
    pub(crate) at: Instant,
}

impl Ask {
    /// Asks about this kind.
    pub(crate) fn of(&self, kind: Kind) -> bool {
        path(kind) == self.path
    }
    pub(crate) fn has(&self, part: &str) -> bool {
        self.query.split('&').any(|p| p == part)
    }
    /// Asks for a streaming list.
    pub(crate) fn lists(&self) -> bool {
        self.has("sendInitialEvents=true")
    }
    /// The version that a watch goes on from.
    pub(crate) fn version(&self) -> &str {
        let value = self.query.split('&').find_map(|p| p.strip_prefix("resourceVersion="));
        value.unwrap_or_default()
    }
}

pub(crate) fn path(kind: Kind) -> String {
    format!("{}/{}", kind.row().root(), kind.row().plural)
}

/// What happens to the connection after the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// It is closed: the end of the body.
    Close,
    /// It stays open and silent.
    Hold,
    /// It stays open and silent until the test hangs up.
    UntilHungUp,
    /// It is closed after this time.
    After(Duration),
    /// A GiB without an end of a line follows.
    Flood,
    /// It stays open, and a byte that means nothing comes now and then.
    Drip,
    /// It stays open, and a bookmark comes now and then.
    Bookmarks,
}

/// Bytes as they go over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

impl Reply {
    /// A stream of these lines.
    pub(crate) fn lines(lines: &[String], then: Then) -> Self {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
        Self { bytes: format!("{head}{}", lines.concat()).into_bytes(), then }
    }
    /// An answer with this code.
    pub(crate) fn status(code: u16, headers: &str, message: &str) -> Self {
        let body = json!({ "kind": "Status", "code": code, "message": message }).to_string();
        Self::whole(code, headers, &body)
    }
    /// A whole answer.
    pub(crate) fn whole(code: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {code} X\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
        );
        Self { bytes: format!("{head}{body}").into_bytes(), then: Then::Close }
    }
}

/// An empty list that stays open.
pub(crate) fn nothing() -> Reply {
    Reply::lines(&[end(1)], Then::Hold)
}

/// An answer for a client that goes on watching.
pub(crate) fn quiet() -> Reply {
    Reply::lines(&[], Then::Hold)
}

pub(crate) fn line(what: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": what, "object": object }))
}

/// The bookmark that ends a streaming list.
pub(crate) fn end(version: u64) -> String {
    let annotations = json!({ "k8s.io/initial-events-end": "true" });
    let meta = json!({ "resourceVersion": version.to_string(), "annotations": annotations });
    line("BOOKMARK", &json!({ "metadata": meta }))
}

pub(crate) fn bookmark(version: u64) -> String {
    line("BOOKMARK", &json!({ "metadata": { "resourceVersion": version.to_string() } }))
}

/// A Service whose name and version say it all; `port` is what a test can change.
pub(crate) fn service(name: &str, version: u64, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": "default", "resourceVersion": version.to_string() },
        "spec": { "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [{ "port": port, "protocol": "TCP" }] },
    })
}

/// The same, in a way that no client understands.
pub(crate) fn bad_service(name: &str, version: u64) -> Value {
    let mut object = service(name, version, 1);
    object["spec"] = 5.into();
    object
}

/// The small API server, and where it is.
pub(crate) fn small_api() -> (Api, String) {
    let api = Api::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    api.serve(listener).unwrap();
    (api, server)
}

/// An address where connections are refused: it is taken, so that nothing else comes to listen there.
pub(crate) fn deaf() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// A server that answers from a script, and remembers what it was asked.
pub(crate) struct Script {
    pub(crate) addr: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<Ask>>>,
    hang_ups: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Script {
    pub(crate) async fn start(answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(None, answer).await
    }

    /// With TLS.
    pub(crate) async fn secure(
        acceptor: TlsAcceptor,
        answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(acceptor), answer).await
    }

    async fn listen(
        acceptor: Option<TlsAcceptor>,
        answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let answer = Arc::new(answer);
        let hang_ups = watch::Sender::new(0);
        let hung_up = hang_ups.subscribe();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (log, answer, hung_up) =
                    (Arc::clone(&log), Arc::clone(&answer), hung_up.clone());
                match acceptor.clone() {
                    None => drop(tokio::spawn(talk(stream, log, answer, hung_up))),
                    Some(acceptor) => drop(tokio::spawn(async move {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            talk(stream, log, answer, hung_up).await;
                        }
                    })),
                }
            }
        });
        Self { addr, scheme, asked, hang_ups, task }
    }

    /// Ends every answer that waits for this.
    pub(crate) fn hang_up(&self) {
        self.hang_ups.send_modify(|times| *times += 1);
    }
    pub(crate) fn asked(&self) -> Vec<Ask> {
        self.asked.lock().unwrap().clone()
    }
    pub(crate) fn asked_of(&self, kind: Kind) -> Vec<Ask> {
        self.asked().into_iter().filter(|ask| ask.of(kind)).collect()
    }
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, one request.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    log: Arc<Mutex<Vec<Ask>>>,
    answer: Arc<impl Fn(&Ask) -> Reply>,
    mut hang_ups: watch::Receiver<u64>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let authorization = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    });
    let ask = {
        let mut log = log.lock().unwrap();
        let nth = log.iter().filter(|ask: &&Ask| ask.path == path).count();
        let ask = Ask {
            path: path.to_owned(),
            query: query.to_owned(),
            authorization: authorization.unwrap_or_default(),
            nth,
            at: Instant::now(),
        };
        log.push(ask.clone());
        ask
    };
    // Before the answer, so that no hanging up falls between the two.
    hang_ups.mark_unchanged();
    let reply = answer(&ask);
    let _gone = stream.write_all(&reply.bytes).await;
    match reply.then {
        Then::Close => {}
        // Until the client leaves.
        Then::Hold => drop(stream.read_u8().await),
        Then::UntilHungUp => {
            tokio::select! {
                _left = stream.read_u8() => {}
                _hung_up = hang_ups.changed() => {}
            }
        }
        Then::After(time) => tokio::time::sleep(time).await,
        Then::Flood => {
            let piece = vec![b'x'; 1 << 20];
            for _ in 0..1024 {
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
                FLOODED_MIB.fetch_add(1, Ordering::Relaxed);
            }
        }
        Then::Drip => {
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(PULSE).await;
            }
        }
        Then::Bookmarks => {
            while stream.write_all(bookmark(7).as_bytes()).await.is_ok() {
                tokio::time::sleep(PULSE).await;
            }
        }
    }
    let _gone = stream.shutdown().await;
}

/// How a server is reached without credentials.
pub(crate) fn kubeconfig(server: &str) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": server } }],
        "users": [{ "name": "c", "user": {} }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
    });
    config.to_string()
}

/// Settings of a source that keeps its files here.
pub(crate) fn settings(kubeconfig: &str, patience: Patience, dir: &Path) -> KubeSettings {
    let path = dir.join("kubeconfig");
    std::fs::write(&path, kubeconfig).unwrap();
    KubeSettings {
        access: Access::Kubeconfig(path),
        api_servers: Vec::new(),
        run_dir: dir.join("run"),
        node_name: "n".to_owned(),
        clock: SystemClock::start(),
        patience,
    }
}

/// The source, and a store that keeps what it says.
pub(crate) struct Ear {
    wakes: mpsc::Receiver<Vec<Event>>,
    relists: mpsc::Sender<Relist>,
    wants: watch::Sender<BTreeSet<Stream>>,
    pub(crate) store: Store,
    pub(crate) health: Health,
    /// Every event, in order.
    pub(crate) heard: Vec<Event>,
    source: JoinHandle<Result<(), ConnectError>>,
    pub(crate) dir: tempfile::TempDir,
}

impl Ear {
    pub(crate) fn to(server: &str) -> Self {
        Self::with(server, QUICK, tempfile::tempdir().unwrap())
    }

    /// With its own patience and run directory.
    pub(crate) fn with(server: &str, patience: Patience, dir: tempfile::TempDir) -> Self {
        Self::configured(&kubeconfig(server), patience, dir)
    }

    pub(crate) fn configured(kubeconfig: &str, patience: Patience, dir: tempfile::TempDir) -> Self {
        let settings = settings(kubeconfig, patience, dir.path());
        let (sender, wakes) = mpsc::channel(64);
        let (relists, inbox) = mpsc::channel(16);
        let health = Health::default();
        let (wants, wanted) = watch::channel(BTreeSet::from(NEEDS));
        let feed = Feed::new(sender);
        let source = tokio::spawn(kube::run(settings, feed, wanted, inbox, health.clone()));
        let (store, heard) = (Store::new("n"), Vec::new());
        Self { wakes, relists, wants, store, health, heard, source, dir }
    }

    /// Listens until the store is as it should be.
    pub(crate) async fn until(&mut self, what: &str, is: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LIMIT;
        while !is(self) {
            tokio::select! {
                wake = self.wakes.recv() => self.take(wake.expect("the source goes on")),
                () = tokio::time::sleep(LOOK) => {}
                () = tokio::time::sleep_until(end) => panic!("not in time: {what}"),
            }
            assert!(Instant::now() < end, "not in time: {what}; {:?}", self.notes());
        }
    }

    /// Listens for a while.
    pub(crate) async fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            tokio::select! {
                wake = self.wakes.recv() => self.take(wake.expect("the source goes on")),
                () = tokio::time::sleep_until(end) => return,
            }
        }
    }

    /// Until every kind was listed.
    pub(crate) async fn until_synced(&mut self) {
        self.until("all kinds listed", |ear| ear.store.view().synced(&NEEDS).is_some()).await;
    }

    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            self.heard.push(event.clone());
            if let Some(relist) = self.store.feed(event) {
                self.relists.try_send(relist).unwrap();
            }
        }
        let _changes = self.store.commit();
    }

    /// These streams are wanted now.
    pub(crate) fn want(&self, streams: impl IntoIterator<Item = Stream>) {
        self.wants.send_replace(streams.into_iter().collect());
    }

    /// Asks for a second list, as the brake does.
    pub(crate) fn doubt(&self, kind: Kind) {
        self.relists.try_send(Relist(kind.into())).unwrap();
    }

    /// Names of the Services, with their first port.
    pub(crate) fn services(&self) -> Vec<String> {
        let view = self.store.view();
        let service = |s: &Arc<towpath_model::Service>| {
            format!("{}:{}", s.meta.name.name, s.ports.first().map_or(0, |p| p.port))
        };
        view.services().map(service).collect()
    }

    pub(crate) fn notes(&self) -> String {
        self.health.notes().iter().map(|note| format!("{note}\n")).collect()
    }

    /// What is wrong with objects.
    pub(crate) fn problems(&self) -> String {
        self.store.problems().map(|problem| format!("{problem}\n")).collect()
    }

    /// The source, which must end by itself.
    pub(crate) async fn ends(mut self) -> Result<(), ConnectError> {
        tokio::time::timeout(LIMIT, &mut self.source).await.unwrap().unwrap()
    }

    /// Stops the source; its directory outlives it.
    pub(crate) fn stop(self) -> tempfile::TempDir {
        self.source.abort();
        let Self { dir, .. } = self;
        dir
    }
}
