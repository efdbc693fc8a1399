//! Kinds that a server does not know, and kinds that it does not show.

use std::{sync::atomic::Ordering, time::Duration};

use http::StatusCode;
use serde_json::json;
use towpath_model::{Event, Kind, Stream};
use towpath_proxy::NEEDS;
use towpath_testbed::api::Api;

use crate::support::{Ear, service, small_api};

const CIDRS: Stream = Stream::all(Kind::ServiceCIDR);

fn put(api: &Api) {
    let meta = json!({ "name": "kubernetes" });
    let spec = json!({ "cidrs": ["10.96.0.0/16"] });
    api.put(json!({ "kind": "ServiceCIDR", "metadata": meta, "spec": spec })).unwrap();
}

fn cidrs(ear: &Ear) -> usize {
    ear.store.view().service_cidrs().len()
}

/// A source that is asked for ServiceCIDRs besides, from the start.
fn ear(server: &str) -> Ear {
    let ear = Ear::to(server);
    ear.want(NEEDS.into_iter().chain([CIDRS]));
    ear
}

#[tokio::test]
async fn a_kind_that_the_server_does_not_know_is_empty_and_asked_for_again() {
    let (api, server) = small_api();
    api.faults().refuse("servicecidrs", Some(StatusCode::NOT_FOUND));
    put(&api);
    let mut ear = ear(&server);
    ear.until_synced().await;
    ear.until("it counts as listed", |ear| ear.store.view().listed(&CIDRS)).await;
    assert_eq!((cidrs(&ear), ear.notes()), (0, String::new()), "nothing is wrong");
    api.faults().refuse("servicecidrs", None);
    ear.until("it came to be known", |ear| cidrs(ear) == 1).await;
    assert!(ear.store.view().listed(&CIDRS));
}

#[tokio::test]
async fn what_there_was_goes_when_a_second_answer_says_that_the_kind_is_unknown() {
    let (api, server) = small_api();
    put(&api);
    let mut ear = ear(&server);
    ear.until("the object", |ear| cidrs(ear) == 1).await;
    let said = ear.heard.len();
    api.faults().refuse("servicecidrs", Some(StatusCode::NOT_FOUND));
    ear.until("its end", |ear| cidrs(ear) == 0).await;
    let absent = Event::Absent(Kind::ServiceCIDR);
    assert_eq!(ear.heard[said..].iter().filter(|event| **event == absent).count(), 2);
    assert_eq!((ear.store.view().listed(&CIDRS), ear.notes()), (true, String::new()));
    ear.listen(Duration::from_millis(400)).await;
    let times = ear.heard[said..].iter().filter(|event| **event == absent).count();
    assert!((3..8).contains(&times), "{times} answers, each a tenth of a second after the other");
}

#[tokio::test]
async fn a_kind_that_is_forbidden_is_never_listed_and_holds_up_no_other() {
    let (api, server) = small_api();
    api.faults().refuse("servicecidrs", Some(StatusCode::FORBIDDEN));
    put(&api);
    api.put(service("a", 0, 80)).unwrap();
    let mut ear = ear(&server);
    ear.until_synced().await;
    ear.until("it is said", |ear| ear.notes().contains("watch of servicecidrs")).await;
    assert!(ear.notes().contains("get, list and watch servicecidrs"), "{}", ear.notes());
    assert_eq!(ear.services(), ["a:80"]);
    assert!(!ear.store.view().listed(&CIDRS));
    api.faults().refuse("servicecidrs", None);
    ear.until("it is allowed", |ear| cidrs(ear) == 1 && ear.notes().is_empty()).await;
    // What is in force stays.
    api.faults().refuse("servicecidrs", Some(StatusCode::FORBIDDEN));
    ear.until("it is said again", |ear| ear.notes().contains("servicecidrs")).await;
    let errors = ear.health.of(CIDRS);
    ear.until("it is asked again", |_| errors.errors.load(Ordering::Relaxed) > 5).await;
    assert_eq!((cidrs(&ear), ear.store.view().listed(&CIDRS)), (1, true));
}

#[tokio::test]
async fn a_kind_that_every_server_knows_is_not_taken_for_absent() {
    let (api, server) = small_api();
    api.put(service("a", 0, 80)).unwrap();
    let mut ear = Ear::to(&server);
    ear.until_synced().await;
    api.faults().refuse("services", Some(StatusCode::NOT_FOUND));
    ear.until("it is said", |ear| ear.notes().contains("watch of services")).await;
    assert_eq!(ear.services(), ["a:80"]);
    assert!(!ear.heard.contains(&Event::Absent(Kind::Service)));
}
