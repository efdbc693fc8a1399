//! How often a server is asked that ends everything: bounded, never in step, and at once when the
//! end was an ordinary one. The time is virtual.

use std::time::Duration;

use towpath_model::Kind;

use crate::support::{Ask, Ear, Reply, Script, Then, end, nothing};

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
