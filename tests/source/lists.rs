//! Streaming lists, and paged ones where they are refused.

use serde_json::{Value, json};
use towpath_model::{Event, Kind};

use crate::support::{Ask, Ear, Reply, Script, Then, end, line, nothing, quiet, service};

const REFUSED: &str =
    "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";

fn refused() -> Reply {
    Reply::status(422, "", REFUSED)
}

/// A page of a list.
fn page(version: u64, token: &str, items: &[Value]) -> Reply {
    let meta = json!({ "resourceVersion": version.to_string(), "continue": token });
    Reply::whole(200, "", &json!({ "kind": "List", "metadata": meta, "items": items }).to_string())
}

/// Of kinds that no test looks at.
fn other(ask: &Ask) -> Reply {
    if ask.lists() || ask.version() == "0" { nothing() } else { quiet() }
}

#[tokio::test]
async fn a_refused_streaming_list_falls_back_to_pages_and_a_watch() {
    let api = towpath_testbed::api::Api::new();
    api.faults().no_streaming(true);
    // Three pages of 500.
    for n in 0..1200 {
        api.put(service(&format!("s-{n:04}"), 0, 80)).unwrap();
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    api.serve(listener).unwrap();
    let mut ear = Ear::to(&format!("http://{addr}"));
    ear.until_synced().await;
    assert_eq!(ear.services().len(), 1200);
    api.delete("services", "default", "s-0007");
    ear.until("a deletion by the watch", |ear| ear.services().len() == 1199).await;
    let inits = ear.heard.iter().filter(|event| **event == Event::Init(Kind::Service.into()));
    assert_eq!(inits.count(), 1, "one list, in pages");
}

#[tokio::test]
async fn a_server_may_refuse_streaming_lists_later() {
    let api = towpath_testbed::api::Api::new();
    api.put(service("a", 0, 1)).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    api.serve(listener).unwrap();
    let mut ear = Ear::to(&format!("http://{addr}"));
    ear.until("a", |ear| ear.services() == ["a:1"]).await;
    // An older replica answers, and it does not know the version either.
    api.faults().no_streaming(true);
    api.put(service("b", 0, 1)).unwrap();
    api.delete("services", "default", "a");
    api.expire();
    ear.until("b alone", |ear| ear.services() == ["b:1"]).await;
    api.put(service("b", 0, 2)).unwrap();
    ear.until("b changed", |ear| ear.services() == ["b:2"]).await;
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_begins_a_list_that_needs_none() {
    let server = Script::start(|ask| {
        let (a, b) = (service("a", 1, 1), service("b", 2, 1));
        match ask.of(Kind::Service) {
            false => other(ask),
            true if ask.lists() => refused(),
            true if ask.has("watch=1") => quiet(),
            true if ask.has("continue=t%2F1") => {
                Reply::status(410, "", "the continue token is too old")
            }
            true if ask.has("limit=500") => page(5, "t/1", &[a]),
            true => page(7, "", &[b, service("c", 3, 1)]),
        }
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("the second list, whole", |ear| ear.services() == ["b:1", "c:1"]).await;
    // What the first, unfinished one said is gone, and nothing of it was a complete list.
    let ends = ear.heard.iter().filter(|event| **event == Event::InitDone(Kind::Service.into()));
    assert_eq!(ends.count(), 1, "{:?}", ear.heard);
    let watch = ear.until("a watch", |_| {
        server.asked_of(Kind::Service).iter().any(|ask| !ask.lists() && ask.version() == "7")
    });
    watch.await;
}

#[tokio::test]
async fn json_that_is_no_list_is_never_an_empty_one() {
    for wrong in
        ["{}", r#"{"items":[]}"#, r#"{"metadata":{"resourceVersion":""},"items":null}"#, "[]", "5"]
    {
        let server = Script::start(move |ask| match (ask.of(Kind::Service), ask.nth) {
            (false, _) => other(ask),
            (true, _) if ask.lists() => refused(),
            (true, _) if ask.has("watch=1") => Reply::status(410, "", "too old"),
            (true, 1) => page(5, "", &[service("a", 1, 1)]),
            (true, _) => Reply::whole(200, "", wrong),
        })
        .await;
        let mut ear = Ear::to(&server.url());
        let often = |_: &Ear| server.asked_of(Kind::Service).len() > 6;
        ear.until("several such answers", often).await;
        assert_eq!(ear.services(), ["a:1"], "{wrong}");
    }
}

#[tokio::test]
async fn a_streaming_list_that_ends_before_its_end_removes_nothing() {
    let server = Script::start(|ask| {
        let a = line("ADDED", &service("a", 1, 1));
        match (ask.of(Kind::Service), ask.nth) {
            (false, _) => other(ask),
            (true, 0) => {
                Reply::lines(&[a, line("ADDED", &service("b", 2, 1)), end(5)], Then::Close)
            }
            (true, 1) => Reply::status(410, "", "too old"),
            (true, 2..6) => Reply::lines(&[a], Then::Close),
            (true, 6) => Reply::lines(&[a, end(0).replace("\"0\"", "\"\"")], Then::Close),
            (true, _) => Reply::lines(&[line("ADDED", &service("b", 2, 2)), end(9)], Then::Hold),
        }
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("both", |ear| ear.services().len() == 2).await;
    ear.until("cut lists", |_| server.asked_of(Kind::Service).len() > 6).await;
    assert_eq!(ear.services(), ["a:1", "b:1"]);
    ear.until("a whole one", |ear| ear.services() == ["b:2"]).await;
}

#[tokio::test]
async fn what_a_server_calls_its_versions_does_not_change_the_request() {
    let strange = r#"5&watch=0 x/#"#;
    let server = Script::start(move |ask| match (ask.of(Kind::Service), ask.nth) {
        (false, _) => other(ask),
        (true, 0) => {
            let end = end(5).replace("\"5\"", &json!(strange).to_string());
            Reply::lines(&[line("ADDED", &service("a", 1, 1)), end], Then::Close)
        }
        (true, _) => quiet(),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a watch", |_| server.asked_of(Kind::Service).len() > 1).await;
    let ask = &server.asked_of(Kind::Service)[1];
    assert_eq!(ask.version(), "5%26watch%3D0%20x%2F%23");
    assert!(ask.has("watch=1"), "{ask:?}");
}
