//! A stream that is cut, at every byte.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use towpath::source::kube::Patience;
use towpath_model::Kind;

use crate::support::{
    Ask, Ear, QUICK, Reply, Script, Then, bad_service, bookmark, end, line, nothing, service,
};

/// Versions of one dialogue; the next one's are above them.
const VERSIONS: u64 = 100;

/// The whole dialogue, of which there is one for each cut: a list of three, its end, changes of
/// every sort. Versions and ports tell it from the others.
fn dialogue(nth: usize) -> Vec<(u64, String)> {
    let base = nth as u64 * VERSIONS;
    let of = |name: &str, at: u64, port: u16| service(name, base + at, port);
    let port = port(nth);
    let lines = [
        (1, line("ADDED", &of("a", 1, 1))),
        (2, line("ADDED", &of("b", 2, 1))),
        (3, line("ADDED", &bad_service("c", base + 3))),
        (5, end(base + 5)),
        (6, line("MODIFIED", &of("a", 6, port))),
        (7, line("DELETED", &of("b", 7, 1))),
        (8, bookmark(base + 8)),
        (9, line("MODIFIED", &of("c", 9, port))),
        (10, line("ADDED", &of("d", 10, 1))),
        (11, line("DELETED", &bad_service("d", base + 11))),
        (12, line("ADDED", &of("e", 12, port))),
    ];
    lines.into_iter().map(|(at, line)| (base + at, line)).collect()
}

/// What the server has after it.
fn state(nth: usize) -> Vec<String> {
    let base = nth as u64 * VERSIONS;
    let all = [("a", 6), ("c", 9), ("e", 12)];
    let lines = all.map(|(name, at)| line("ADDED", &service(name, base + at, port(nth))));
    lines.into_iter().chain([end(base + 12)]).collect()
}

fn port(nth: usize) -> u16 {
    u16::try_from(nth).unwrap() + 10
}

fn expected(nth: usize) -> [String; 3] {
    ["a", "c", "e"].map(|name| format!("{name}:{}", port(nth)))
}

/// An honest answer from where the watch stands.
fn honest(ask: &Ask, nth: usize) -> Reply {
    if ask.lists() {
        return Reply::lines(&state(nth), Then::UntilHungUp);
    }
    let at: u64 = ask.version().parse().unwrap();
    let base = nth as u64 * VERSIONS;
    if at < base {
        return Reply::status(410, "", "of the dialogue before");
    }
    assert!(at >= base + 5, "a watch goes on from the end of a list: {ask:?}");
    let later = dialogue(nth).into_iter().filter(|(version, _)| *version > at);
    Reply::lines(&later.map(|(_, line)| line).collect::<Vec<_>>(), Then::UntilHungUp)
}

/// The dialogue as it goes over the wire.
fn bytes(nth: usize) -> Vec<u8> {
    let lines: Vec<String> = dialogue(nth).into_iter().map(|(_, line)| line).collect();
    Reply::lines(&lines, Then::Close).bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_cut_at_any_byte_leads_to_what_the_server_has() {
    // Numbers grow with the dialogues: the last one is the longest.
    let total = bytes(9_999).len();
    assert!((1_000..9_000).contains(&total), "{total} bytes");
    let lanes = [0, 1].map(|lane| tokio::spawn(cut_at((lane..=total).step_by(2).collect())));
    for lane in lanes {
        lane.await.unwrap();
    }
}

/// One source, whose stream of the first dialogue is cut at the first place, and so on.
async fn cut_at(places: Vec<usize>) {
    let now = Arc::new(Mutex::new((0, false)));
    let (told, cuts) = (Arc::clone(&now), places.clone());
    let server = Script::start(move |ask| {
        if !ask.of(Kind::Service) {
            return nothing();
        }
        let mut now = told.lock().unwrap();
        let (nth, cut) = *now;
        if cut || !ask.lists() {
            return honest(ask, nth);
        }
        now.1 = true;
        let mut bytes = bytes(nth);
        bytes.truncate(cuts[nth]);
        Reply { bytes, then: Then::Close }
    })
    .await;
    let patience = Patience {
        wait_max: Duration::from_millis(2),
        wait_min: Duration::from_millis(1),
        ..QUICK
    };
    let mut ear = Ear::with(&server.url(), patience, tempfile::tempdir().unwrap());
    for (nth, place) in places.into_iter().enumerate() {
        *now.lock().unwrap() = (nth, false);
        server.hang_up();
        let expected = expected(nth);
        ear.until(&format!("the server's state after a cut at byte {place}"), |ear| {
            ear.services() == expected
        })
        .await;
        assert!(now.lock().unwrap().1, "the cut at byte {place} was made");
        assert_eq!(ear.problems(), "", "after a cut at byte {place}");
    }
}

#[tokio::test]
async fn events_that_come_twice_or_late_lead_to_the_same() {
    // A server that goes back a few events after each cut, as one does that is restored.
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.nth) {
        (false, _) => nothing(),
        (true, nth @ 0..8) => {
            let all = dialogue(0);
            let from = if nth == 0 { 0 } else { (nth + 1).min(all.len() - 3) };
            let part = all[from..(from + 5).min(all.len())].iter().map(|(_, line)| line.clone());
            Reply::lines(&part.collect::<Vec<_>>(), Then::Close)
        }
        (true, _) => honest(ask, 0),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    let told =
        |ear: &Ear| ear.services() == expected(0) && server.asked_of(Kind::Service).len() > 8;
    ear.until("the server's state", told).await;
    assert_eq!(ear.problems(), "");
}
