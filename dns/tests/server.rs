//! The server over real sockets, with upstreams that behave as a script says.
#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "../zone/tests/table/fixture.rs"]
mod fixture;
#[path = "server/upstream.rs"]
mod upstream;

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use fixture::question;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RecordType, rdata::opt::EdnsCode},
};
use socket2::{Domain, Socket, Type};
use towpath_dns::{
    DnsMetrics, ForwardSettings, Forwarder, Heart, Limits, Listeners, NoHeart, Pulse, Server,
};
use towpath_zone::{PodRecords, Snapshot, Zones};
use upstream::{Act, Upstream};

/// Attempts that end soon.
fn soon() -> ForwardSettings {
    ForwardSettings {
        attempt: Duration::from_millis(300),
        total: Duration::from_secs(2),
        ..ForwardSettings::default()
    }
}

const A: u16 = 1;
const WEB: &str = "web.shop.svc.cluster.local";

struct Bed {
    _runtime: tokio::runtime::Runtime,
    _server: Server,
    forwarder: Arc<Forwarder>,
    registry: prometheus::Registry,
    zones: Arc<ArcSwap<Snapshot>>,
    address: SocketAddr,
}

impl Bed {
    fn new(upstreams: &[&Upstream], limits: Limits) -> Self {
        Self::with(upstreams, limits, soon())
    }

    fn with(upstreams: &[&Upstream], limits: Limits, settings: ForwardSettings) -> Self {
        Self::beating(upstreams, limits, settings, &NoHeart)
    }

    fn beating(
        upstreams: &[&Upstream],
        limits: Limits,
        settings: ForwardSettings,
        heart: &dyn Heart,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let registry = prometheus::Registry::new();
        let metrics = Arc::new(DnsMetrics::new(&registry).unwrap());
        let forwarder = Arc::new(Forwarder::new(settings, Arc::clone(&metrics)));
        let servers: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
        forwarder.set_upstreams(&servers);
        let snapshot = fixture::snapshot(&fixture::objects(), PodRecords::Insecure);
        let zones = Arc::new(ArcSwap::from_pointee(snapshot));
        let listeners = Listeners::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listeners.address().unwrap();
        let server = Server::start(
            vec![listeners],
            Arc::clone(&zones),
            Arc::clone(&forwarder),
            metrics,
            limits,
            heart,
            runtime.handle(),
        );
        let server = server.unwrap();
        Self { _runtime: runtime, _server: server, forwarder, registry, zones, address }
    }

    fn udp(&self, query: &[u8]) -> Message {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket.connect(self.address).unwrap();
        socket.send(query).unwrap();
        let mut reply = [0; 4096];
        let length = socket.recv(&mut reply).unwrap();
        assert_eq!(reply[..2], query[..2]);
        Message::from_vec(&reply[..length]).unwrap()
    }

    fn ask(&self, name: &str) -> Message {
        self.udp(&question(name, A, None))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// The sum of a metric.
    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        metrics.iter().map(|metric| metric.get_counter().get_value()).sum()
    }
}

fn send(stream: &mut TcpStream, query: &[u8]) {
    let length = u16::try_from(query.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], query].concat()).unwrap();
}

fn receive(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).unwrap();
    Message::from_vec(&reply).unwrap()
}

/// Waits.
#[track_caller]
fn until(is: impl Fn() -> bool) {
    let late = std::time::Instant::now() + Duration::from_secs(10);
    while !is() {
        assert!(std::time::Instant::now() < late, "never so");
        std::thread::yield_now();
    }
}

fn addresses(message: &Message) -> Vec<String> {
    let addresses = message.answers.iter().filter(|record| record.record_type() == RecordType::A);
    addresses.map(|record| record.data.to_string()).collect()
}

#[test]
fn names_of_the_cluster_are_answered_over_udp_and_tcp_and_follow_the_snapshot() {
    let bed = Bed::new(&[], Limits::default());
    assert_eq!(addresses(&bed.ask(WEB)), ["10.96.1.1"]);
    let mut stream = bed.connect();
    send(&mut stream, &question(WEB, A, None));
    assert_eq!(addresses(&receive(&mut stream)), ["10.96.1.1"]);
    bed.zones.store(Arc::new(fixture::snapshot(&[], PodRecords::Insecure)));
    assert_eq!(bed.ask(WEB).metadata.response_code, ResponseCode::NXDomain);
    send(&mut stream, &question(WEB, A, None));
    assert_eq!(receive(&mut stream).metadata.response_code, ResponseCode::NXDomain);
    assert!((bed.metric("coredns_dns_requests_total") - 4.0).abs() < 0.1);
}

