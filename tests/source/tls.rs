//! TLS and credentials out of a kubeconfig.

use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;

use crate::{
    authority::{Authority, base64, kubeconfig},
    support::{Ear, QUICK, Script, nothing},
};

/// A server that shows a certificate of `authority` for `name`, and asks for one of its clients.
async fn server(authority: &Authority, name: &str, asks_clients: bool) -> Script {
    Script::secure(authority.acceptor(&[name], asks_clients), |_| nothing()).await
}

fn ear(kubeconfig: &str) -> Ear {
    Ear::configured(kubeconfig, QUICK, tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn a_server_whose_certificate_is_of_another_authority_is_not_asked_anything() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = server(&theirs, "127.0.0.1", false).await;
    let url = server.url();
    let mut ear = ear(&kubeconfig(&url, &ours, json!({ "token": "secret" })));
    ear.until("it is said", |ear| ear.notes().contains("UnknownIssuer")).await;
    let notes = ear.notes();
    assert!(notes.contains("the connection is not secure: invalid peer certificate"), "{notes}");
    assert!(notes.contains("check the certificate authority"), "{notes}");
    assert!(server.asked().is_empty());
    // The right authority is written into the file: it is found without a restart.
    let mended = kubeconfig(&url, &theirs, json!({ "token": "secret" }));
    std::fs::write(ear.dir.path().join("kubeconfig"), mended).unwrap();
    ear.until_synced().await;
    assert_eq!(ear.notes(), "");
    assert_eq!(server.asked()[0].authorization, "Bearer secret");
}

#[tokio::test]
async fn a_server_with_the_name_of_another_is_not_asked_anything() {
    let authority = Authority::new("a");
    let server = server(&authority, "elsewhere.example", false).await;
    let mut ear = ear(&kubeconfig(&server.url(), &authority, json!({})));
    ear.until("it is said", |ear| ear.notes().contains("not valid for")).await;
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn certificates_of_clients_may_stand_in_the_file() {
    let authority = Authority::new("a");
    let server = server(&authority, "127.0.0.1", true).await;
    let (certificate, key) = authority.sign(&[], ExtendedKeyUsagePurpose::ClientAuth);
    let user = json!({
        "client-certificate-data": base64(&certificate.pem()),
        "client-key-data": base64(&key.serialize_pem()),
    });
    let mut ear = ear(&kubeconfig(&server.url(), &authority, user));
    ear.until_synced().await;
    assert!(!server.asked().is_empty());
}

#[tokio::test]
async fn a_client_without_the_certificate_that_is_asked_for_is_told_so() {
    let authority = Authority::new("a");
    let server = server(&authority, "127.0.0.1", true).await;
    let mut ear = ear(&kubeconfig(&server.url(), &authority, json!({})));
    ear.until("it is said", |ear| ear.notes().contains("ertificate")).await;
}
