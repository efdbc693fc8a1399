//! What a server refuses, and how it is asked again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use towpath_model::{Kind, Stream};
use towpath_proxy::NEEDS;

use crate::support::{Ear, QUICK, Reply, Script, Then, deaf, end, line, nothing, quiet, service};

/// Service a, on a stream that stays open.
fn a() -> Reply {
    Reply::lines(&[line("ADDED", &service("a", 1, 1)), end(5)], Then::Hold)
}

#[tokio::test]
async fn a_kind_that_is_forbidden_is_said_by_name_and_the_others_go_on() {
    let allowed = Arc::new(AtomicBool::new(false));
    let allow = Arc::clone(&allowed);
    let server = Script::start(move |ask| match ask.of(Kind::EndpointSlice) {
        true if !allowed.load(Ordering::Relaxed) => {
            Reply::status(403, "", "endpointslices is forbidden: User \"x\" cannot list resource")
        }
        true => nothing(),
        false if ask.of(Kind::Service) => a(),
        false => nothing(),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("what is forbidden is said", |ear| ear.notes().contains("forbidden")).await;
    ear.until("Services are heard", |ear| ear.services() == ["a:1"]).await;
    let notes = ear.notes();
    assert!(notes.contains("watch of endpointslices"), "{notes}");
    assert!(notes.contains("403") && notes.contains("cannot list resource"), "{notes}");
    assert!(notes.contains("allow this daemon's account to get, list and watch"), "{notes}");
    assert!(ear.store.view().synced(&NEEDS).is_none(), "a kind was never heard");
    allow.store(true, Ordering::Relaxed);
    ear.until_synced().await;
    assert_eq!(ear.notes(), "", "what is over is said no more");
}

#[tokio::test]
async fn a_token_that_is_refused_is_read_again_from_its_file() {
    let server = Script::start(|ask| match ask.authorization.as_str() {
        "Bearer new" if ask.of(Kind::Service) => a(),
        "Bearer new" => nothing(),
        _ => Reply::status(401, "", "Unauthorized"),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "old").unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": server.url() } }],
        "users": [{ "name": "u", "user": { "tokenFile": "token" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    });
    let mut ear = Ear::configured(&kubeconfig.to_string(), QUICK, dir);
    ear.until("the refusal is said", |ear| ear.notes().contains("401")).await;
    assert!(ear.notes().contains("check the credentials"), "{}", ear.notes());
    std::fs::write(ear.dir.path().join("token"), "new").unwrap();
    ear.until_synced().await;
    assert_eq!(ear.services(), ["a:1"]);
    assert_eq!(ear.notes(), "");
}

#[tokio::test]
async fn credentials_that_cannot_be_read_again_leave_those_that_were() {
    let refused = Arc::new(AtomicBool::new(true));
    let refuse = Arc::clone(&refused);
    let server = Script::start(move |_| match refused.load(Ordering::Relaxed) {
        true => Reply::status(401, "", "Unauthorized"),
        false => nothing(),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("the refusal is said", |ear| ear.notes().contains("401")).await;
    std::fs::write(ear.dir.path().join("kubeconfig"), "nonsense: [").unwrap();
    ear.until("it is said", |ear| ear.notes().contains("stay in use")).await;
    refuse.store(false, Ordering::Relaxed);
    ear.until_synced().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_come_back_later_does_not_come_before_and_not_with_all_the_others() {
    let server = Script::start(|ask| match ask.nth {
        0 => Reply::status(429, "Retry-After: 1\r\n", "too many requests"),
        _ => nothing(),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until_synced().await;
    let mut waits = Vec::new();
    for Stream { kind, .. } in NEEDS {
        let asked = server.asked_of(kind);
        waits.push(asked[1].at - asked[0].at);
    }
    assert!(waits.iter().all(|wait| *wait >= Duration::from_secs(1)), "{waits:?}");
    // Each adds up to half a second of its own: three that agree to half a millisecond do not.
    waits.sort_unstable();
    assert!(waits[2].abs_diff(waits[0]) > Duration::from_micros(500), "{waits:?}");
}

#[tokio::test]
async fn a_watch_that_is_refused_for_now_goes_on_from_its_version() {
    for refusal in [
        Reply::status(429, "", "too many requests"),
        Reply::status(500, "", "etcd leader changed"),
        Reply::status(503, "", "apiserver is shutting down"),
        Reply::whole(502, "", "<html>bad gateway</html>"),
    ] {
        let server = Script::start(move |ask| match (ask.of(Kind::Service), ask.nth) {
            (false, _) => nothing(),
            (true, 0) => Reply { then: Then::Close, ..a() },
            (true, 1 | 2) => refusal.clone(),
            (true, _) => Reply::lines(&[line("MODIFIED", &service("a", 6, 2))], Then::Hold),
        })
        .await;
        let mut ear = Ear::to(&server.url());
        ear.until("the change", |ear| ear.services() == ["a:2"]).await;
        let asked = server.asked_of(Kind::Service);
        assert!(asked[1..].iter().all(|ask| ask.version() == "5" && !ask.lists()), "{asked:?}");
    }
}

#[tokio::test]
async fn a_version_that_the_server_does_not_know_is_followed_by_a_list() {
    for refusal in [
        Reply::status(504, "", "Timeout: Too large resource version: 5, current: 2"),
        Reply::status(400, "", "invalid resource version"),
        Reply::status(410, "", "too old resource version"),
    ] {
        let server =
            Script::start(move |ask| match (ask.of(Kind::Service), ask.version(), ask.nth) {
                (false, ..) => nothing(),
                (true, _, 0) => Reply { then: Then::Close, ..a() },
                (true, "5", _) => refusal.clone(),
                (true, ..) => {
                    Reply::lines(&[line("ADDED", &service("b", 1, 1)), end(2)], Then::Hold)
                }
            })
            .await;
        let mut ear = Ear::to(&server.url());
        ear.until("what there is now", |ear| ear.services() == ["b:1"]).await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_waited_for() {
    // A port without a listener, until one comes.
    let (deaf, addr) = deaf();
    let mut ear = Ear::to(&format!("http://{addr}"));
    ear.until("it is said", |ear| ear.notes().contains("onnection refused")).await;
    assert!(ear.notes().contains("what is known stays in force"), "{}", ear.notes());
    let api = towpath_testbed::api::Api::new();
    api.put(service("a", 1, 1)).unwrap();
    deaf.listen(16).unwrap();
    api.serve(deaf.into()).unwrap();
    ear.until_synced().await;
    assert_eq!(ear.services(), ["a:1"]);
    assert_eq!(ear.notes(), "");
}

#[tokio::test]
async fn two_kinds_fail_independently_of_each_other() {
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.nth) {
        (true, 0) => Reply { then: Then::Close, ..a() },
        (true, _) => quiet(),
        (false, _) if ask.of(Kind::Node) => Reply::lines(&["?\n".to_owned()], Then::Close),
        (false, _) => Reply::status(500, "", "no"),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("Services are heard", |ear| ear.services() == ["a:1"]).await;
    let said = |ear: &Ear| {
        ear.notes().contains("watch of nodes") && ear.notes().contains("watch of endpointslices")
    };
    ear.until("both are said", said).await;
    assert!(!ear.notes().contains("watch of services"), "{}", ear.notes());
    assert!(server.asked_of(Kind::Service).len() <= 2, "one watch that stays");
    let errors = |kind| ear.health.of(kind).errors.load(Ordering::Relaxed);
    assert_eq!(errors(Kind::Service), 0);
    assert!(errors(Kind::Node) >= 5 && errors(Kind::EndpointSlice) >= 5);
}