#[test]
fn a_connection_carries_several_questions_and_a_slow_one_holds_up_no_other() {
    let slow = Upstream::start(vec![Act::Wait(Duration::from_millis(200)), Act::Answer(60)]);
    let bed = Bed::new(&[&slow], Limits::default());
    let mut stream = bed.connect();
    let mut first = question("slow.example", A, None);
    first[1] = 1;
    send(&mut stream, &first);
    for id in 2..10 {
        let mut query = question(WEB, A, None);
        query[1] = id;
        send(&mut stream, &query);
    }
    let ids: Vec<_> = (0..9).map(|_| receive(&mut stream).metadata.id & 0xff).collect();
    assert_eq!(ids, [2, 3, 4, 5, 6, 7, 8, 9, 1]);
}

#[test]
fn what_an_upstream_says_is_believed_only_as_far_as_it_was_asked() {
    let rows: [(&str, Vec<Act>, &[&str], ResponseCode); 11] = [
        ("an answer", vec![Act::Answer(60)], &["192.0.2.1"], ResponseCode::NoError),
        ("no such name", vec![Act::NoName], &[], ResponseCode::NXDomain),
        (
            "a wrong id first",
            vec![Act::WrongId, Act::Answer(60)],
            &["192.0.2.1"],
            ResponseCode::NoError,
        ),
        (
            "a wrong question first",
            vec![Act::WrongQuestion, Act::Answer(60)],
            &["192.0.2.1"],
            ResponseCode::NoError,
        ),
        (
            "another port first",
            vec![Act::WrongPort, Act::Answer(60)],
            &["192.0.2.1"],
            ResponseCode::NoError,
        ),
        ("noise first", vec![Act::Noise, Act::Answer(60)], &["192.0.2.1"], ResponseCode::NoError),
        ("records of other names", vec![Act::Poison], &["192.0.2.1"], ResponseCode::NoError),
        ("too large for UDP", vec![Act::Truncate], &["192.0.2.7"], ResponseCode::NoError),
        ("no EDNS", vec![Act::OldServer], &["192.0.2.1"], ResponseCode::NoError),
        ("failure", vec![Act::Fail], &[], ResponseCode::ServFail),
        ("nothing", vec![], &[], ResponseCode::ServFail),
    ];
    for (what, acts, expected, code) in rows {
        let upstream = Upstream::start(acts);
        let bed = Bed::new(&[&upstream], Limits::default());
        let message = bed.ask("x.example");
        assert_eq!(addresses(&message), expected, "{what}");
        assert_eq!(message.metadata.response_code, code, "{what}");
        assert!(!message.metadata.authoritative, "{what}");
    }
}

#[test]
fn an_upstream_that_fails_is_followed_by_the_next_and_asked_last() {
    let (dead, fine) = (Upstream::start(vec![]), Upstream::start(vec![Act::Answer(60)]));
    let bed = Bed::new(&[&dead, &fine], Limits::default());
    assert_eq!(addresses(&bed.ask("a.example")), ["192.0.2.1"]);
    assert_eq!((dead.asked(), fine.asked()), (1, 1));
    assert_eq!(addresses(&bed.ask("b.example")), ["192.0.2.1"]);
    assert_eq!((dead.asked(), fine.asked()), (1, 2), "the dead one is left alone for a while");
}

#[test]
fn an_upstream_that_is_not_there_is_followed_by_the_next() {
    let fine = Upstream::start(vec![Act::Answer(60)]);
    let bed = Bed::new(&[&fine], Limits::default());
    let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    bed.forwarder.set_upstreams(&[gone, fine.address]);
    assert_eq!(addresses(&bed.ask("a.example")), ["192.0.2.1"]);
}

#[test]
fn an_answer_is_kept_and_a_question_is_asked_once_at_a_time() {
    let upstream = Upstream::start(vec![Act::Wait(Duration::from_millis(200)), Act::Answer(60)]);
    let bed = Bed::new(&[&upstream], Limits::default());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(addresses(&bed.ask("X.example")), ["192.0.2.1"]));
        }
    });
    assert_eq!(upstream.asked(), 1, "eight clients at once");
    let again = bed.ask("x.EXAMPLE");
    assert_eq!((upstream.asked(), addresses(&again)), (1, vec!["192.0.2.1".to_owned()]));
    assert!(again.answers[0].ttl <= 30, "kept for 30 seconds at most, as the answer was 60");
    assert!(bed.metric("coredns_cache_hits_total") >= 1.0);
}

