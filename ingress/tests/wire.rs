//! Requests over real sockets, to a backend that records what arrives.
#![expect(clippy::unwrap_used, reason = "a test")]

mod bed;

use std::io::{Read as _, Write as _};

use bed::{Bed, answer, ask};
use serde_json::json;

#[test]
fn a_request_reaches_its_backend_with_the_headers_of_a_proxy() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let request = "GET /a%2Fb/../c?q HTTP/1.1\r\nHost: H.example\r\nX-Forwarded-For: 6.6.6.6\r\n\
        X_Real_IP: 6.6.6.6\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nProxy: evil\r\n\r\n";
    let (head, body) = ask(&mut bed.client(), request);
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("\r\nserver: towpath\r\n"), "{head}");
    assert!(head.contains("\r\ndate: "));
    // The bytes of the target are those that the client sent.
    assert!(body.starts_with("GET /a%2Fb/../c?q HTTP/1.1\r\n"), "{body}");
    let body = body.to_ascii_lowercase();
    for has in [
        "host: h.example",
        "x-forwarded-for: 127.0.0.1",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-original-forwarded-for: 6.6.6.6",
        "x-request-id: 000000000000000",
    ] {
        assert!(body.contains(&format!("\r\n{has}")), "{has} {body}");
    }
    for lacks in ["x-hop", "proxy: evil", "x_real_ip"] {
        assert!(!body.contains(lacks), "{lacks} {body}");
    }
}

/// Up to its third byte it could be the preface of HTTP/2.
#[test]
fn a_request_that_begins_like_http_2_and_comes_in_pieces_is_served() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let mut client = bed.client();
    client.set_nodelay(true).unwrap();
    for piece in ["P", "R"] {
        client.write_all(piece.as_bytes()).unwrap();
        // It is counted as open once it was accepted: what follows is a segment of its own.
        bed.wait_for("towpath_ingress_open_connections", "", 1.0);
    }
    let (head, body) = ask(&mut client, "OPFIND / HTTP/1.1\r\nHost: h.example\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.starts_with("PROPFIND / HTTP/1.1\r\n"), "{body}");
}

#[test]
fn what_no_route_takes_says_why() {
    let mut bed = Bed::new();
    let mut client = bed.client();
    let mut refused = |bed: &Bed, request: &str| {
        let (head, _) = ask(&mut client, request);
        let reason = head.lines().find_map(|line| line.strip_prefix("x-towpath-reason: ")).unwrap();
        let _kept = bed;
        format!("{} {reason}", &head[9..12])
    };
    let plain = "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n";
    assert_eq!(refused(&bed, plain), "404 no_route");
    bed.ingress(&json!({ "nginx.ingress.kubernetes.io/auth-type": "basic" }));
    // The same connection sees the next table.
    assert_eq!(refused(&bed, plain), "503 route_closed");
    bed.ingress(&json!({ "nginx.ingress.kubernetes.io/proxy-body-size": "3" }));
    let long = "POST / HTTP/1.1\r\nHost: h.example\r\nContent-Length: 4\r\n\r\nabcd";
    assert_eq!(refused(&bed, "GET /%00 HTTP/1.1\r\nHost: h.example\r\n\r\n"), "400 bad_path");
    assert_eq!(refused(&bed, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), "400 bad_host");
    assert_eq!(refused(&bed, long), "413 body_too_large");
    assert_eq!(bed.backend().heads(), [""; 0]);
}

#[test]
fn a_tunnel_outlives_its_ingress() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let mut client = bed.client();
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: h.example\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let (head, _) = ask(&mut client, upgrade);
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("\r\nupgrade: x\r\n"), "{head}");
    let mut echoes = |word: &[u8; 5]| {
        client.write_all(word).unwrap();
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, word);
    };
    echoes(b"first");
    bed.delete("i");
    let (head, _) = ask(&mut bed.client(), "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    echoes(b"later");
}

#[test]
fn what_could_smuggle_is_refused_and_nothing_of_it_arrives() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let h = "POST / HTTP/1.1\r\nHost: h.example\r\n";
    for request in [
        format!("{h}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{h}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
        format!("{h}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        format!("{h}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        format!("{h}A: b\nC: d\r\n\r\n"),
        format!("{h}Host: other.example\r\n\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "POST / HTTP/1.0\r\nHost: h.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            .to_owned(),
    ] {
        let (head, _) = ask(&mut bed.client(), &request);
        assert!(
            head.starts_with("HTTP/1.1 400") || head.starts_with("HTTP/1.0 400"),
            "{request} {head}"
        );
        assert_eq!(bed.backend().heads(), [""; 0], "{request}");
    }
}

#[test]
fn requests_share_a_connection_and_may_come_at_once() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let mut client = bed.client();
    let post = "POST /1 HTTP/1.1\r\nHost: h.example\r\nContent-Length: 2\r\n\r\nab";
    let get = "GET /2 HTTP/1.1\r\nHost: h.example\r\n\r\n";
    client.write_all(format!("{post}{get}{get}").as_bytes()).unwrap();
    for begin in ["POST /1", "GET /2", "GET /2"] {
        let (_, body) = answer(&mut client);
        assert!(body.starts_with(begin), "{begin}: {body}");
    }
    let chunked = "POST /3 HTTP/1.1\r\nHost: h.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    if let (head, body) = ask(&mut client, &format!("{chunked}0\r\n\r\n"))
        && !body.starts_with("POST /3")
    {
        panic!("{head} {body}");
    }
}
