//! How often a server is asked that ends everything: bounded, never in step, and at once when the
//! end was an ordinary one.

use std::time::Duration;

use towpath_model::Kind;

use crate::support::{Ask, Ear, Reply, Script, Then, end, nothing};

/// What the longest wait of 300 ms and the doubling up to it allow in two seconds.
const BOUND: usize = 20;

fn waits(asked: &[Ask]) -> Vec<Duration> {
    asked.windows(2).map(|two| two[1].at - two[0].at).collect()
}

/// Asks for two seconds.
async fn asked_by(answer: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Vec<Ask> {
    let server =
        Script::start(move |ask| if ask.of(Kind::Service) { answer(ask) } else { nothing() });
    let server = server.await;
    let mut ear = Ear::to(&server.url());
    ear.listen(Duration::from_secs(2)).await;
    server.asked_of(Kind::Service)
}

#[tokio::test]
async fn a_server_that_ends_every_watch_at_once_is_asked_at_a_bounded_and_uneven_rate() {
    let asked = asked_by(|ask| {
        let lines = if ask.lists() { vec![end(5)] } else { Vec::new() };
        Reply::lines(&lines, Then::Close)
    })
    .await;
    assert!((5..=BOUND).contains(&asked.len()), "{} requests", asked.len());
    let late = waits(&asked).split_off(asked.len() - 4);
    assert!(late.iter().all(|wait| *wait >= Duration::from_millis(140)), "{late:?}");
    assert!(
        late.windows(2).any(|two| two[0].abs_diff(two[1]) > Duration::from_millis(1)),
        "{late:?}"
    );
}

#[tokio::test]
async fn a_server_that_answers_410_for_ever_is_asked_at_a_bounded_rate() {
    let gone = r#"{"type":"ERROR","object":{"code":410,"message":"too old"}}"#;
    let asked = asked_by(move |ask| {
        let lines = if ask.lists() { vec![end(5)] } else { vec![format!("{gone}\n")] };
        Reply::lines(&lines, Then::Close)
    })
    .await;
    assert!((5..=2 * BOUND).contains(&asked.len()), "{} requests", asked.len());
    let asked = asked_by(|_| Reply::status(410, "", "expired")).await;
    assert!((5..=BOUND).contains(&asked.len()), "{} requests", asked.len());
}

#[tokio::test]
async fn retry_after_zero_is_no_invitation() {
    let asked = asked_by(|_| Reply::status(429, "Retry-After: 0\r\n", "too many")).await;
    assert!((5..=BOUND).contains(&asked.len()), "{} requests", asked.len());
}

#[tokio::test]
async fn the_ordinary_end_of_a_watch_costs_no_time() {
    // Each watch lives longer than the first wait, and ends: the waits do not grow.
    let lived = Then::After(Duration::from_millis(120));
    let server = Script::start(move |ask| match (ask.of(Kind::Service), ask.lists()) {
        (true, true) => Reply::lines(&[end(5)], lived),
        (true, false) => Reply::lines(&[], lived),
        (false, _) => nothing(),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.listen(Duration::from_secs(2)).await;
    let waits = waits(&server.asked_of(Kind::Service));
    assert!(waits.len() > 10, "{waits:?}");
    let longest = waits.iter().max().unwrap();
    assert!(*longest < Duration::from_millis(200), "{waits:?}");
}
