//! The brake asks for a list of a quorum; nothing but that releases it.

use towpath_model::Kind;

use crate::support::{Ask, Ear, Reply, Script, Then, end, line, nothing, quiet, service};

/// So many Services that the brake holds when they are gone.
const MANY: u64 = 80;

fn full() -> Reply {
    let all = (1..=MANY).map(|n| line("ADDED", &service(&format!("s-{n}"), n, 80)));
    let lines: Vec<String> = all.chain([end(MANY)]).collect();
    Reply::lines(&lines, Then::Close)
}

fn empty() -> Reply {
    Reply::lines(&[end(200)], Then::Close)
}

fn cached(ask: &Ask) -> bool {
    ask.has("resourceVersion=0")
}

/// A server whose cache lost everything while the quorum still has it. The first list is whole,
/// the first watch expires, and `trouble` answers when a quorum is asked the first times.
async fn forgetful(trouble: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static) -> Script {
    let quorum = std::sync::atomic::AtomicUsize::new(0);
    Script::start(move |ask| {
        if !ask.of(Kind::Service) {
            return nothing();
        }
        match (ask.nth, ask.lists() || ask.has("limit=500")) {
            (0, _) => full(),
            (_, false) if quorum.load(std::sync::atomic::Ordering::Relaxed) > 3 => quiet(),
            (_, false) => Reply::status(410, "", "too old"),
            (_, true) if cached(ask) => empty(),
            (_, true) => {
                let nth = quorum.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                trouble(nth).unwrap_or_else(full)
            }
        }
    })
    .await
}

async fn nothing_is_lost(trouble: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static) {
    let server = forgetful(trouble).await;
    let mut ear = Ear::to(&server.url());
    ear.until_synced().await;
    ear.doubt(Kind::Service);
    ear.until("a list of the quorum, at last", |_| {
        server.asked_of(Kind::Service).iter().filter(|ask| ask.lists() && !cached(ask)).count() > 3
    })
    .await;
    ear.listen(std::time::Duration::from_millis(200)).await;
    assert_eq!(ear.services().len(), 80, "{:?}", ear.services());
}

#[tokio::test]
async fn an_expired_version_does_not_make_a_cached_list_of_the_one_that_was_asked_for() {
    nothing_is_lost(|nth| (nth < 3).then(|| Reply::status(410, "", "too old"))).await;
}

#[tokio::test]
async fn nor_does_any_other_failure() {
    let truncated = || Reply::lines(&[line("ADDED", &service("s-1", 1, 80))], Then::Close);
    nothing_is_lost(move |nth| match nth {
        0 => Some(Reply::status(500, "", "no")),
        1 => Some(truncated()),
        2 => Some(Reply::lines(&["garbage\n".to_owned()], Then::Close)),
        _ => None,
    })
    .await;
}
