//! What is spoken to endpoints: HTTP/1.1 and HTTP/2, each with and without TLS.
#![expect(clippy::unwrap_used, reason = "a test")]

mod bed;

use std::io::{Read as _, Write as _};

use bed::{
    Backend, Bed, ask,
    certificates::{Authority, secret_of},
    http_2::{Server, call, client, collect, whole, written},
};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use towpath_model::Kind;
use towpath_route::Protocol;

const GET: &str = "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n";

fn annotations(pairs: &[(&str, &str)]) -> Value {
    let named = pairs
        .iter()
        .map(|(name, value)| (format!("nginx.ingress.kubernetes.io/{name}"), json!(value)));
    Value::Object(named.collect())
}

/// Status, and the reason of an answer of the proxy's own.
fn status(head: &str) -> (&str, &str) {
    let reason = head.lines().find_map(|line| line.strip_prefix("x-towpath-reason: "));
    (&head[9..12], reason.unwrap_or("-"))
}

/// One endpoint.
fn bed_with(backend: Backend) -> Bed {
    let mut bed = Bed::new();
    bed.backends.insert("s".to_owned(), vec![backend]);
    bed
}

#[test]
fn endpoints_over_tls_are_taken_with_any_certificate_and_told_no_name() {
    let server = Authority::new().server("other.example", &[], None);
    let mut bed = bed_with(Backend::over_tls("s", &server));
    bed.ingress(&annotations(&[("backend-protocol", "HTTPS")]));
    let mut client = bed.client();
    for _ in 0..3 {
        let (head, body) = ask(&mut client, GET);
        assert_eq!(status(&head), ("200", "-"));
        assert!(body.starts_with("GET / HTTP/1.1\r\n"), "{body}");
        // What the client spoke is told, not what the endpoint is spoken to in.
        assert!(body.to_ascii_lowercase().contains("\r\nx-forwarded-proto: http\r\n"), "{body}");
    }
    let heads = bed.backend().heads();
    assert_eq!(heads[0], "hello sni=- alpn=- certificates=0");
    assert_eq!(heads.len(), 4, "one connection: {heads:?}");
}

#[test]
fn websockets_go_through_to_endpoints_over_tls() {
    let server = Authority::new().server("s.example", &[], None);
    let mut bed = bed_with(Backend::over_tls("s", &server));
    bed.ingress(&annotations(&[("backend-protocol", "HTTPS")]));
    let mut client = bed.client();
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: h.example\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    assert_eq!(status(&ask(&mut client, upgrade).0), ("101", "-"));
    client.write_all(b"there and back").unwrap();
    let mut back = [0; 14];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"there and back");
}

#[test]
fn endpoints_are_verified_where_an_ingress_says_so() {
    let (own, other) = (Authority::new(), Authority::new());
    let server = own.server("inner.example", &[], None);
    let verify: &[(&str, &str)] = &[("proxy-ssl-secret", "n/s"), ("proxy-ssl-verify", "on")];
    let named = &[verify, &[("proxy-ssl-name", "inner.example")]].concat();
    let vhost = &[verify, &[("upstream-vhost", "Inner.Example:8443")]].concat();
    let misnamed = &[verify, &[("proxy-ssl-name", "outer.example")]].concat();
    let unverified: &[(&str, &str)] =
        &[("proxy-ssl-secret", "n/s"), ("proxy-ssl-name", "outer.example")];
    for (settings, authority, host, wanted) in [
        (&**named, Some(&own), "h.example", ("200", "-")),
        (named, Some(&other), "h.example", ("502", "upstream_tls")),
        (misnamed, Some(&own), "h.example", ("502", "upstream_tls")),
        (unverified, Some(&other), "h.example", ("200", "-")),
        // Without a name it is the request's host that is verified.
        (verify, Some(&own), "inner.example", ("200", "-")),
        (verify, Some(&own), "h.example", ("502", "upstream_tls")),
        // It is the one that the endpoint gets.
        (vhost, Some(&own), "h.example", ("200", "-")),
        (verify, Some(&own), "10.0.0.1", ("502", "upstream_tls")),
        // Closed, not opened, while the Secret is not there.
        (named, None, "h.example", ("503", "no_upstream_tls")),
        (unverified, None, "h.example", ("503", "no_upstream_tls")),
    ] {
        let mut bed = bed_with(Backend::over_tls("s", &server));
        bed.secret = authority.map(|authority| secret_of(&[("ca.crt", &authority.pem())]));
        let all = [settings, &[("backend-protocol", "HTTPS")]].concat();
        let object = json!({ "metadata": { "name": "i", "namespace": "n", "annotations": annotations(&all) },
            "spec": { "ingressClassName": "c", "defaultBackend":
                { "service": { "name": "s", "port": { "number": 80 } } } } });
        bed.apply(Kind::Ingress, &object);
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (head, _) = ask(&mut bed.client(), &request);
        assert_eq!(status(&head), wanted, "{all:?} {host}");
        let arrived = bed.backend().heads().iter().any(|head| head.starts_with("GET"));
        assert_eq!(arrived, wanted.0 == "200", "{all:?} {host}");
    }
}

