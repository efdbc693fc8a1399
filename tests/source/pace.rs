//! How often a server is asked that ends everything: bounded, never in step, and at once when the
//! end was an ordinary one. The time is virtual.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use towpath_model::Kind;

use crate::support::{Ask, Ear, Reply, Script, Then, end, line, nothing, service};

/// So many requests, each after the wait of a failure, take [`LEAST`] at least: waits double from
/// 10 ms to 300 ms, and half of a wait may be left out.
const REQUESTS: usize = 12;
const LEAST: Duration = Duration::from_millis(1_000);

fn waits(asked: &[Ask]) -> Vec<Duration> {
    asked.windows(2).map(|two| two[1].at - two[0].at).collect()
}

/// The first so many requests.
async fn asked_by(
    requests: usize,
    answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static,
) -> Vec<Ask> {
    let server =
        Script::start(move |ask| if ask.of(Kind::Service) { answer(ask) } else { nothing() });
    let server = server.await;
    let mut ear = Ear::to(&server.url());
    ear.until("requests", |_| server.asked_of(Kind::Service).len() >= requests).await;
    let mut asked = server.asked_of(Kind::Service);
    asked.truncate(requests);
    asked
}

#[track_caller]
fn bounded(asked: &[Ask]) {
    let waits = waits(asked);
    assert!(waits.iter().sum::<Duration>() >= LEAST, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_at_once_is_asked_at_a_bounded_and_uneven_rate() {
    let asked = asked_by(REQUESTS, |ask| {
        let lines = if ask.lists() { vec![end(5)] } else { Vec::new() };
        Reply::lines(&lines, Then::Close)
    })
    .await;
    bounded(&asked);
    let late = waits(&asked).split_off(REQUESTS - 5);
    assert!(late.iter().all(|wait| *wait >= Duration::from_millis(140)), "{late:?}");
    assert!(
        late.windows(2).any(|two| two[0].abs_diff(two[1]) > Duration::from_millis(1)),
        "{late:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_at_which_every_watch_ends_at_once_is_given_up_for_a_new_list() {
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.lists(), ask.nth) {
        (false, ..) => nothing(),
        (true, true, 0) => Reply::lines(&[end(5)], Then::Close),
        // Not of version 5: a watch of what the new list says is one like any other.
        (true, true, _) => Reply::lines(&[line("ADDED", &service("a", 7, 1)), end(7)], Then::Hold),
        (true, false, _) => Reply::lines(&[], Then::Close),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("what the new list says", |ear| ear.services() == ["a:1"]).await;
    let asked = server.asked_of(Kind::Service);
    let lists: Vec<bool> = asked.iter().map(Ask::lists).collect();
    assert_eq!(lists, [true, false, false, false, true], "a few watches, then a list");
    let errors = &ear.health.of(Kind::Service).errors;
    assert_eq!(errors.load(Ordering::Relaxed), 3, "each of them is counted");
    assert_eq!(ear.health.notes(), []);
}

#[tokio::test(start_paused = true)]
async fn watches_that_go_on_ending_at_once_are_a_problem_until_one_lasts() {
    let mends = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&mends);
    let server = Script::start(move |ask| match (ask.of(Kind::Service), ask.lists()) {
        (false, _) => nothing(),
        (true, true) => Reply::lines(&[end(5)], Then::Close),
        (true, false) if mended.load(Ordering::Relaxed) => {
            Reply::lines(&[line("ADDED", &service("a", 9, 1))], Then::Hold)
        }
        (true, false) => Reply::lines(&[], Then::Close),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a problem", |ear| !ear.health.notes().is_empty()).await;
    let note = ear.health.notes()[0].to_string();
    assert!(note.contains("services") && note.contains("ends it at once"), "{note}");
    mends.store(true, Ordering::Relaxed);
    ear.until("a watch", |ear| ear.services() == ["a:1"]).await;
    ear.until("no problem", |ear| ear.health.notes().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_410_for_ever_is_asked_at_a_bounded_rate() {
    let gone = r#"{"type":"ERROR","object":{"code":410,"message":"too old"}}"#;
    // A list and a watch for each wait.
    let asked = asked_by(2 * REQUESTS, move |ask| {
        let lines = if ask.lists() { vec![end(5)] } else { vec![format!("{gone}\n")] };
        Reply::lines(&lines, Then::Close)
    })
    .await;
    bounded(&asked);
    bounded(&asked_by(REQUESTS, |_| Reply::status(410, "", "expired")).await);
}

#[tokio::test(start_paused = true)]
async fn retry_after_zero_is_no_invitation() {
    let refusal = |_: &Ask| Reply::status(429, "Retry-After: 0\r\n", "too many");
    bounded(&asked_by(REQUESTS, refusal).await);
}

#[tokio::test(start_paused = true)]
async fn the_ordinary_end_of_a_watch_costs_no_time() {
    // Each watch lives longer than the first wait, and ends: the waits do not grow.
    let lived = Then::After(Duration::from_millis(120));
    let asked = asked_by(REQUESTS, move |ask| {
        let lines = if ask.lists() { vec![end(5)] } else { Vec::new() };
        Reply::lines(&lines, lived)
    })
    .await;
    let mut waits = waits(&asked);
    waits.sort_unstable();
    // Waits that grow are all longer than 150 ms, but for the first ones.
    let median = waits[waits.len() / 2];
    assert!(median < Duration::from_millis(150), "{waits:?}");
}
