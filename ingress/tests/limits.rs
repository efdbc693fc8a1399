//! Clients and endpoints that do not behave, and the end of the engine.
#![expect(clippy::unwrap_used, reason = "a test")]

mod bed;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use bed::{Bed, answer, ask};
use serde_json::json;

const GET: &str = "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n";

fn status(head: &str) -> &str {
    head.get(9..12).unwrap_or(head)
}

/// An address that refuses connections.
fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_head_has_limits_and_the_answer_says_which() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    for (wanted, request) in [
        (
            "431",
            format!("GET / HTTP/1.1\r\nHost: h.example\r\nA: {}\r\n\r\n", "x".repeat(33 << 10)),
        ),
        ("431", format!("GET / HTTP/1.1\r\nHost: h.example\r\n{}\r\n", "A: b\r\n".repeat(100))),
        ("414", format!("GET /{} HTTP/1.1\r\nHost: h.example\r\n\r\n", "x".repeat(9 << 10))),
        ("400", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("200", format!("GET / HTTP/1.1\r\nHost: h.example\r\n{}\r\n", "A: b\r\n".repeat(80))),
    ] {
        let (head, _) = ask(&mut bed.client(), &request);
        assert_eq!(status(&head), wanted, "{request:.60} {head}");
    }
    assert_eq!(bed.backend().heads().len(), 1);
    assert_eq!(bed.metric("towpath_ingress_malformed_total", ""), 3.0);
}

#[test]
fn a_client_that_sends_too_much_reads_why() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let chunk = "x".repeat(64 << 10);
    let chunked: String = (0..64).map(|_| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    let plain = chunk.repeat(64);
    for (field, body) in [
        (format!("Content-Length: {}", plain.len()), plain),
        ("Transfer-Encoding: chunked".to_owned(), chunked + "0\r\n\r\n"),
    ] {
        let mut client = bed.client();
        // As clients do that send everything before they read.
        let request = format!("POST / HTTP/1.1\r\nHost: h.example\r\n{field}\r\n\r\n{body}");
        let (head, _) = ask(&mut client, &request);
        assert_eq!(status(&head), "413", "{field} {head}");
        assert!(head.contains("\r\nx-towpath-reason: body_too_large\r\n"), "{head}");
    }
}

#[test]
fn a_client_that_waits_for_100_hears_of_the_limit_first() {
    let mut bed = Bed::new();
    bed.ingress(&json!({ "nginx.ingress.kubernetes.io/proxy-body-size": "8" }));
    let ask_first = |length: usize| {
        format!(
            "PUT / HTTP/1.1\r\nHost: h.example\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let (head, _) = ask(&mut bed.client(), &ask_first(9));
    assert_eq!(status(&head), "413");
    let mut client = bed.client();
    let (head, _) = ask(&mut client, &ask_first(8));
    assert_eq!(status(&head), "100");
    let (head, body) = ask(&mut client, "12345678");
    assert_eq!(status(&head), "200");
    assert!(!body.to_ascii_lowercase().contains("expect"), "{body}");
}

#[test]
fn more_connections_than_a_worker_takes_are_closed_at_once() {
    let bed = Bed::with(towpath_route::Settings::default(), 2);
    let mut clients: Vec<_> = (0..20).map(|_| bed.client()).collect();
    let served = clients.iter_mut().filter_map(|client| {
        client.write_all(GET.as_bytes()).ok()?;
        let mut byte = [0];
        client.read_exact(&mut byte).ok()
    });
    let served = served.count();
    // Two workers: the kernel shares connections out as it likes.
    assert!((2..=4).contains(&served), "{served}");
    assert_eq!(bed.metric("towpath_ingress_limits_total", "connections"), (20 - served) as f64);
    drop(clients);
    // Room comes back with the connections that end.
    bed.wait_for("towpath_ingress_open_connections", "", 0.0);
}

#[test]
fn a_request_goes_on_to_the_next_endpoint_when_one_refuses_it() {
    let mut bed = Bed::new();
    bed.dead = vec![dead(), dead()];
    bed.ingress(&json!({}));
    let mut client = bed.client();
    for _ in 0..6 {
        let post = "POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(status(&ask(&mut client, post).0), "200");
    }
    assert_eq!(bed.backend().heads().len(), 6);
    bed.backends.clear();
    bed.publish();
    let (head, body) = ask(&mut client, GET);
    assert_eq!(status(&head), "502");
    assert!(head.contains("\r\nx-towpath-reason: connect_refused\r\n"), "{head}");
    // An outsider learns no address of a pod.
    assert!(!(head + &body).contains("127.0.0.1"));
    bed.dead.clear();
    bed.publish();
    assert_eq!(status(&ask(&mut client, GET).0), "503");
}

/// Answers each connection's first request, then closes it without a word; `n` connections.
fn closes_after_one(
    connections: usize,
    answer: &'static str,
) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let mut stream = stream.unwrap();
            told.send(bed::read_head(&mut stream)).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, heard)
}

#[test]
fn a_connection_that_its_endpoint_has_closed_costs_no_request() {
    let mut bed = Bed::new();
    let (address, heard) = closes_after_one(20, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    bed.backends.clear();
    bed.dead = vec![address];
    bed.ingress(&json!({}));
    let mut client = bed.client();
    for _ in 0..20 {
        assert_eq!(status(&ask(&mut client, GET).0), "200");
    }
    assert_eq!(heard.iter().count(), 20);
}

#[test]
fn what_an_endpoint_answers_is_judged_too() {
    for (answer, wanted) in [
        ("", "502"),
        ("no http\r\n\r\n", "502"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "502"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "502"),
        ("HTTP/1.0 200 OK\r\n\r\nto the end", "200"),
        ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "500"),
    ] {
        let mut bed = Bed::new();
        let (address, _heard) = closes_after_one(3, answer);
        bed.backends.clear();
        bed.dead = vec![address];
        bed.ingress(&json!({}));
        let mut client = bed.client();
        client.write_all(GET.as_bytes()).unwrap();
        let head = bed::read_head(&mut client);
        assert_eq!(status(&head), wanted, "{answer:?} {head}");
    }
}

#[test]
fn an_engine_that_stops_answers_what_it_has_begun() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let (mut idle, mut busy, mut tunnel) = (bed.client(), bed.client(), bed.client());
    assert_eq!(status(&ask(&mut idle, GET).0), "200");
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: h.example\r\n\r\n").unwrap();
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: h.example\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    assert_eq!(status(&ask(&mut tunnel, upgrade).0), "101");
    while !bed.backend().heads().iter().any(|head| head.starts_with("GET /wait")) {
        thread::sleep(Duration::from_millis(1));
    }
    let (address, Bed { engine, backends, .. }) = (bed.plain(), bed);
    let stopping = thread::spawn(move || engine.stop(Duration::from_secs(60)));
    // The idle connection ends, new ones are refused.
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    while TcpStream::connect(address).is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
    // A tunnel is open and a request runs: both go on.
    tunnel.write_all(b"later").unwrap();
    let mut back = [0; 5];
    tunnel.read_exact(&mut back).unwrap();
    assert!(!stopping.is_finished());
    backends["s"][0].open_gate();
    let (head, _) = answer(&mut busy);
    assert_eq!(status(&head), "200");
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    assert!(!stopping.is_finished());
    drop(tunnel);
    stopping.join().unwrap();
}