#[test]
fn a_verified_connection_serves_no_other_host_and_no_other_settings() {
    let own = Authority::new();
    let server = own.server("*.inner.example", &[], None);
    let mut bed = bed_with(Backend::over_tls("s", &server));
    bed.secret = Some(secret_of(&[("ca.crt", &own.pem())]));
    let settings = [
        ("backend-protocol", "HTTPS"),
        ("proxy-ssl-secret", "n/s"),
        ("proxy-ssl-verify", "on"),
        ("proxy-ssl-server-name", "on"),
    ];
    let object = |annotations: Value| {
        json!({ "metadata": { "name": "i", "namespace": "n", "annotations": annotations },
            "spec": { "ingressClassName": "c", "defaultBackend":
                { "service": { "name": "s", "port": { "number": 80 } } } } })
    };
    bed.apply(Kind::Ingress, &object(annotations(&settings)));
    let mut client = bed.client();
    let mut get = |host: &str| {
        let (head, _) = ask(&mut client, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        status(&head).0.to_owned()
    };
    for host in ["a.inner.example", "b.inner.example", "a.inner.example"] {
        assert_eq!(get(host), "200");
    }
    // The connection that waits is verified for other names only.
    assert_eq!(get("outer.example"), "502");
    bed.apply(Kind::Ingress, &object(annotations(&settings[..1])));
    assert_eq!(get("outer.example"), "200");
    let heads = bed.backend().heads();
    let hellos: Vec<_> = heads.iter().filter(|head| !head.starts_with("GET")).collect();
    assert_eq!(
        hellos,
        [
            "hello sni=a.inner.example alpn=- certificates=0",
            "hello sni=b.inner.example alpn=- certificates=0",
            "no handshake",
            "hello sni=- alpn=- certificates=0",
        ]
    );
}

#[test]
fn a_secret_with_a_certificate_is_this_proxys_towards_endpoints() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let server = servers.server("s.example", &[], Some(&clients));
    let settings = [("backend-protocol", "HTTPS"), ("proxy-ssl-secret", "n/s")];
    let (chain, key) = clients.sign("proxy.example");
    let (stranger, strangers) = servers.sign("proxy.example");
    for (chain, key, wanted) in [(&chain, &key, "200"), (&stranger, &strangers, "502")] {
        let mut bed = bed_with(Backend::over_tls("s", &server));
        bed.secret = Some(secret_of(&[("tls.crt", chain), ("tls.key", key)]));
        bed.ingress(&annotations(&settings));
        let (head, _) = ask(&mut bed.client(), GET);
        assert_eq!(status(&head).0, wanted);
    }
}

#[test]
fn a_plain_port_and_one_of_tls_are_not_taken_for_each_other() {
    let server = Authority::new().server("s.example", &[], None);
    for (backend, protocol, wanted) in [
        (Backend::refuses(), "HTTPS", ("502", "upstream_tls")),
        (Backend::refuses(), "GRPCS", ("502", "upstream_tls")),
        (Backend::refuses(), "GRPC", ("502", "upstream_closed")),
        // HTTP/1.1 answers HTTP/2's preface with an error or an end.
        (Backend::over_tls("s", &server), "GRPCS", ("502", "upstream_closed")),
        (Backend::start("s"), "AUTO_HTTP", ("200", "-")),
    ] {
        let mut bed = bed_with(backend);
        bed.ingress(&annotations(&[("backend-protocol", protocol)]));
        let (head, _) = ask(&mut bed.client(), GET);
        assert_eq!(status(&head), wanted, "{protocol}");
    }
}

