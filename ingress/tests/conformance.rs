//! The scenarios of kubernetes-sigs/ingress-controller-conformance, written anew as a table and asked over
//! real connections: each row is one of its scenarios.
#![expect(clippy::unwrap_used, reason = "a test")]

mod bed;

use std::{collections::BTreeSet, io::Write as _, net::TcpStream, sync::Arc};

use bed::{Backend, Bed, ask, read_head};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};
use serde_json::{Value, json};
use towpath_ingress::{CertStore, Certificate};
use towpath_model::{Kind, Object, decode};
use towpath_route::Settings;

/// The suite asks plain and expects 200 also of hosts with a certificate.
fn bed(services: &[&str]) -> Bed {
    let mut bed = Bed::with(Settings { ssl_redirect: false, ..Settings::default() }, 100);
    for name in services {
        bed.backends.insert((*name).to_owned(), vec![Backend::start(name)]);
    }
    bed
}

fn backend(service: &str) -> Value {
    json!({ "service": { "name": service, "port": { "number": 8080 } } })
}

fn ingress(spec: Value) -> Value {
    json!({ "metadata": { "name": "i", "namespace": "n" }, "spec": spec })
}

/// A rule of one host: path, type and Service of each path.
fn rule(host: &str, paths: &[(&str, &str, &str)]) -> Value {
    let path = |(path, of_type, service): &(&str, &str, &str)| json!({ "path": path, "pathType": of_type, "backend": backend(service) });
    json!({ "host": host, "http": { "paths": paths.iter().map(path).collect::<Vec<_>>() } })
}

/// Status and, of an endpoint's answer, its Service.
fn got(head: &str) -> (u16, Option<String>) {
    let backend = head.lines().find_map(|line| line.strip_prefix("x-backend: "));
    (head.get(9..12).unwrap().parse().unwrap(), backend.map(str::to_owned))
}

/// Each row: host, path, and the Service that answers 200; none: 404.
fn judge(bed: &Bed, rows: &[(&str, &str, Option<&str>)]) {
    for (host, path, service) in rows {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (head, _) = ask(&mut bed.client(), &request);
        let wanted = (if service.is_some() { 200 } else { 404 }, service.map(str::to_owned));
        assert_eq!(got(&head), wanted, "{host} {path}");
    }
}

#[test]
fn default_backend_6_scenarios() {
    let mut bed = bed(&["default"]);
    let spec = json!({ "ingressClassName": "c", "defaultBackend": backend("default") });
    bed.apply(Kind::Ingress, &ingress(spec));
    for (method, host, path) in [
        ("GET", "", "/"),
        ("GET", "my-host", "/"),
        ("POST", "my-host", "/"),
        ("PUT", "my-host", "/resource"),
        ("DELETE", "some-host", "/resource"),
        ("PATCH", "my-host", "/resource/part"),
    ] {
        // A client that knows no name asks by the address.
        let host = if host.is_empty() { bed.plain().to_string() } else { host.to_owned() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tester\r\nContent-Length: 0\r\n\r\n"
        );
        let (head, body) = ask(&mut bed.client(), &request);
        assert_eq!(got(&head), (200, Some("default".to_owned())), "{method} {host} {path}");
        assert!(head.starts_with("HTTP/1.1 "));
        for field in ["content-length", "content-type", "date", "server"] {
            assert!(head.contains(&format!("\r\n{field}: ")), "{field}: {head}");
        }
        assert!(body.starts_with(&format!("{method} {path} HTTP/1.1\r\n")), "{body}");
        assert!(body.to_ascii_lowercase().contains("\r\nuser-agent: tester\r\n"), "{body}");
    }
}

#[test]
fn host_rules_6_scenarios() {
    let mut bed = bed(&["foo-bar-com", "wildcard-foo-com"]);
    let spec = json!({ "ingressClassName": "c",
        "tls": [{ "hosts": ["foo.bar.com"], "secretName": "conformance-tls" }],
        "rules": [rule("*.foo.com", &[("/", "Prefix", "wildcard-foo-com")]),
            rule("foo.bar.com", &[("/", "Prefix", "foo-bar-com")])] });
    bed.apply(Kind::Ingress, &ingress(spec));
    let roots = certificate_of(&bed, "foo.bar.com");
    let head = https(&bed, &roots, "foo.bar.com");
    assert_eq!(got(&head), (200, Some("foo-bar-com".to_owned())));
    judge(
        &bed,
        &[
            ("foo.bar.com", "/", Some("foo-bar-com")),
            ("subdomain.bar.com", "/", None),
            ("bar.foo.com", "/", Some("wildcard-foo-com")),
            ("baz.bar.foo.com", "/", None),
            ("foo.com", "/", None),
        ],
    );
}

