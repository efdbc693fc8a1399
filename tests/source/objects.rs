//! Objects and lines that cannot be understood harm nothing but themselves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use towpath_model::{Event, Kind, Object};

use crate::support::{
    Ask, Ear, FLOODED_MIB, Reply, Script, Then, bad_service, end, line, nothing, quiet, service,
};

/// Services a and b, then these lines; who goes on after them hears nothing more.
async fn watched(lines: Vec<String>) -> Script {
    let list = [line("ADDED", &service("a", 1, 1)), line("ADDED", &service("b", 2, 1)), end(5)];
    Script::start(move |ask| match (ask.of(Kind::Service), ask.version()) {
        (false, _) => nothing(),
        (true, "0" | "") => Reply::lines(&list, Then::Close),
        (true, "5") => Reply::lines(&lines, Then::Hold),
        (true, _) => quiet(),
    })
    .await
}

#[tokio::test]
async fn the_deletion_of_an_object_that_cannot_be_decoded_deletes_it() {
    let mut gone = bad_service("a", 6);
    gone["metadata"]["annotations"] = json!({ "x": 5 });
    gone["metadata"]["labels"] = json!("none");
    let server = watched(vec![line("DELETED", &gone), line("MODIFIED", &service("b", 7, 2))]).await;
    let mut ear = Ear::to(&server.url());
    ear.until("only b", |ear| ear.services() == ["b:2"]).await;
}

