//! TLS and HTTP/2, with clients of other hands: rustls and hyper's client.
#![expect(clippy::unwrap_used, reason = "a test")]

mod bed;

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    net::TcpStream,
    sync::Arc,
};

use bed::{Bed, ask, certificates::secret, read_head};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName};
use serde_json::json;
use towpath_ingress::{CertStore, Certificate, Unusable};
use towpath_model::Kind;

/// A certificate for these names that is its own authority.
fn made_for(names: &[&str]) -> (Certificate, CertifiedKey<KeyPair>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let pair = rcgen::generate_simple_self_signed(names).unwrap();
    let secret = secret(&pair.cert.pem(), &pair.signing_key.serialize_pem());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    (Certificate::read(&secret, &provider).unwrap(), pair)
}

/// A client that trusts these.
fn client(pairs: &[&CertifiedKey<KeyPair>], alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    pairs.iter().for_each(|pair| roots.add(pair.cert.der().clone()).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(bed: &Bed, config: &Arc<ClientConfig>, name: &str) -> Result<Tls, String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = TcpStream::connect(bed.tls()).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|error| error.to_string())?;
    }
    Ok(StreamOwned::new(connection, stream))
}

fn get(stream: &mut Tls, host: &str) -> String {
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let head = read_head(stream);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

#[test]
fn each_host_has_its_certificate_and_other_names_have_the_default() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let (own, own_pair) = made_for(&["h.example"]);
    let (wild, wild_pair) = made_for(&["*.w.example"]);
    let (default, default_pair) = made_for(&["default.example", "gone.w.example", "x.example"]);
    let hosts = [
        ("h.example".into(), Some(own)),
        ("*.w.example".into(), Some(wild)),
        // Its Secret is not there: it has the default one, not the wildcard's.
        ("gone.w.example".into(), None),
    ];
    bed.certificates(CertStore { hosts: hosts.into(), default: Some(default) });
    for (name, pair) in [
        ("h.example", &own_pair),
        ("H.Example", &own_pair),
        ("a.w.example", &wild_pair),
        ("gone.w.example", &default_pair),
        ("x.example", &default_pair),
    ] {
        let mut stream = connect(&bed, &client(&[pair], &[]), name).unwrap();
        assert!(get(&mut stream, "h.example").starts_with("HTTP/1.1 200"), "{name}");
    }
    assert!(connect(&bed, &client(&[&own_pair], &[]), "x.example").is_err());
    // Requests are routed by their Host, under whichever name the connection was made (RFC 9113 9.1.1).
    let mut stream = connect(&bed, &client(&[&wild_pair], &[]), "a.w.example").unwrap();
    let answer = get(&mut stream, "h.example");
    assert!(answer.to_ascii_lowercase().contains("\r\nx-forwarded-proto: https\r\n"), "{answer}");
    assert!(get(&mut stream, "other.example").starts_with("HTTP/1.1 404"));
}

#[test]
fn without_a_certificate_a_handshake_is_refused_and_plain_requests_are_served() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let (_, pair) = made_for(&["h.example"]);
    let refused = connect(&bed, &client(&[&pair], &[]), "h.example").unwrap_err();
    assert!(refused.contains("AccessDenied") || refused.contains("HandshakeFailure"), "{refused}");
    let (head, _) = ask(&mut bed.client(), "GET / HTTP/1.1\r\nHost: h.example\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200"));
    // What is no TLS at all is an end, and counted.
    let mut stream = TcpStream::connect(bed.tls()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h.example\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _reset_or_end = stream.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/1.1 2"));
    bed.wait_for("towpath_ingress_handshake_failures_total", "", 2.0);
}

#[test]
fn a_new_certificate_is_the_next_handshakes_and_cuts_no_connection() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let (first, first_pair) = made_for(&["h.example"]);
    let (second, second_pair) = made_for(&["h.example"]);
    let store = |certificate| CertStore {
        hosts: [("h.example".into(), Some(certificate))].into(),
        default: None,
    };
    bed.certificates(store(first));
    let mut open = connect(&bed, &client(&[&first_pair], &[]), "h.example").unwrap();
    bed.certificates(store(second));
    assert!(connect(&bed, &client(&[&first_pair], &[]), "h.example").is_err());
    assert!(connect(&bed, &client(&[&second_pair], &[]), "h.example").is_ok());
    assert!(get(&mut open, "h.example").starts_with("HTTP/1.1 200"));
}