/// Serves a fresh one; answers what trusts it.
fn certificate_of(bed: &Bed, host: &str) -> RootCertStore {
    let pair = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let secret = json!({ "metadata": { "name": "conformance-tls", "namespace": "n" },
        "stringData": { "tls.crt": pair.cert.pem(), "tls.key": pair.signing_key.serialize_pem() } });
    let Object::Secret(secret) = decode(Kind::Secret, secret.to_string().as_bytes()).unwrap()
    else {
        unreachable!()
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certificate = Certificate::read(&secret, &provider).unwrap();
    bed.certificates(CertStore { hosts: [(host.into(), Some(certificate))].into(), default: None });
    let mut roots = RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    roots
}

/// The head of an answer over TLS; the client checks the name in the certificate.
fn https(bed: &Bed, roots: &RootCertStore, host: &str) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots.clone()).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(bed.tls()).unwrap());
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    read_head(&mut stream)
}

#[test]
fn ingress_class_1_scenario() {
    let mut bed = bed(&["s"]);
    let rules = json!([rule("h.example", &[("/", "Prefix", "s")])]);
    let spec = json!({ "ingressClassName": "some-invalid-class-name", "rules": rules });
    bed.apply(Kind::Ingress, &ingress(spec));
    judge(&bed, &[("h.example", "/", None)]);
    assert!(bed.backend().heads().is_empty());
}

#[test]
fn load_balancing_1_scenario() {
    let mut bed = bed(&[]);
    let replicas = (0..10).map(|number| Backend::start(&format!("replica-{number}"))).collect();
    bed.backends.insert("s".to_owned(), replicas);
    bed.ingress(&json!({}));
    let mut client = bed.client();
    let seen: BTreeSet<_> = (0..100)
        .map(|_| {
            let (head, _) = ask(&mut client, "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n");
            let (status, replica) = got(&head);
            assert_eq!(status, 200);
            replica.unwrap()
        })
        .collect();
    assert_eq!(seen.len(), 10, "{seen:?}");
}

#[test]
fn path_rules_16_scenarios() {
    let services = [
        "foo-exact",
        "foo-prefix",
        "aaa-slash-bbb-prefix",
        "aaa-prefix",
        "aaa-slash-bbb-slash-prefix",
        "foo-slash-exact",
    ];
    let mut bed = bed(&services);
    let rules = json!([
        rule("exact-path-rules", &[("/foo", "Exact", "foo-exact")]),
        rule(
            "prefix-path-rules",
            &[
                ("/foo", "Prefix", "foo-prefix"),
                ("/aaa/bbb", "Prefix", "aaa-slash-bbb-prefix"),
                ("/aaa", "Prefix", "aaa-prefix"),
            ]
        ),
        rule(
            "mixed-path-rules",
            &[("/foo", "Prefix", "foo-prefix"), ("/foo", "Exact", "foo-exact")]
        ),
        rule(
            "trailing-slash-path-rules",
            &[
                ("/aaa/bbb/", "Prefix", "aaa-slash-bbb-slash-prefix"),
                ("/foo/", "Exact", "foo-slash-exact"),
            ]
        ),
    ]);
    bed.apply(Kind::Ingress, &ingress(json!({ "ingressClassName": "c", "rules": rules })));
    let rows = [
        ("exact-path-rules", "/foo", Some("foo-exact")),
        ("exact-path-rules", "/foo/", None),
        ("exact-path-rules", "/FOO", None),
        ("exact-path-rules", "/bar", None),
        ("prefix-path-rules", "/foo", Some("foo-prefix")),
        ("prefix-path-rules", "/foo/", Some("foo-prefix")),
        ("prefix-path-rules", "/FOO", None),
        ("prefix-path-rules", "/aaa/bbb", Some("aaa-slash-bbb-prefix")),
        ("prefix-path-rules", "/aaa/bbb/ccc", Some("aaa-slash-bbb-prefix")),
        ("prefix-path-rules", "/aaa/bbbxyz", Some("aaa-prefix")),
        ("prefix-path-rules", "/aaa/ccc", Some("aaa-prefix")),
        ("prefix-path-rules", "/aaaccc", None),
        ("mixed-path-rules", "/foo", Some("foo-exact")),
        ("trailing-slash-path-rules", "/aaa/bbb", Some("aaa-slash-bbb-slash-prefix")),
        ("trailing-slash-path-rules", "/aaa/bbb/", Some("aaa-slash-bbb-slash-prefix")),
        ("trailing-slash-path-rules", "/foo", None),
    ];
    assert_eq!(rows.len(), 16);
    judge(&bed, &rows);
}