#[tokio::test]
async fn a_deletion_of_an_unnamed_object_is_followed_by_a_list() {
    let deleted = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&deleted);
    let server = Script::start(move |ask| {
        let both = [line("ADDED", &service("a", 1, 1)), line("ADDED", &service("b", 2, 1)), end(5)];
        let one = [line("ADDED", &service("b", 2, 1)), end(9)];
        match (ask.of(Kind::Service), ask.version()) {
            (false, _) => nothing(),
            (true, "0" | "") if deleted.load(Ordering::Relaxed) => Reply::lines(&one, Then::Hold),
            (true, "0" | "") => Reply::lines(&both, Then::Close),
            (true, _) => {
                deleted.store(true, Ordering::Relaxed);
                let line = line("DELETED", &json!({ "metadata": { "resourceVersion": "6" } }));
                Reply::lines(&[line], Then::Hold)
            }
        }
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a is gone", |ear| ear.services() == ["b:1"]).await;
    assert!(asked.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_line_that_is_garbage_every_time_does_not_block_its_kind() {
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.version(), ask.nth) {
        (false, ..) => nothing(),
        (true, "0" | "", 0) => {
            Reply::lines(&[line("ADDED", &service("a", 1, 1)), end(5)], Then::Close)
        }
        (true, "0" | "", _) => {
            Reply::lines(&[line("ADDED", &service("a", 6, 2)), end(7)], Then::Hold)
        }
        (true, ..) => Reply::lines(&["{\"type\":\n".to_owned()], Then::Hold),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a as the second list has it", |ear| ear.services() == ["a:2"]).await;
}

/// One object by its name.
fn by_name(ask: &Ask, name: &str) -> bool {
    ask.path == format!("/api/v1/namespaces/default/services/{name}")
}

#[tokio::test]
async fn an_object_that_was_damaged_on_its_way_is_looked_at_again() {
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.version()) {
        _ if by_name(ask, "a") && ask.nth < 2 => {
            Reply::whole(200, "", &bad_service("a", 6).to_string())
        }
        _ if by_name(ask, "a") => Reply::whole(200, "", &service("a", 6, 2).to_string()),
        (false, _) => nothing(),
        (true, "0" | "") => {
            let lines =
                [line("ADDED", &service("a", 1, 1)), line("ADDED", &service("b", 2, 1)), end(5)];
            Reply::lines(&lines, Then::Close)
        }
        (true, _) => Reply::lines(&[line("MODIFIED", &bad_service("a", 6))], Then::Hold),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a problem", |ear| ear.problems().contains("default/a")).await;
    assert_eq!(ear.services(), ["a:1", "b:1"], "its last good version stays in force");
    ear.until("a as it is", |ear| ear.services() == ["a:2", "b:1"]).await;
    assert_eq!(ear.problems(), "");
}

#[tokio::test]
async fn an_object_that_was_bad_in_the_list_is_looked_at_again() {
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.version()) {
        _ if by_name(ask, "a") => Reply::whole(200, "", &service("a", 6, 2).to_string()),
        (false, _) => nothing(),
        (true, _) => {
            let lines =
                [line("ADDED", &bad_service("a", 1)), line("ADDED", &service("b", 2, 1)), end(5)];
            Reply::lines(&lines, Then::Hold)
        }
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a as it is", |ear| ear.services() == ["a:2", "b:1"]).await;
}

#[tokio::test]
async fn an_object_of_ten_megabytes_is_one_like_any_other() {
    let mut huge = service("a", 6, 2);
    huge["metadata"]["annotations"] = json!({ "x": "x".repeat(10 << 20) });
    let server =
        watched(vec![line("MODIFIED", &huge), line("MODIFIED", &service("b", 7, 2))]).await;
    let mut ear = Ear::to(&server.url());
    ear.until("both", |ear| ear.services() == ["a:2", "b:2"]).await;
    assert_eq!(ear.health.of(Kind::Service).errors.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_line_without_end_is_given_up_long_before_it_fills_the_memory() {
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.nth) {
        (false, _) => nothing(),
        (true, 0) => Reply::lines(&[line("ADDED", &service("a", 1, 1)), end(5)], Then::Close),
        (true, 1) => Reply { then: Then::Flood, ..quiet() },
        (true, _) => Reply::lines(&[line("ADDED", &service("a", 6, 2)), end(7)], Then::Hold),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a as the next list has it", |ear| ear.services() == ["a:2"]).await;
    let taken = FLOODED_MIB.load(Ordering::Relaxed);
    assert!((32..64).contains(&taken), "{taken} MiB were taken of a GiB");
}

#[tokio::test]
async fn an_object_without_a_name_removes_nothing_and_stops_nothing() {
    let mut nameless = service("a", 6, 2);
    nameless["metadata"].as_object_mut().unwrap().remove("name");
    let lost = nameless.clone();
    let server = Script::start(move |ask| match (ask.of(Kind::Service), ask.nth) {
        (false, _) => nothing(),
        (true, 0) => {
            let both =
                [line("ADDED", &service("a", 1, 1)), line("ADDED", &service("b", 2, 1)), end(5)];
            Reply::lines(&both, Then::Close)
        }
        (true, 1) => Reply::status(410, "", "too old"),
        // The list has something that may be a.
        (true, 2) => Reply::lines(
            &[line("ADDED", &lost), line("ADDED", &service("b", 3, 2)), end(7)],
            Then::Close,
        ),
        (true, _) => Reply::lines(
            &[line("MODIFIED", &lost), line("MODIFIED", &service("b", 8, 3))],
            Then::Hold,
        ),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("b goes on and a stays", |ear| ear.services() == ["a:1", "b:3"]).await;
    assert_eq!(ear.health.of(Kind::Service).bad_objects.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_a_look_brought_is_not_undone_by_what_the_watch_says_late() {
    let looked = Arc::new(AtomicBool::new(false));
    let by_look = Arc::clone(&looked);
    let server = Script::start(move |ask| match (ask.of(Kind::Service), ask.nth) {
        _ if by_name(ask, "a") => {
            by_look.store(true, Ordering::Relaxed);
            Reply::whole(200, "", &service("a", 9, 9).to_string())
        }
        (false, _) => nothing(),
        (true, 0) => {
            let lines = [
                line("ADDED", &service("a", 1, 1)),
                end(5),
                line("MODIFIED", &bad_service("a", 6)),
            ];
            Reply::lines(&lines, Then::UntilHungUp)
        }
        (true, _) => {
            let late = [
                line("MODIFIED", &service("a", 7, 7)),
                line("MODIFIED", &service("a", 9, 9)),
                line("MODIFIED", &service("b", 10, 1)),
            ];
            Reply::lines(&late, Then::Hold)
        }
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a as it was looked at", |ear| ear.services() == ["a:9"]).await;
    assert!(looked.load(Ordering::Relaxed));
    server.hang_up();
    ear.until("b", |ear| ear.services() == ["a:9", "b:1"]).await;
    let ports: Vec<u16> = ear
        .heard
        .iter()
        .filter_map(|event| match event {
            Event::Apply(Object::Service(s)) if &*s.meta.name.name == "a" => Some(s.ports[0].port),
            _ => None,
        })
        .collect();
    assert_eq!(ports, [1, 9], "it never goes back");
}

#[tokio::test]
async fn a_bad_object_is_mended_while_the_watch_is_down() {
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.nth) {
        _ if by_name(ask, "a") && ask.nth < 2 => {
            Reply::whole(200, "", &bad_service("a", 6).to_string())
        }
        _ if by_name(ask, "a") => Reply::whole(200, "", &service("a", 8, 2).to_string()),
        (false, _) => nothing(),
        (true, 0) => {
            let lines = [
                line("ADDED", &service("a", 1, 1)),
                end(5),
                line("MODIFIED", &bad_service("a", 6)),
            ];
            Reply::lines(&lines, Then::Close)
        }
        (true, _) => Reply::status(500, "", "watches are broken"),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a problem", |ear| ear.problems().contains("default/a")).await;
    ear.until("a as it is", |ear| ear.services() == ["a:2"]).await;
    assert_eq!(ear.problems(), "");
}

#[tokio::test]
async fn a_bad_object_that_is_gone_is_not_asked_for_again() {
    let server = Script::start(|ask| match (ask.of(Kind::Service), ask.nth) {
        _ if by_name(ask, "a") => Reply::status(404, "", "not found"),
        (false, _) => nothing(),
        (true, 0) => {
            let lines =
                [line("ADDED", &service("b", 1, 1)), end(5), line("ADDED", &bad_service("a", 6))];
            Reply::lines(&lines, Then::Hold)
        }
        (true, _) => quiet(),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until("a look", |_| server.asked().iter().any(|ask| by_name(ask, "a"))).await;
    ear.listen(Duration::from_millis(400)).await;
    assert_eq!(server.asked().iter().filter(|ask| by_name(ask, "a")).count(), 1);
    // It is gone when the watch says so.
    assert!(ear.problems().contains("default/a"));
}