/// Endpoint of a Service: an address of a server of HTTP/2.
fn grpc_bed(server: &Server, protocol: &str) -> Bed {
    let mut bed = Bed::new();
    bed.backends.clear();
    bed.dead = vec![server.address];
    bed.ingress(&annotations(&[("backend-protocol", protocol)]));
    bed
}

#[tokio::test]
async fn a_call_of_grpc_streams_both_ways_and_ends_with_trailers() {
    let own = Authority::new();
    for (protocol, tls) in [("GRPC", None), ("GRPCS", Some(own.server("s.example", &["h2"], None)))]
    {
        let server = Server::start(tls, 100);
        let bed = grpc_bed(&server, protocol);
        let mut client = client(bed.plain()).await;
        let (writer, body) = written();
        let response = client.send_request(call("/pkg.Echo/Talk?x", body)).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut incoming = response.into_body();
        // Each message is answered before the next one is sent.
        for word in ["one", "two", "three"] {
            writer.send(Bytes::from_static(word.as_bytes())).unwrap();
            let frame = incoming.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), word, "{protocol}");
        }
        drop(writer);
        let trailers = incoming.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        let seen = server.seen();
        let scheme = if protocol == "GRPCS" { "h2 POST https" } else { "- POST http" };
        assert!(seen[0].starts_with(&format!("{scheme}://h.example/pkg.Echo/Talk?x ")), "{seen:?}");
        for field in ["\"te\": \"trailers\"", "\"x-forwarded-host\": \"h.example\""] {
            assert!(seen[0].contains(field), "{field}: {seen:?}");
        }
        assert!(!seen[0].contains("\"host\":"), "{seen:?}");
    }
}

#[tokio::test]
async fn a_port_that_says_h2c_is_spoken_to_so_without_an_annotation() {
    let server = Server::start(None, 100);
    let mut bed = Bed::new();
    bed.backends.clear();
    bed.dead = vec![server.address];
    bed.protocol = Protocol::Grpc;
    bed.ingress(&json!({}));
    // A client of HTTP/1.1, also of 1.0 without a Host, and a body without a length.
    let chunked = "POST /x HTTP/1.1\r\nHost: h.example\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    let mut stream = bed.client();
    stream.write_all(chunked.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("body"), "{answer}");
    let upgrade =
        "GET /up HTTP/1.1\r\nHost: h.example\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let mut stream = bed.client();
    stream.write_all(upgrade.as_bytes()).unwrap();
    assert!(bed::read_head(&mut stream).starts_with("HTTP/1.1 200"));
    let seen = server.seen();
    assert!(seen[0].starts_with("- POST http://h.example/x "), "{seen:?}");
    assert!(!seen[1].contains("upgrade"), "{seen:?}");
}

