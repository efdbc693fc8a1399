//! The way to the API server: real endpoints, remembered, and replaced when they are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use towpath_model::Kind;

use crate::{
    authority::{Authority, kubeconfig},
    support::{Ask, Ear, QUICK, Reply, Script, Then, deaf, end, line, nothing, service},
};

/// An API server as it is: its certificate is for where it is reached, and for its Service.
async fn secure(
    authority: &Authority,
    answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
) -> Script {
    let names = ["127.0.0.1", "kubernetes.default.svc"];
    Script::secure(authority.acceptor(&names, false), answer).await
}

fn ear_to(authority: &Authority, server: &str, dir: tempfile::TempDir) -> Ear {
    Ear::configured(&kubeconfig(server, authority, json!({ "token": "secret" })), QUICK, dir)
}

/// A directory where these endpoints are remembered.
fn directory(remembered: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    std::fs::write(dir.path().join("run/api-endpoints"), remembered).unwrap();
    dir
}

fn empty() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

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
    let authority = Authority::new("a");
    let server = secure(&authority, |ask| match (ask.of(Kind::EndpointSlice), ask.nth) {
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
    let mut ear = ear_to(&authority, &server.url(), empty());
    let all = ["10.0.0.1:6443", "10.0.0.2:6443", "[fd00::1]:6443"];
    ear.until("both families", |ear| remembered(ear) == all).await;
    let now = ["10.0.0.3:6443", "[fd00::1]:6443"];
    ear.until("what left is gone", |ear| remembered(ear) == now).await;
}

#[tokio::test]
async fn a_restart_finds_the_api_server_where_it_was() {
    let authority = Authority::new("a");
    let server = secure(&authority, |ask| match ask.of(Kind::Service) {
        true => Reply::lines(&[line("ADDED", &service("a", 1, 1)), end(5)], Then::Hold),
        false => nothing(),
    })
    .await;
    // No server answers at the configured address any more.
    let (_deaf, addr) = deaf();
    let configured = format!("https://{addr}");
    let mut ear = ear_to(&authority, &configured, directory(&format!("{}\n", server.addr)));
    ear.until("Services", |ear| ear.services() == ["a:1"]).await;
}

/// Says once that the API server is at this port, and then fails.
fn points_at(port: u16) -> impl Fn(&Ask) -> Reply + Send + Sync + 'static {
    move |ask| match (ask.of(Kind::EndpointSlice), ask.nth) {
        (true, 0) => {
            let slice = kubernetes("kubernetes", 1, &["127.0.0.1"], port);
            Reply::lines(&[line("ADDED", &slice), end(5)], Then::Close)
        }
        // From here on the configured server fails, and the endpoint is tried.
        (true, _) => Reply::status(500, "", "no"),
        (false, _) => nothing(),
    }
}

#[tokio::test]
async fn an_address_that_left_is_asked_no_more() {
    let authority = Authority::new("a");
    let there = secure(&authority, |_| nothing()).await;
    let gone = secure(&authority, |_| nothing()).await;
    let server = secure(&authority, points_at(there.addr.port())).await;
    let mut ear = ear_to(&authority, &server.url(), directory(&format!("{}\n", gone.addr)));
    ear.until("the endpoint is asked", |_| !there.asked().is_empty()).await;
    assert!(gone.asked().is_empty(), "{:?}", gone.asked());
    assert_eq!(remembered(&ear), [there.addr.to_string()]);
}

#[tokio::test]
async fn without_verified_certificates_nothing_is_learned() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    // With http, and with https that is not verified: the author of the slice gets nothing.
    let listener = Script::start(|_| nothing()).await;
    let secure_listener = secure(&theirs, |_| nothing()).await;
    let plain = Script::start(points_at(listener.addr.port())).await;
    let unverified = secure(&ours, points_at(secure_listener.addr.port())).await;
    for (server, tenant) in [(&plain, &listener), (&unverified, &secure_listener)] {
        let user = json!({ "token": "secret" });
        let mut config: Value =
            serde_json::from_str(&kubeconfig(&server.url(), &ours, user)).unwrap();
        config["clusters"][0]["cluster"] =
            json!({ "server": server.url(), "insecure-skip-tls-verify": true });
        // What an earlier daemon remembered does not count either.
        let dir = directory(&format!("{}\n", tenant.addr));
        let mut ear = Ear::configured(&config.to_string(), QUICK, dir);
        let tries = || server.asked_of(Kind::EndpointSlice).len();
        ear.until("failures", |_| tries() > 6).await;
        assert!(tenant.asked().is_empty(), "{:?}", tenant.asked());
        assert_eq!(server.asked()[0].authorization, "Bearer secret");
    }
}

