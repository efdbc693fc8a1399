//! Streams that begin and end while the source runs.

use std::sync::atomic::Ordering;

use serde_json::json;
use towpath_model::{Event, Kind, ObjectName, Stream};
use towpath_proxy::NEEDS;
use towpath_testbed::api::Api;

use crate::support::{Ear, Reply, Script, Then, end, line, quiet, service, small_api};

/// Service NAMESPACE/NAME.
fn put(api: &Api, namespace: &str, name: &str) {
    let mut object = service(name, 0, 80);
    object["metadata"]["namespace"] = json!(namespace);
    api.put(object).unwrap();
}

fn in_shop() -> Stream {
    Stream::in_namespace(Kind::Service, "shop")
}

fn the_card() -> Stream {
    Stream::named(Kind::Service, ObjectName::new("bank", "card"))
}

#[tokio::test]
async fn a_stream_brings_its_scope_and_takes_it_away_when_it_ends() {
    let (api, server) = small_api();
    put(&api, "shop", "cart");
    put(&api, "bank", "card");
    put(&api, "bank", "till");
    let mut ear = Ear::to(&server);
    ear.until_synced().await;
    assert_eq!(ear.services(), ["card:80", "till:80", "cart:80"]);
    ear.want([in_shop(), the_card()]);
    ear.until("what is left", |ear| ear.services() == ["card:80", "cart:80"]).await;
    ear.until("both are listed", |ear| {
        [in_shop(), the_card()].iter().all(|stream| ear.store.view().listed(stream))
    })
    .await;
    let listed = |ear: &Ear, stream: &Stream| ear.store.view().listed(stream);
    assert!(!listed(&ear, &Stream::all(Kind::Service)) && !listed(&ear, &Stream::all(Kind::Node)));
    let streams = ear.health.all();
    let names: Vec<_> = streams.iter().map(|(stream, _)| stream.to_string()).collect();
    assert_eq!(names, ["Service (namespace shop)", "Service (bank/card)"]);
    put(&api, "shop", "desk");
    put(&api, "bank", "vault");
    ear.until("the change", |ear| ear.services() == ["card:80", "cart:80", "desk:80"]).await;
    ear.want([the_card()]);
    ear.until("the end of the shop", |ear| ear.services() == ["card:80"]).await;
    assert_eq!(ear.heard.last(), Some(&Event::End(in_shop())));
    ear.want(NEEDS);
    ear.until("everything again", |ear| ear.services().len() == 5).await;
}

#[tokio::test]
async fn streams_that_overlap_share_their_objects() {
    let (api, server) = small_api();
    put(&api, "shop", "cart");
    let mut ear = Ear::to(&server);
    ear.until_synced().await;
    ear.want(NEEDS.into_iter().chain([in_shop()]));
    ear.until("both are listed", |ear| ear.store.view().listed(&in_shop())).await;
    put(&api, "shop", "desk");
    ear.until("the new one", |ear| ear.services() == ["cart:80", "desk:80"]).await;
    ear.want(NEEDS);
    ear.until("its end", |ear| ear.heard.contains(&Event::End(in_shop()))).await;
    assert_eq!(ear.services(), ["cart:80", "desk:80"], "the other one still brings them");
    // What the stream that ended said may have been behind.
    let lists = ear.health.of(Kind::Service);
    ear.until("a second list", |_| lists.lists.load(Ordering::Relaxed) == 2).await;
    api.delete("services", "shop", "cart");
    ear.until("the deletion", |ear| ear.services() == ["desk:80"]).await;
}

#[tokio::test]
async fn a_list_is_not_behind_what_another_stream_of_the_kind_has_said() {
    let path = "/api/v1/namespaces/shop/services";
    let server = Script::start(move |ask| match (ask.path == path, ask.of(Kind::Service)) {
        (true, _) if ask.version() == "70" && ask.nth == 0 => {
            Reply::status(504, "", "Too large resource version: 70, current: 3")
        }
        (true, _) => Reply::lines(&[end(3)], Then::Hold),
        (_, true) if ask.lists() => {
            Reply::lines(&[line("ADDED", &service("a", 70, 1)), end(70)], Then::Hold)
        }
        (false, true) => quiet(),
        (false, false) => Reply::lines(&[end(100)], Then::Hold),
    })
    .await;
    let mut ear = Ear::to(&server.url());
    ear.until_synced().await;
    ear.want(NEEDS.into_iter().chain([in_shop()]));
    ear.until("the list", |ear| ear.store.view().listed(&in_shop())).await;
    let asked: Vec<_> = server.asked().into_iter().filter(|ask| ask.path == path).collect();
    assert_eq!(asked.iter().map(|ask| ask.version()).collect::<Vec<_>>(), ["70", "0"]);
    assert!(asked[0].lists() && asked[0].has("resourceVersionMatch=NotOlderThan"));
}