#[tokio::test]
async fn calls_and_other_requests_of_one_host_go_to_endpoints_of_their_own() {
    let server = Server::start(None, 100);
    let mut bed = Bed::new();
    let rule = |path: &str, service: &str| {
        json!([{ "host": "h.example", "http": { "paths": [{ "path": path, "pathType": "Prefix",
            "backend": { "service": { "name": service, "port": { "number": 80 } } } }] } }])
    };
    let object = |name: &str, annotations: Value, rules: Value| {
        json!({ "metadata": { "name": name, "namespace": "n", "annotations": annotations },
            "spec": { "ingressClassName": "c", "rules": rules } })
    };
    bed.backends.insert("g".to_owned(), vec![Backend::at(server.address)]);
    bed.apply(Kind::Ingress, &object("rest", json!({}), rule("/", "s")));
    let grpc = annotations(&[("backend-protocol", "GRPC")]);
    bed.apply(Kind::Ingress, &object("grpc", grpc, rule("/pkg.Echo", "g")));
    let mut client = client(bed.plain()).await;
    for number in 0..6 {
        if number % 2 == 0 {
            let answer = client.send_request(call("/pkg.Echo/Say", whole("hello"))).await.unwrap();
            let (body, trailers) = collect(answer).await;
            assert_eq!((&*body, trailers["grpc-status"].as_bytes()), ("hello", &b"0"[..]));
        } else {
            let answer = client.send_request(call("/rest", whole(""))).await.unwrap();
            assert_eq!(answer.headers()["x-backend"], "s");
            assert!(collect(answer).await.0.starts_with("POST /rest HTTP/1.1\r\n"));
        }
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn streams_that_stand_still_stop_no_other_one() {
    let server = Server::start(None, 10);
    let bed = grpc_bed(&server, "GRPC");
    let mut client = client(bed.plain()).await;
    // More than one connection of the endpoint takes, and more than fits into a window: none is read.
    let mut stalled = Vec::new();
    for number in 0..60 {
        let (writer, body) = written();
        let path = format!("/stalled/{number}");
        writer.send(Bytes::from(vec![b'x'; 1000])).unwrap();
        let response = client.send_request(call(&path, body)).await.unwrap();
        stalled.push((writer, response));
    }
    let others = (0..20).map(|_| {
        let sent = client.send_request(call("/moves", whole("hello")));
        async move { collect(sent.await.unwrap()).await.0 }
    });
    assert_eq!(join_all(others).await, ["hello"; 20]);
    assert!((7..=12).contains(&server.connections()), "{}", server.connections());
    for (writer, response) in stalled {
        drop(writer);
        assert_eq!(collect(response).await.0.len(), 1000);
    }
}

#[tokio::test]
async fn many_calls_at_once_make_one_connection() {
    let server = Server::start(None, 100);
    let bed = grpc_bed(&server, "GRPC");
    let mut client = client(bed.plain()).await;
    let calls = (0..50).map(|_| {
        let sent = client.send_request(call("/many", whole("hello")));
        async move { collect(sent.await.unwrap()).await.0 }
    });
    assert_eq!(join_all(calls).await, ["hello"; 50]);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_endpoint_that_leaves_in_order_or_refuses_costs_no_call() {
    let server = Server::start(None, 100);
    let bed = grpc_bed(&server, "GRPC");
    let mut client = client(bed.plain()).await;
    for number in 0..20 {
        let answer = client.send_request(call("/go", whole("hello"))).await.unwrap();
        let reason = answer.headers().get("x-towpath-reason");
        assert_eq!(reason, None, "{number}");
        assert_eq!(collect(answer).await.0, "hello", "{number}");
        if number % 5 == 4 {
            server.leave.send_modify(|count| *count += 1);
        }
    }
    assert!(server.connections() > 1);
    let request = http::Request::get("http://h.example/refused").body(whole("")).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(server.seen().iter().filter(|line| line.contains("/refused")).count(), 2);
}

#[tokio::test]
async fn an_answer_of_the_proxys_own_is_one_that_grpc_reads() {
    let server = Server::start(None, 100);
    let mut bed = grpc_bed(&server, "GRPC");
    let mut client = client(bed.plain()).await;
    let mut status = async |host: &str, of_type: &str| {
        let mut request = call("/x", whole("hello"));
        request.headers_mut().insert("content-type", of_type.parse().unwrap());
        *request.uri_mut() = format!("http://{host}/x").parse().unwrap();
        let answer = client.send_request(request).await.unwrap();
        let field = |name: &str| {
            answer.headers().get(name).map_or("-", |value| value.to_str().unwrap()).to_owned()
        };
        (answer.status().as_u16(), field("grpc-status"), field("x-towpath-reason"))
    };
    let own = |status: u16, code: &str, reason: &str| (status, code.to_owned(), reason.to_owned());
    assert_eq!(status("o.example", "application/grpc").await, own(200, "12", "no_route"));
    assert_eq!(status("o.example", "application/grpc+proto").await, own(200, "12", "no_route"));
    assert_eq!(status("o.example", "application/grpc-web").await, own(404, "-", "no_route"));
    assert_eq!(status("o.example", "application/json").await, own(404, "-", "no_route"));
    bed.dead.clear();
    bed.publish();
    let wanted = own(200, "14", "no_service");
    assert_eq!(status("h.example", "application/grpc").await, wanted);
    // What it was is counted, not what it was told as.
    bed.wait_for("towpath_ingress_requests_total", "5xx", 1.0);
    bed.wait_for("towpath_ingress_requests_total", "4xx", 4.0);
}