#[tokio::test]
async fn a_slice_of_anybody_is_not_believed_and_no_stranger_is_told_the_token() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let foreign = secure(&ours, |_| nothing()).await;
    let stranger = secure(&theirs, |_| nothing()).await;
    let (foreign_port, port) = (foreign.addr.port(), stranger.addr.port());
    let server = secure(&ours, move |ask| match (ask.of(Kind::EndpointSlice), ask.nth) {
        (true, 0) => {
            let slice = kubernetes("kubernetes-of-mine", 1, &["127.0.0.1"], foreign_port);
            let real = kubernetes("kubernetes", 1, &["127.0.0.1"], port);
            Reply::lines(&[line("ADDED", &slice), line("ADDED", &real), end(5)], Then::Close)
        }
        (true, 1..6) => Reply::status(500, "", "no"),
        (true, _) => Reply::lines(&[], Then::Hold),
        (false, _) => nothing(),
    })
    .await;
    let mut ear = ear_to(&ours, &server.url(), empty());
    let tries = || server.asked_of(Kind::EndpointSlice).len();
    ear.until("failures", |_| tries() > 6).await;
    assert_eq!(remembered(&ear), [stranger.addr.to_string()]);
    assert!(stranger.asked().is_empty() && foreign.asked().is_empty());
    ear.until("it is well again", |ear| ear.notes().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_nowhere_delay_a_return_by_seconds() {
    // Takes connections, and never says a word.
    let silent = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let bogus: Vec<String> = (1..=200).map(|at| format!("127.0.1.{at}")).collect();
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let authority = Authority::new("a");
    let server = secure(&authority, move |ask| {
        if is_down.load(Ordering::Relaxed) {
            return Reply::status(500, "", "no");
        }
        match (ask.of(Kind::EndpointSlice), ask.of(Kind::Service), ask.version()) {
            (true, _, "0") => {
                let bogus: Vec<&str> = bogus.iter().map(String::as_str).collect();
                let slice = kubernetes("kubernetes", 1, &bogus, port);
                Reply::lines(&[line("ADDED", &slice), end(5)], Then::UntilHungUp)
            }
            (_, true, "0") => Reply::lines(&[end(5)], Then::UntilHungUp),
            (_, true, _) => {
                Reply::lines(&[line("ADDED", &service("back", 6, 1))], Then::UntilHungUp)
            }
            _ => Reply::lines(&[end(5)], Then::UntilHungUp),
        }
    })
    .await;
    let mut ear = ear_to(&authority, &server.url(), empty());
    ear.until_synced().await;
    ear.until("it is said", |ear| ear.notes().contains("200 endpoints; only 16 are")).await;
    assert_eq!(remembered(&ear).len(), 16);
    down.store(true, Ordering::Relaxed);
    server.hang_up();
    ear.listen(Duration::from_secs(3)).await;
    let up = Instant::now();
    down.store(false, Ordering::Relaxed);
    ear.until("Services", |ear| ear.services() == ["back:1"]).await;
    // Two seconds for one that is silent; all of them in turn would be half a minute.
    assert!(up.elapsed() < Duration::from_secs(20), "{:?}", up.elapsed());
    drop(silent);
}

#[tokio::test]
async fn a_damaged_memory_and_a_directory_that_cannot_be_written_are_said_and_not_fatal() {
    let authority = Authority::new("a");
    // The slice that mends it comes when the damage was seen.
    let server = secure(&authority, |ask| match (ask.of(Kind::EndpointSlice), ask.lists()) {
        (true, true) => Reply::lines(&[end(5)], Then::UntilHungUp),
        (true, false) => {
            let slice = kubernetes("kubernetes", 6, &["127.0.0.1"], 1);
            Reply::lines(&[line("ADDED", &slice)], Then::Hold)
        }
        _ => nothing(),
    })
    .await;
    let dir = directory("");
    std::fs::write(dir.path().join("run/api-endpoints"), b"\xff\xfe\nnonsense\n").unwrap();
    let mut ear = ear_to(&authority, &server.url(), dir);
    ear.until("the damage is said", |ear| ear.notes().contains("are no addresses")).await;
    ear.until_synced().await;
    server.hang_up();
    ear.until("it is mended", |ear| ear.notes().is_empty()).await;
    assert_eq!(remembered(&ear), ["127.0.0.1:1"]);

    // A file where the directory should be: no user can write there, not even root.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("run"), "").unwrap();
    let mut ear = ear_to(&authority, &server.url(), dir);
    ear.until_synced().await;
    let server = secure(&authority, |ask| match ask.of(Kind::EndpointSlice) {
        true => {
            let slice = kubernetes("kubernetes", 1, &["127.0.0.1"], 1);
            Reply::lines(&[line("ADDED", &slice), end(5)], Then::Hold)
        }
        false => nothing(),
    })
    .await;
    let mut ear = ear_to(&authority, &server.url(), ear.stop());
    ear.until_synced().await;
    ear.until("it is said", |ear| ear.notes().contains("make the directory writable")).await;
}