#[test]
fn a_service_of_an_external_name_leads_to_the_addresses_of_that_name() {
    let upstream = Upstream::start(vec![Act::Answer(60)]);
    let bed = Bed::new(&[&upstream], Limits::default());
    for _ in 0..2 {
        let message = bed.ask("OUT.shop.svc.cluster.local");
        let told: Vec<_> =
            message.answers.iter().map(|r| format!("{} {}", r.name, r.data)).collect();
        let expected = ["OUT.shop.svc.cluster.local. db.example.com.", "db.example.com. 192.0.2.1"];
        assert_eq!(told.join(", ").to_lowercase(), expected.join(", ").to_lowercase());
        assert_eq!(message.queries[0].name().to_ascii(), "OUT.shop.svc.cluster.local.");
    }
    assert_eq!(upstream.asked(), 1);
    let bed = Bed::new(&[&Upstream::start(vec![Act::NoName])], Limits::default());
    let message = bed.ask("out.shop.svc.cluster.local");
    assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(message.answers.len(), 1, "the CNAME, and the code of where it leads");
}

#[test]
fn a_reply_of_others_is_cut_to_what_the_client_takes() {
    let upstream = Upstream::start(vec![Act::Truncate]);
    let bed = Bed::new(&[&upstream], Limits::default());
    let small = bed.udp(&question("big.example", 16, None));
    assert!(small.metadata.truncation);
    let mut stream = bed.connect();
    send(&mut stream, &question("big.example", 16, None));
    let whole = receive(&mut stream);
    assert!(!whole.metadata.truncation);
    assert!(whole.answers.len() > small.answers.len());
}

#[test]
fn connections_and_waiting_questions_have_a_limit() {
    let dead = Upstream::start(vec![]);
    let limits = Limits { misses: 1, connections: 1, ..Limits::default() };
    let bed = Bed::new(&[&dead], limits);
    let mut first = bed.connect();
    send(&mut first, &question(WEB, A, None));
    receive(&mut first);
    let mut second = bed.connect();
    assert_eq!(second.read(&mut [0]).unwrap(), 0, "closed");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.send_to(&question("a.example", A, None), bed.address).unwrap();
    until(|| dead.asked() == 1);
    let code = bed.ask("b.example").metadata.response_code;
    assert_eq!((code, dead.asked()), (ResponseCode::ServFail, 1));
    assert_eq!(addresses(&bed.ask(WEB)), ["10.96.1.1"], "names of the cluster are answered");
}

