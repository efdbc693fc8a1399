//! The way to the API server: real endpoints, remembered, and replaced when they are.

use serde_json::{Value, json};
use towpath_model::Kind;

use crate::support::{Ear, QUICK, Reply, Script, Then, end, line, nothing, service};

/// The slice of one family of `default/kubernetes`.
fn kubernetes(name: &str, version: u64, addresses: &[&str], port: u16) -> Value {
    let family = if addresses.iter().any(|a| a.contains(':')) { "IPv6" } else { "IPv4" };
    let endpoints: Vec<Value> = addresses.iter().map(|a| json!({ "addresses": [a] })).collect();
    json!({
        "metadata": { "name": name, "namespace": "default", "resourceVersion": version.to_string(),
            "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": family, "endpoints": endpoints,
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    })
}

fn remembered(ear: &Ear) -> Vec<String> {
    let text = std::fs::read_to_string(ear.dir.path().join("run/api-endpoints"));
    text.unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_current_slices_of_both_families_are_remembered_and_no_others() {
    let server = Script::start(|ask| match (ask.of(Kind::EndpointSlice), ask.nth) {
        (false, _) => nothing(),
        (true, 0) => {
            let v4 = kubernetes("kubernetes", 1, &["10.0.0.1", "10.0.0.2"], 6443);
            let v6 = kubernetes("kubernetes-v6", 2, &["fd00::1"], 6443);
            Reply::lines(&[line("ADDED", &v4), line("ADDED", &v6), end(5)], Then::Close)
        }
        (true, _) => {
            let v4 = kubernetes("kubernetes", 6, &["10.0.0.3"], 6443);
            Reply::lines(&[line("MODIFIED", &v4)], Then::Hold)
        }
    })
    .await;
    let mut ear = Ear::to(&server.url());
    let all = ["10.0.0.1:6443", "10.0.0.2:6443", "[fd00::1]:6443"];
    ear.until("both families", |ear| remembered(ear) == all).await;
    let now = ["10.0.0.3:6443", "[fd00::1]:6443"];
    ear.until("what left is gone", |ear| remembered(ear) == now).await;
}

#[tokio::test]
async fn a_restart_finds_the_api_server_where_it_was() {
    let server = Script::start(|ask| match ask.of(Kind::Service) {
        true => Reply::lines(&[line("ADDED", &service("a", 1, 1)), end(5)], Then::Hold),
        false => nothing(),
    })
    .await;
    // Nobody answers at the configured address any more.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let configured = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    std::fs::write(dir.path().join("run/api-endpoints"), format!("{}\n", server.addr)).unwrap();
    let mut ear = Ear::with(&configured, QUICK, dir);
    ear.until("Services", |ear| ear.services() == ["a:1"]).await;
}

#[tokio::test]
async fn an_address_that_left_is_asked_no_more() {
    let (there, gone) = (Script::start(|_| nothing()).await, Script::start(|_| nothing()).await);
    let port = there.addr.port();
    let server = Script::start(move |ask| match (ask.of(Kind::EndpointSlice), ask.nth) {
        (true, 0) => {
            let slice = kubernetes("kubernetes", 1, &["127.0.0.1"], port);
            Reply::lines(&[line("ADDED", &slice), end(5)], Then::Close)
        }
        // From here on the configured server fails, and the endpoint is tried.
        (true, _) => Reply::status(500, "", "no"),
        (false, _) => nothing(),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    std::fs::write(dir.path().join("run/api-endpoints"), format!("{}\n", gone.addr)).unwrap();
    let mut ear = Ear::with(&server.url(), QUICK, dir);
    ear.until("the endpoint is asked", |_| !there.asked().is_empty()).await;
    assert!(gone.asked().is_empty(), "{:?}", gone.asked());
    assert_eq!(remembered(&ear), [there.addr.to_string()]);
}

#[tokio::test]
async fn a_damaged_memory_and_a_directory_that_cannot_be_written_are_said_and_not_fatal() {
    let server = Script::start(|ask| match (ask.of(Kind::EndpointSlice), ask.nth) {
        (true, 0) => {
            let slice = kubernetes("kubernetes", 1, &["127.0.0.1"], 1);
            Reply::lines(&[line("ADDED", &slice), end(5)], Then::Hold)
        }
        _ => nothing(),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    std::fs::write(dir.path().join("run/api-endpoints"), b"\xff\xfe\nnonsense\n").unwrap();
    let mut ear = Ear::with(&server.url(), QUICK, dir);
    ear.until("the damage is said", |ear| ear.notes().contains("are no addresses")).await;
    ear.until_synced().await;
    ear.until("it is mended", |ear| ear.notes().is_empty()).await;
    assert_eq!(remembered(&ear), ["127.0.0.1:1"]);

    // A file where the directory should be: nobody can write there, not even root.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("run"), "").unwrap();
    let mut ear = Ear::with(&server.url(), QUICK, dir);
    ear.until_synced().await;
    let server = Script::start(|ask| match ask.of(Kind::EndpointSlice) {
        true => {
            let slice = kubernetes("kubernetes", 1, &["127.0.0.1"], 1);
            Reply::lines(&[line("ADDED", &slice), end(5)], Then::Hold)
        }
        false => nothing(),
    })
    .await;
    let mut ear = Ear::with(&server.url(), QUICK, ear.stop());
    ear.until_synced().await;
    ear.until("it is said", |ear| ear.notes().contains("make the directory writable")).await;
}
