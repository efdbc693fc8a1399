//! Streams that say nothing. The time is virtual: it goes on when nothing else is to be done.

use std::time::Duration;

use serde_json::{Value, json};
use towpath::source::kube::Patience;
use towpath_model::{Kind, Stream};
use towpath_proxy::NEEDS;

use crate::support::{
    Ear, QUICK, Reply, Script, Then, bookmark, end, line, nothing, quiet, service,
};

/// Patience of ten seconds, for what takes 90 s in life.
const SHORT: Patience = Patience { silence: Duration::from_secs(10), ..QUICK };

/// A list in one page.
fn list_of(items: &[Value]) -> Reply {
    let list = json!({ "metadata": { "resourceVersion": "5" }, "items": items });
    Reply::whole(200, "", &list.to_string())
}

fn ear(server: &Script) -> Ear {
    Ear::with(&server.url(), SHORT, tempfile::tempdir().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_silent_for_too_long_is_opened_again_from_its_version() {
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.nth) {
        (false, _) => nothing(),
        (true, 0) => Reply::lines(&[line("ADDED", &service("a", 1, 1)), end(5)], Then::Hold),
        (true, _) => Reply::lines(&[line("MODIFIED", &service("a", 6, 2))], Then::Hold),
    })
    .await;
    let mut ear = ear(&server);
    ear.until("a", |ear| ear.services() == ["a:1"]).await;
    ear.until("the change", |ear| ear.services() == ["a:2"]).await;
    let asked = server.asked_of(Kind::Service);
    assert_eq!(asked[1].version(), "5");
    let waited = asked[1].at - asked[0].at;
    assert!(waited >= SHORT.silence, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_keep_a_stream_alive_and_bring_its_version_on() {
    let server = Script::start(|_| {
        let list = Reply::lines(&[end(5)], Then::Close);
        Reply { then: Then::Bookmarks, ..list }
    })
    .await;
    let mut ear = ear(&server);
    ear.until_synced().await;
    ear.listen(SHORT.silence * 4).await;
    for Stream { kind, .. } in NEEDS {
        let health = ear.health.of(kind);
        let of =
            |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!((of(&health.errors), of(&health.lists)), (0, 1), "{kind}");
        assert!(health.connected.load(std::sync::atomic::Ordering::Relaxed));
    }
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.nth) {
        (false, _) => nothing(),
        (true, 0) => Reply::lines(&[end(5), bookmark(70)], Then::Close),
        (true, _) => quiet(),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a watch", |_| server.asked_of(Kind::Service).len() > 1).await;
    assert_eq!(server.asked_of(Kind::Service)[1].version(), "70");
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_whose_end_never_comes_is_asked_for_in_pages() {
    for lines in [Vec::new(), vec![line("ADDED", &service("a", 1, 1))]] {
        let begun = lines.clone();
        let server = Script::start(move |ask| match (ask.of(Kind::Service), ask.has("watch=1")) {
            (false, _) => nothing(),
            // Alive, and no nearer to the end.
            (true, true) if ask.lists() => {
                Reply { then: Then::Bookmarks, ..Reply::lines(&begun, Then::Close) }
            }
            (true, true) => quiet(),
            (true, false) if ask.nth == 1 => Reply { bytes: Vec::new(), then: Then::Hold },
            (true, false) => list_of(&[service("a", 5, 2)]),
        })
        .await;
        let mut ear = ear(&server);
        ear.until("a list in pages", |_| server.asked_of(Kind::Service).len() > 1).await;
        let asked = server.asked_of(Kind::Service);
        assert!(asked[0].lists() && !asked[1].has("watch=1"), "{:?}", asked[1].query);
        let waited = asked[1].at - asked[0].at;
        assert!(waited >= SHORT.silence && waited < SHORT.silence * 2, "{waited:?}");
        // What is wrong is said until the list is there.
        let note = ear.health.notes()[0].to_string();
        assert!(note.contains("no object and no end"), "{note}");
        ear.until("what the pages say", |ear| ear.services() == ["a:2"]).await;
        ear.until("no problem", |ear| ear.health.notes().is_empty()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_the_connection_and_never_answers_is_given_up() {
    let server = Script::start(|ask| match ask.nth {
        0 => Reply { bytes: Vec::new(), then: Then::Hold },
        _ => nothing(),
    })
    .await;
    let mut ear = ear(&server);
    ear.until_synced().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_reason_never_comes_is_a_refusal() {
    let server = Script::start(|ask| match ask.nth {
        0 => {
            let head = "HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nhalf a rea";
            Reply { bytes: head.into(), then: Then::Hold }
        }
        _ => nothing(),
    })
    .await;
    let mut ear = ear(&server);
    ear.until_synced().await;
}

#[tokio::test(start_paused = true)]
async fn a_page_that_stops_half_way_is_given_up() {
    let server = Script::start(|ask| match ask.nth {
        _ if ask.lists() => Reply::status(422, "", "no streaming"),
        _ if ask.has("watch=1") => quiet(),
        1 => {
            let head = "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{\"metadata\":{";
            Reply { bytes: head.into(), then: Then::Hold }
        }
        _ => Reply::whole(200, "", r#"{"metadata":{"resourceVersion":"5"},"items":[]}"#),
    })
    .await;
    let mut ear = ear(&server);
    ear.until_synced().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_the_server_does_not_end_in_time_is_ended_here() {
    let patience = Patience { watch: Duration::from_secs(20), ..SHORT };
    let ticking: Vec<String> = vec![end(5)];
    let server = Script::start(move |ask| match (ask.of(Kind::Service), ask.lists()) {
        (false, _) => nothing(),
        (true, true) => Reply::lines(&ticking, Then::Close),
        // Bookmarks, all the time: no silence, and no end.
        (true, false) => Reply { bytes: quiet().bytes, then: Then::Bookmarks },
    })
    .await;
    let mut ear = Ear::with(&server.url(), patience, tempfile::tempdir().unwrap());
    ear.until("a watch and its successor", |_| server.asked_of(Kind::Service).len() > 2).await;
    let asked = server.asked_of(Kind::Service);
    let lived = asked[2].at - asked[1].at;
    assert!(lived >= Duration::from_secs(30), "{lived:?}");
}

/// A byte now and then, for ever, is what a server says that says nothing.
fn dripping(bytes: Vec<u8>) -> Reply {
    Reply { bytes, then: Then::Drip }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_make_no_line_are_silence() {
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.nth) {
        (false, _) => nothing(),
        // A list that never says anything, one in pages, a watch that says nothing, and one that does.
        (true, 0) => dripping(quiet().bytes),
        (true, 1) => list_of(&[service("a", 1, 1)]),
        (true, 2) => dripping(quiet().bytes),
        (true, _) => Reply::lines(&[line("MODIFIED", &service("a", 6, 2))], Then::Hold),
    })
    .await;
    let mut ear = ear(&server);
    let health = ear.health.of(Kind::Service);
    ear.listen(SHORT.silence / 2).await;
    assert!(!health.connected.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(health.last_event_ms.load(std::sync::atomic::Ordering::Relaxed), 0);
    ear.until("the change", |ear| ear.services() == ["a:2"]).await;
    let asked = server.asked_of(Kind::Service);
    assert_eq!((asked[2].version(), asked[3].version()), ("5", "5"));
    let waited = asked[3].at - asked[2].at;
    assert!(waited >= SHORT.silence, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_drips_is_given_up() {
    let server = Script::start(|ask| match ask.nth {
        _ if ask.lists() => Reply::status(422, "", "no streaming"),
        _ if ask.has("watch=1") => quiet(),
        1 => dripping(b"HTTP/1.1 200 X\r\nContent-Length: 100000000\r\n\r\n".to_vec()),
        _ => Reply::whole(200, "", r#"{"metadata":{"resourceVersion":"5"},"items":[]}"#),
    })
    .await;
    let mut ear = ear(&server);
    ear.until_synced().await;
}