#[test]
fn plain_requests_of_hosts_with_a_certificate_go_to_https() {
    let mut bed = Bed::new();
    let object = json!({ "metadata": { "name": "i", "namespace": "n" },
        "spec": { "ingressClassName": "c", "tls": [{ "hosts": ["h.example"], "secretName": "s" }],
            "rules": [{ "host": "h.example", "http": { "paths": [{ "path": "/", "pathType": "Prefix",
                "backend": { "service": { "name": "s", "port": { "number": 80 } } } }] } }] } });
    bed.apply(Kind::Ingress, &object);
    let (own, pair) = made_for(&["h.example"]);
    bed.certificates(CertStore { hosts: [("h.example".into(), Some(own))].into(), default: None });
    let (head, _) = ask(&mut bed.client(), "GET /a?b=c HTTP/1.1\r\nHost: h.example:80\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 308"), "{head}");
    assert!(head.contains("\r\nlocation: https://h.example/a?b=c\r\n"), "{head}");
    // Who proves that the host is his cannot have a certificate for it yet.
    let proof = "GET /.well-known/acme-challenge/t HTTP/1.1\r\nHost: h.example\r\n\r\n";
    let (head, _) = ask(&mut bed.client(), proof);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut stream = connect(&bed, &client(&[&pair], &[]), "h.example").unwrap();
    assert!(get(&mut stream, "h.example").starts_with("HTTP/1.1 200"));
}

type Sender = http2::SendRequest<Empty<Bytes>>;

/// A client of HTTP/2 over TLS, chosen by ALPN.
async fn http_2(address: SocketAddr, config: Arc<ClientConfig>) -> Sender {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("h.example").unwrap();
    let connector = tokio_rustls::TlsConnector::from(config);
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    shake(stream).await
}

async fn shake<S>(stream: S) -> Sender
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn text<B: hyper::body::Body<Data = Bytes, Error: std::fmt::Debug>>(
    response: Response<B>,
) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn requests_of_http_2_become_requests_of_http_1() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let (own, pair) = made_for(&["h.example"]);
    bed.certificates(CertStore { hosts: [("h.example".into(), Some(own))].into(), default: None });
    let mut sender = http_2(bed.tls(), client(&[&pair], &[b"h2", b"http/1.1"])).await;
    let request = |uri: &str| Request::builder().uri(uri).body(Empty::<Bytes>::new()).unwrap();
    let mut cookies = request("https://h.example/a?b");
    cookies.headers_mut().append("cookie", "a=1".parse().unwrap());
    cookies.headers_mut().append("cookie", "b=2".parse().unwrap());
    let response = sender.send_request(cookies).await.unwrap();
    assert_eq!(
        (response.status(), response.headers()["x-backend"].as_bytes()),
        (StatusCode::OK, &b"s"[..])
    );
    let head = text(response).await.to_ascii_lowercase();
    assert!(head.starts_with("get /a?b http/1.1\r\n"), "{head}");
    for line in ["host: h.example", "cookie: a=1; b=2", "x-forwarded-proto: https"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    assert!(!head.contains("transfer-encoding"), "{head}");
    // Many at once share the connection.
    let all = (0..20).map(|number| {
        let sent = sender.send_request(request(&format!("https://h.example/{number}")));
        async move { text(sent.await.unwrap()).await }
    });
    for (number, head) in futures_util::future::join_all(all).await.iter().enumerate() {
        assert!(head.starts_with(&format!("GET /{number} ")), "{head}");
    }
    // One that says two hosts is refused, and so is one that says two lengths.
    let before = bed.backend().heads().len();
    for (name, value) in [("host", "other.example"), ("content-length", "0, 0")] {
        let mut request = request("https://h.example/");
        request.headers_mut().append(name, value.parse().unwrap());
        match sender.send_request(request).await {
            Ok(response) => assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{name}"),
            Err(reset) => assert!(!reset.is_canceled(), "{name}: {reset}"),
        }
    }
    assert_eq!(bed.backend().heads().len(), before);
    let response = sender.send_request(request("https://nowhere.example/")).await.unwrap();
    assert_eq!(response.headers()["x-towpath-reason"].as_bytes(), b"no_route");
}

#[tokio::test]
async fn http_2_without_tls_is_known_by_its_preface() {
    let mut bed = Bed::new();
    bed.ingress(&json!({}));
    let stream = tokio::net::TcpStream::connect(bed.plain()).await.unwrap();
    let mut sender = shake(stream).await;
    let request = Request::builder().uri("http://h.example/x").body(Empty::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(text(response).await.starts_with("GET /x HTTP/1.1\r\n"));
}

#[test]
fn a_secret_that_is_no_certificate_says_why_and_never_what_it_holds() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let (_, one) = made_for(&["h.example"]);
    let (_, other) = made_for(&["h.example"]);
    let (chain, key) = (one.cert.pem(), other.signing_key.serialize_pem());
    for (chain, key, why) in [
        ("", &*key, Unusable::Chain),
        ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", &key, Unusable::Chain),
        (&chain, "", Unusable::Key),
        (&chain, "HUSH", Unusable::Key),
        (&chain, &key, Unusable::Mismatch),
    ] {
        let found = Certificate::read(&secret(chain, key), &provider).unwrap_err();
        assert_eq!(found, why);
        assert!(!found.to_string().contains("HUSH"));
    }
    let (certificate, _) = made_for(&["h.example", "*.w.example"]);
    for (host, covered) in [
        ("h.example", true),
        ("*.w.example", true),
        ("a.w.example", true),
        ("w.example", false),
        ("*.h.example", false),
        ("", false),
    ] {
        assert_eq!(certificate.covers(host), covered, "{host}");
    }
}
