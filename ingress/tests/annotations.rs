//! Annotations over the wire: what clients and endpoints see of them.
#![expect(clippy::unwrap_used, reason = "a test")]

mod bed;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use bed::{Backend, Bed, ask, http_2};
use serde_json::{Value, json};
use towpath_model::Kind;

fn annotations(pairs: &[(&str, &str)]) -> Value {
    let named = pairs
        .iter()
        .map(|(name, value)| (format!("nginx.ingress.kubernetes.io/{name}"), json!(value)));
    Value::Object(named.collect())
}

fn bed(pairs: &[(&str, &str)]) -> Bed {
    let mut bed = Bed::new();
    bed.ingress(&annotations(pairs));
    bed
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Status, and the reason of an answer of the proxy's own.
fn status(head: &str) -> (&str, &str) {
    (&head[9..12], field(head, "x-towpath-reason").unwrap_or("-"))
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: h.example\r\n{fields}\r\n")
}

#[test]
fn clients_of_other_addresses_are_denied_whatever_they_claim() {
    let claims =
        "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n";
    for (name, value, wanted) in [
        ("whitelist-source-range", "127.0.0.0/8", ("200", "-")),
        ("whitelist-source-range", "10.0.0.0/8", ("403", "denied")),
        ("denylist-source-range", "127.0.0.1", ("403", "denied")),
        ("denylist-source-range", "10.0.0.0/8", ("200", "-")),
    ] {
        let bed = bed(&[(name, value)]);
        let (head, _) = ask(&mut bed.client(), &request("GET", "/", claims));
        assert_eq!(status(&head), wanted, "{name} {value}");
        assert_eq!(bed.backend().heads().len(), usize::from(wanted.0 == "200"));
    }
}

#[test]
fn paths_are_rewritten_and_queries_kept() {
    let mut bed = Bed::new();
    let object = json!({ "metadata": { "name": "i", "namespace": "n", "annotations": annotations(&[
            ("rewrite-target", "/new/$2"), ("x-forwarded-prefix", "/old")]) },
        "spec": { "ingressClassName": "c", "rules": [{ "host": "h.example", "http": { "paths": [
            { "path": "/old(/|$)(.*)", "pathType": "ImplementationSpecific",
              "backend": { "service": { "name": "s", "port": { "number": 80 } } } }] } }] } });
    bed.apply(Kind::Ingress, &object);
    let mut client = bed.client();
    for (path, wanted) in [
        ("/old/a/b?c=/d&e", "/new/a/b?c=/d&e"),
        ("/old", "/new/"),
        ("/old?", "/new/?"),
        ("/x/../old/%7Ea%2Fb", "/new/~a%2Fb"),
    ] {
        let (head, body) = ask(&mut client, &request("GET", path, ""));
        assert_eq!(status(&head), ("200", "-"), "{path}");
        assert!(body.starts_with(&format!("GET {wanted} HTTP/1.1\r\n")), "{path}: {body}");
        assert!(body.to_ascii_lowercase().contains("\r\nx-forwarded-prefix: /old\r\n"), "{body}");
    }
    let (head, _) = ask(&mut client, &request("GET", "/older", ""));
    assert_eq!(status(&head), ("404", "no_route"));
}

#[test]
fn browsers_are_told_which_sites_may_read() {
    let settings = [
        ("enable-cors", "true"),
        ("cors-allow-origin", "https://*.a.example"),
        ("cors-expose-headers", "X-Backend"),
        // It does not stand in the way of a browser that asks.
        ("denylist-source-range", "10.0.0.0/8"),
    ];
    let mut bed = bed(&settings);
    let mut client = bed.client();
    let origin = "Origin: https://x.a.example\r\n";
    let (head, _) = ask(&mut client, &request("OPTIONS", "/", origin));
    assert_eq!(status(&head), ("204", "-"));
    for (name, value) in [
        ("access-control-allow-origin", "https://x.a.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, PUT, POST, DELETE, PATCH, OPTIONS"),
        ("access-control-expose-headers", "X-Backend"),
        ("access-control-max-age", "1728000"),
    ] {
        assert_eq!(field(&head, name), Some(value), "{head}");
    }
    assert!(bed.backend().heads().is_empty(), "the endpoint is not asked");
    let (head, _) = ask(&mut client, &request("GET", "/", origin));
    assert_eq!(status(&head), ("200", "-"));
    assert_eq!(field(&head, "access-control-allow-origin"), Some("https://x.a.example"));
    // Other sites are told nothing, and their OPTIONS is the endpoint's.
    for fields in ["Origin: https://a.example\r\n", ""] {
        for method in ["OPTIONS", "GET"] {
            let (head, _) = ask(&mut client, &request(method, "/", fields));
            assert_eq!(status(&head), ("200", "-"), "{method} {fields}");
            assert!(!head.contains("access-control"), "{head}");
        }
    }
    // A script may read why there is no answer.
    bed.backends.clear();
    bed.publish();
    let (head, _) = ask(&mut client, &request("GET", "/", origin));
    assert_eq!(status(&head), ("503", "no_service"));
    assert_eq!(field(&head, "access-control-allow-origin"), Some("https://x.a.example"));
}

#[test]
fn endpoints_are_waited_for_as_long_as_an_ingress_says() {
    let bed = bed(&[("proxy-read-timeout", "1")]);
    let (head, _) = ask(&mut bed.client(), &request("GET", "/wait", ""));
    assert_eq!(status(&head), ("504", "upstream_timeout"));
    // An answer that stands still is cut, so a client sees that it is not whole.
    let mut bed = Bed::new();
    bed.backends.insert("s".to_owned(), vec![Backend::halts()]);
    bed.ingress(&annotations(&[("proxy-read-timeout", "1")]));
    let mut client = bed.client();
    client.write_all(request("GET", "/", "").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _cut = client.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nbegun"), "{answer}");
}

#[tokio::test]
async fn a_request_that_an_endpoint_does_not_take_ends_after_its_own_time() {
    let mut bed = Bed::new();
    bed.backends.insert("s".to_owned(), vec![Backend::deaf()]);
    let all =
        [("proxy-send-timeout", "1"), ("proxy-read-timeout", "3600"), ("proxy-body-size", "0")];
    bed.ingress(&annotations(&all));
    let mut client = http_2::client(bed.plain()).await;
    let (writer, body) = http_2::written();
    // More than sockets hold.
    (0..4096).for_each(|_| writer.send(bytes::Bytes::from(vec![0; 16 << 10])).unwrap());
    let mut request = http_2::call("/", body);
    request.headers_mut().remove("content-type");
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["x-towpath-reason"], "upstream_timeout");
}

/// The endpoint that answers a request, and the cookie that it sets.
fn visit(bed: &Bed, cookie: &str) -> (String, Option<String>) {
    visit_over(&mut bed.client(), cookie)
}

fn visit_over(client: &mut TcpStream, cookie: &str) -> (String, Option<String>) {
    let cookie = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    let (head, _) = ask(client, &request("GET", "/", &cookie));
    assert_eq!(status(&head), ("200", "-"), "{cookie}");
    (field(&head, "x-backend").unwrap().to_owned(), field(&head, "set-cookie").map(str::to_owned))
}

#[test]
fn requests_of_one_browser_go_to_one_endpoint() {
    let mut bed = Bed::new();
    let names = ["one", "two", "three", "four", "five"];
    let backends = names.iter().map(|name| Backend::start(name)).collect();
    bed.backends.insert("s".to_owned(), backends);
    bed.ingress(&annotations(&[("affinity", "cookie")]));
    // One connection is one thread's, which takes one endpoint after the other.
    let mut client = bed.client();
    let visits: BTreeMap<_, _> = names.iter().map(|_| visit_over(&mut client, "")).collect();
    assert_eq!(visits.len(), names.len(), "browsers are shared out: {visits:?}");
    for (first, set) in visits {
        let set = set.unwrap();
        assert!(set.ends_with("; Path=/; HttpOnly"), "{set}");
        let cookie = set.split(';').next().unwrap();
        assert!(cookie.starts_with("INGRESSCOOKIE=") && cookie.len() == 30, "{cookie}");
        for cookie in [cookie.to_owned(), format!("a=b; {cookie}; c=d")] {
            for _ in 0..4 {
                assert_eq!(visit(&bed, &cookie), (first.clone(), None));
            }
        }
    }
    // One of another controller, and what is none of ours, is answered with one of ours.
    for cookie in ["INGRESSCOOKIE=1732.5.6|abc", "INGRESSCOOKIE=0000000000000000", "INGRESSCOOKIE="]
    {
        assert!(visit(&bed, cookie).1.is_some(), "{cookie}");
    }
    // An endpoint that is gone is replaced, and the browser told.
    let (gone, set) = visit(&bed, "");
    let cookie = set.unwrap().split(';').next().unwrap().to_owned();
    let at = names.iter().position(|name| *name == gone).unwrap();
    bed.backends.get_mut("s").unwrap().remove(at);
    bed.publish();
    let (next, set) = visit(&bed, &cookie);
    assert_ne!(next, gone);
    assert!(set.is_some_and(|set| !set.starts_with(&cookie)));
}

#[test]
fn a_browser_whose_endpoint_fails_comes_back_to_it_unless_told_otherwise() {
    for (change, told) in [("false", false), ("true", true)] {
        let mut bed = Bed::new();
        let refuses = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        bed.dead = vec![refuses];
        let all = [("affinity", "cookie"), ("session-cookie-change-on-failure", change)];
        bed.ingress(&annotations(&all));
        let cookie = format!("INGRESSCOOKIE={:016x}", towpath_route::endpoint_key("uid", &refuses));
        let (answered, set) = visit(&bed, &cookie);
        assert_eq!((&*answered, set.is_some()), ("s", told));
    }
}

#[test]
fn the_cookie_is_as_an_ingress_wants_it() {
    let all = [
        ("affinity", "cookie"),
        ("session-cookie-name", "route"),
        ("session-cookie-path", "/app"),
        ("session-cookie-domain", "h.example"),
        ("session-cookie-max-age", "600"),
        ("session-cookie-samesite", "Strict"),
        ("session-cookie-secure", "true"),
    ];
    let (_, set) = visit(&bed(&all), "");
    let (value, rest) = set.as_deref().unwrap().split_once("; ").unwrap();
    assert!(value.starts_with("route="));
    let wanted = "Path=/app; Domain=h.example; Max-Age=600; Secure; HttpOnly; SameSite=Strict";
    assert_eq!(rest, wanted);
    let (_, set) = visit(&bed(&[("affinity", "cookie"), ("session-cookie-expires", "60")]), "");
    let set = set.unwrap();
    let date = set.split("Expires=").nth(1).unwrap().split(';').next().unwrap();
    let date = httpdate::parse_http_date(date).unwrap();
    assert!(date > std::time::SystemTime::now());
}

#[test]
fn requests_are_sent_elsewhere_and_reach_no_endpoint() {
    let to = ("permanent-redirect", "https://o.example/x");
    let code = ("permanent-redirect-code", "308");
    // Before redirects to HTTPS and ranges are looked at.
    let all = [to, code, ("force-ssl-redirect", "true"), ("denylist-source-range", "0.0.0.0/0")];
    let moved = bed(&all);
    let (head, _) = ask(&mut moved.client(), &request("POST", "/a?b", "Content-Length: 0\r\n"));
    assert_eq!(
        (status(&head), field(&head, "location")),
        (("308", "-"), Some("https://o.example/x"))
    );
    assert!(moved.backend().heads().is_empty());
    // A closed route stays closed.
    let closed = bed(&[to, ("auth-type", "basic")]);
    let (head, _) = ask(&mut closed.client(), &request("GET", "/", ""));
    assert_eq!(status(&head), ("503", "route_closed"));
    let root = bed(&[("app-root", "/app")]);
    let mut client = root.client();
    for (path, location) in [
        ("/", Some("http://h.example/app")),
        ("/?a=b", Some("http://h.example/app")),
        ("/x/..", Some("http://h.example/app")),
        ("/app", None),
    ] {
        let (head, _) = ask(&mut client, &request("GET", path, ""));
        assert_eq!(field(&head, "location"), location, "{path}");
        assert_eq!(status(&head).0, if location.is_some() { "302" } else { "200" }, "{path}");
    }
}

#[test]
fn endpoints_get_another_host_and_hear_of_the_clients() {
    let bed = bed(&[("upstream-vhost", "inner.example:8080")]);
    let (_, body) = ask(&mut bed.client(), &request("GET", "/", ""));
    let lower = body.to_ascii_lowercase();
    assert!(lower.contains("\r\nhost: inner.example:8080\r\n"), "{body}");
    assert!(lower.contains("\r\nx-forwarded-host: h.example\r\n"), "{body}");
}
