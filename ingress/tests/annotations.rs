//! Annotations over the wire: what clients and endpoints see of them.
#![expect(clippy::unwrap_used, reason = "a test")]

mod bed;

use std::io::{Read as _, Write as _};

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