#[test]
fn a_client_that_is_silent_or_sends_half_a_message_is_let_go() {
    let limits = Limits { idle: Duration::from_millis(100), ..Limits::default() };
    let bed = Bed::new(&[], limits);
    for sent in [&b""[..], b"\0", b"\0\x20abc"] {
        let mut stream = bed.connect();
        stream.write_all(sent).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

/// What a reply with EDNS says of itself (RFC 8914), as numbers.
fn extended(message: &Message) -> Vec<u8> {
    let edns = message.edns.as_ref().unwrap();
    let option = edns.option(EdnsCode::Unknown(15));
    option.map(|option| Vec::try_from(option).unwrap()).unwrap_or_default()
}

/// Asks until the answer that was kept does not hold any more.
fn ask_until_stale(bed: &Bed) -> Message {
    loop {
        let message = bed.udp(&question("x.example", A, Some(1232)));
        match message.answers[0].ttl {
            1 => assert!(extended(&message).is_empty()),
            _ => return message,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_expired_answer_comes_in_time_and_the_next_one_at_once() {
    let fine = Upstream::start(vec![Act::Answer(1)]);
    let dead = Upstream::start(vec![]);
    // An attempt takes for ever: that there is a reply at all is the client's timer.
    let never = Duration::from_secs(3600);
    let client = Duration::from_millis(100);
    let settings = ForwardSettings { attempt: never, total: never, client, ..soon() };
    let bed = Bed::with(&[&fine], Limits::default(), settings);
    assert_eq!(addresses(&bed.ask("x.example")), ["192.0.2.1"]);
    bed.forwarder.set_upstreams(&[dead.address]);
    let stale = ask_until_stale(&bed);
    assert_eq!((stale.answers[0].ttl, addresses(&stale)), (30, vec!["192.0.2.1".to_owned()]));
    assert_eq!(extended(&stale), [0, 3], "Stale Answer");
    let known = bed.metric("coredns_cache_hits_total");
    for _ in 0..8 {
        assert_eq!(bed.ask("x.example").answers[0].ttl, 30);
    }
    let known = bed.metric("coredns_cache_hits_total") - known;
    assert!(known > 7.5, "these do not wait for the client's timer: {known}");
    assert_eq!(dead.asked(), 1, "what did not answer a moment ago is left alone");
    assert!(bed.metric("coredns_cache_served_stale_total") >= 9.0);
}

#[test]
fn an_upstream_that_failed_is_not_asked_again_for_an_answer_that_expired() {
    let fine = Upstream::start(vec![Act::Answer(1)]);
    let failing = Upstream::start(vec![Act::Fail]);
    let bed = Bed::new(&[&fine], Limits::default());
    bed.ask("x.example");
    bed.forwarder.set_upstreams(&[failing.address]);
    ask_until_stale(&bed);
    for _ in 0..8 {
        assert_eq!(addresses(&bed.ask("x.example")), ["192.0.2.1"]);
    }
    assert_eq!(failing.asked(), 1);
}

#[test]
fn an_answer_that_comes_after_the_client_was_served_is_kept() {
    let fine = Upstream::start(vec![Act::Answer(1)]);
    let slow = Upstream::start(vec![Act::Wait(Duration::from_millis(400)), Act::Answer(60)]);
    let never = Duration::from_secs(3600);
    let client = Duration::from_millis(50);
    let settings = ForwardSettings { attempt: never, total: never, client, ..soon() };
    let bed = Bed::with(&[&fine], Limits::default(), settings);
    bed.ask("x.example");
    bed.forwarder.set_upstreams(&[slow.address]);
    ask_until_stale(&bed);
    until(|| extended(&bed.udp(&question("x.example", A, Some(1232)))).is_empty());
    assert_eq!(slow.asked(), 1);
}

#[test]
fn one_client_cannot_have_all_connections_nor_all_waiting_questions() {
    let dead = Upstream::start(vec![]);
    // A connection that was not turned away stays.
    let idle = Duration::from_secs(3600);
    let limits = Limits { misses: 4, connections: 4, idle, ..Limits::default() };
    let bed = Bed::new(&[&dead], limits);
    let mut greedy = bed.connect();
    send(&mut greedy, &question(WEB, A, None));
    receive(&mut greedy);
    assert_eq!(bed.connect().read(&mut [0]).unwrap(), 0, "closed: its share is one of four");
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    other.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    other.connect(&bed.address.into()).unwrap();
    let mut other = TcpStream::from(other);
    send(&mut other, &question(WEB, A, None));
    assert_eq!(addresses(&receive(&mut other)), ["10.96.1.1"], "another client is served");
    // The same for questions that wait.
    send(&mut greedy, &question("a.example", A, None));
    until(|| dead.asked() == 1);
    let code = bed.ask("b.example").metadata.response_code;
    assert_eq!((code, dead.asked()), (ResponseCode::ServFail, 1));
    send(&mut other, &question("c.example", A, None));
    until(|| dead.asked() == 2);
}

/// Counts the beats of each thread; `None`: its life sign was given up.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<Vec<Option<u64>>>>);

struct One {
    of: Counting,
    at: usize,
}

impl Heart for Counting {
    fn pulse(&self) -> Option<Box<dyn Pulse>> {
        let mut all = self.0.lock().unwrap();
        all.push(Some(0));
        Some(Box::new(One { of: self.clone(), at: all.len() - 1 }))
    }
}

impl Pulse for One {
    fn beat(&mut self) {
        *self.of.0.lock().unwrap()[self.at].as_mut().unwrap() += 1;
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.of.0.lock().unwrap()[self.at] = None;
    }
}

#[test]
fn each_thread_that_serves_beats_while_there_is_something_to_serve() {
    let heart = Counting::default();
    let bed = Bed::beating(&[], Limits::default(), soon(), &heart);
    let beats = || heart.0.lock().unwrap().clone();
    assert_eq!(beats().len(), 2, "one for UDP, one for the rest");
    until(|| beats().iter().all(|beats| beats.is_some_and(|beats| beats > 2)));
    // Nothing can be answered from a zone that was never filled: at most one beat was under way.
    let empty = Zones::new(bed.zones.load().settings().clone()).unwrap().snapshot().clone();
    bed.zones.store(Arc::new(empty));
    let before = beats();
    for _ in 0..3 {
        bed.ask(WEB);
        std::thread::sleep(Duration::from_millis(60));
    }
    let after = beats();
    let more = |at: usize| after[at].unwrap() - before[at].unwrap();
    assert!(more(0) <= 1 && more(1) <= 1, "{before:?} {after:?}");
    drop(bed);
    until(|| beats() == [None, None]);
}
