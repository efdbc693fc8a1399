//! A stream that is cut, at every byte.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use towpath_model::Kind;

use crate::support::{
    Ask, Ear, Reply, Script, Then, bad_service, bookmark, end, line, nothing, service,
};

/// The whole dialogue: a list of three, a bookmark, changes of every sort.
fn dialogue() -> Vec<(u64, String)> {
    vec![
        (1, line("ADDED", &service("a", 1, 1))),
        (2, line("ADDED", &service("b", 2, 1))),
        (3, line("ADDED", &bad_service("c", 3))),
        (5, end(5)),
        (6, line("MODIFIED", &service("a", 6, 2))),
        (7, line("DELETED", &service("b", 7, 1))),
        (8, bookmark(8)),
        (9, line("MODIFIED", &service("c", 9, 2))),
        (10, line("ADDED", &service("d", 10, 1))),
        (
            11,
            line(
                "DELETED",
                &json!({ "metadata": { "name": "d", "namespace": "default", "resourceVersion": "11" } }),
            ),
        ),
        (12, line("ADDED", &service("e", 12, 7))),
    ]
}

/// What the server has after it.
fn state() -> [serde_json::Value; 3] {
    [service("a", 6, 2), service("c", 9, 2), service("e", 12, 7)]
}

const EXPECTED: [&str; 3] = ["a:2", "c:2", "e:7"];

/// An honest answer from where the watch stands.
fn honest(ask: &Ask) -> Reply {
    if ask.lists() {
        let all = state().map(|object| line("ADDED", &object));
        let lines: Vec<String> = all.into_iter().chain([end(12)]).collect();
        return Reply::lines(&lines, Then::Hold);
    }
    let at: u64 = ask.version().parse().unwrap();
    assert!(at >= 5, "a watch goes on from the end of a list: {ask:?}");
    let later = dialogue().into_iter().filter(|(version, _)| *version > at);
    Reply::lines(&later.map(|(_, line)| line).collect::<Vec<_>>(), Then::Hold)
}

/// The dialogue as it goes over the wire.
fn bytes() -> Vec<u8> {
    let lines: Vec<String> = dialogue().into_iter().map(|(_, line)| line).collect();
    Reply::lines(&lines, Then::Close).bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_at_any_byte_leads_to_what_the_server_has() {
    let total = bytes().len();
    let next = Arc::new(AtomicUsize::new(0));
    let lane = || {
        let next = Arc::clone(&next);
        tokio::spawn(async move {
            loop {
                let cut = next.fetch_add(1, Ordering::Relaxed);
                if cut > total {
                    return;
                }
                cut_at(cut).await;
            }
        })
    };
    for lane in [lane(), lane(), lane(), lane()] {
        lane.await.unwrap();
    }
    assert!(next.load(Ordering::Relaxed) > total);
}

async fn cut_at(cut: usize) {
    let server = Script::start(move |ask| match (ask.of(Kind::Service), ask.nth) {
        (false, _) => nothing(),
        (true, 0) => Reply { bytes: bytes()[..cut].to_vec(), then: Then::Close },
        (true, _) => honest(ask),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    let is = |ear: &Ear| ear.services() == EXPECTED && ear.store.view().synced().is_some();
    ear.until(&format!("the server's state after a cut at byte {cut}"), is).await;
    assert_eq!(ear.problems(), "", "after a cut at byte {cut}");
}

#[tokio::test]
async fn events_that_come_twice_or_late_lead_to_the_same() {
    // A server that goes back a few events after each cut, as one does that is restored.
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.nth) {
        (false, _) => nothing(),
        (true, nth @ 0..8) => {
            let all = dialogue();
            let from = if nth == 0 { 0 } else { (nth + 1).min(all.len() - 3) };
            let part = all[from..(from + 5).min(all.len())].iter().map(|(_, line)| line.clone());
            Reply::lines(&part.collect::<Vec<_>>(), Then::Close)
        }
        (true, _) => honest(ask),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    let told = |ear: &Ear| ear.services() == EXPECTED && server.asked_of(Kind::Service).len() > 8;
    ear.until("the server's state", told).await;
    assert_eq!(ear.problems(), "");
}
