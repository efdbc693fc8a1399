//! TLS and credentials out of a kubeconfig.

use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
        server::WebPkiClientVerifier,
    },
};

use crate::support::{Ask, Ear, QUICK, nothing, talk};

/// An authority that signs what it is asked to.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(
        &self,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
    ) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate, key)
    }
}

/// A server that shows a certificate of `authority` for `name`, and asks for one of its clients.
async fn server(
    authority: &Authority,
    name: &str,
    asks_clients: bool,
) -> (String, Arc<Mutex<Vec<Ask>>>) {
    let _already = aws_lc_rs::default_provider().install_default();
    let (certificate, key) = authority.sign(&[name], ExtendedKeyUsagePurpose::ServerAuth);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = if asks_clients {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        ServerConfig::builder().with_client_cert_verifier(verifier)
    } else {
        ServerConfig::builder().with_no_client_auth()
    };
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, log) = (acceptor.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let hang_ups = tokio::sync::watch::Sender::new(0).subscribe();
                    talk(stream, log, Arc::new(|_: &Ask| nothing()), hang_ups).await;
                }
            });
        }
    });
    (format!("https://{addr}"), asked)
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let of = |three: &[u8]| {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        (0..4)
            .map(move |at| match at > three.len() {
                true => '=',
                false => char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]),
            })
            .collect::<String>()
    };
    text.as_bytes().chunks(3).map(of).collect()
}

fn kubeconfig(server: &str, authority: &Authority, user: Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": {
            "server": server, "certificate-authority-data": base64(&authority.0.pem()) } }],
        "users": [{ "name": "u", "user": user }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    })
    .to_string()
}

fn ear(kubeconfig: &str) -> Ear {
    Ear::configured(kubeconfig, QUICK, tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn a_server_whose_certificate_is_of_another_authority_is_not_asked_anything() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (url, asked) = server(&theirs, "127.0.0.1", false).await;
    let mut ear = ear(&kubeconfig(&url, &ours, json!({ "token": "secret" })));
    ear.until("it is said", |ear| ear.notes().contains("UnknownIssuer")).await;
    let notes = ear.notes();
    assert!(notes.contains("the connection is not secure: invalid peer certificate"), "{notes}");
    assert!(notes.contains("check the certificate authority"), "{notes}");
    assert!(asked.lock().unwrap().is_empty());
    // The right authority is written into the file: it is found without a restart.
    let mended = kubeconfig(&url, &theirs, json!({ "token": "secret" }));
    std::fs::write(ear.dir.path().join("kubeconfig"), mended).unwrap();
    ear.until_synced().await;
    assert_eq!(ear.notes(), "");
    assert_eq!(asked.lock().unwrap()[0].authorization, "Bearer secret");
}

#[tokio::test]
async fn a_server_with_the_name_of_another_is_not_asked_anything() {
    let authority = Authority::new("a");
    let (url, asked) = server(&authority, "elsewhere.example", false).await;
    let mut ear = ear(&kubeconfig(&url, &authority, json!({})));
    ear.until("it is said", |ear| ear.notes().contains("not valid for")).await;
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn certificates_of_clients_may_stand_in_the_file() {
    let authority = Authority::new("a");
    let (url, asked) = server(&authority, "127.0.0.1", true).await;
    let (certificate, key) = authority.sign(&[], ExtendedKeyUsagePurpose::ClientAuth);
    let user = json!({
        "client-certificate-data": base64(&certificate.pem()),
        "client-key-data": base64(&key.serialize_pem()),
    });
    let mut ear = ear(&kubeconfig(&url, &authority, user));
    ear.until_synced().await;
    assert!(!asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_client_without_the_certificate_that_is_asked_for_is_told_so() {
    let authority = Authority::new("a");
    let (url, _) = server(&authority, "127.0.0.1", true).await;
    let mut ear = ear(&kubeconfig(&url, &authority, json!({})));
    ear.until("it is said", |ear| ear.notes().contains("ertificate")).await;
}
