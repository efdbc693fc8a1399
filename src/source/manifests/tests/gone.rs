//! Files and directories that go: on purpose, or not.

use towpath_model::Event;
use towpath_proxy::NEEDS;

use super::*;

fn services(store: &Store) -> usize {
    store.view().services().count()
}

/// A deploy tool that empties the directory before it fills it, a mount that is half there.
#[tokio::test]
async fn much_that_is_gone_goes_when_a_second_look_finds_the_same() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |at: usize| dir.path().join(format!("s{at:02}.yaml"));
    let write = |at: usize| {
        fs::write(file(at), SERVICE.replace("web", &format!("s{at:02}"))).unwrap();
    };
    (0..80).for_each(write);
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("all of them", |s, _| s.view().synced(&NEEDS).is_some() && services(s) == 80).await;
    // Gone, and back before the second look; changes meanwhile are taken.
    (0..56).for_each(|at| fs::remove_file(file(at)).unwrap());
    bed.until("the brake", |s, _| s.braked().any(|doubted| doubted == (&Kind::Service.into(), 56)))
        .await;
    assert_eq!(services(&bed.store), 80);
    write(80);
    bed.until("a new one, and nothing gone", |s, _| services(s) == 81 && s.braked().count() > 0)
        .await;
    // What goes meanwhile, and would have gone at once, waits too.
    fs::remove_file(file(60)).unwrap();
    (0..56).for_each(write);
    bed.until("a second list that disagrees", |s, _| {
        s.braked().count() == 0 && services(s) == 80 && endpoints(s, "s00") == 1
    })
    .await;
    // Gone on purpose.
    let asked = time::Instant::now();
    (0..56).for_each(|at| fs::remove_file(file(at)).unwrap());
    bed.until("the brake again", |s, _| s.braked().count() > 0 && services(s) == 80).await;
    assert_eq!(endpoints(&bed.store, "s00"), 1, "what stays keeps its endpoints");
    bed.until("their end", |s, _| s.braked().count() == 0 && services(s) == 24).await;
    assert!(asked.elapsed() >= SECOND_LOOK, "{:?}", asked.elapsed());
}

/// The loop does not know what was there before: it asks (`src/services/startup.rs`).
#[tokio::test]
async fn a_list_that_is_asked_for_is_made_later_and_of_what_is_there_then() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("web.yaml"), SERVICE).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the Service", |s, _| s.view().synced(&NEEDS).is_some() && endpoints(s, "web") == 1)
        .await;
    let asked = time::Instant::now();
    bed.relists.try_send(towpath_model::Relist(Kind::Service.into())).unwrap();
    fs::write(dir.path().join("api.yaml"), SERVICE.replace("web", "api")).unwrap();
    let mut seen = Vec::new();
    while !seen.contains(&Event::InitDone(Kind::Service.into())) {
        match time::timeout(Duration::from_secs(60), bed.inbox.recv()).await {
            Ok(Some(events)) => seen.extend(events),
            other => panic!("{other:?}"),
        }
    }
    assert!(asked.elapsed() >= SECOND_LOOK, "{:?}", asked.elapsed());
    let list = seen.iter().skip_while(|event| **event != Event::Init(Kind::Service.into()));
    assert_eq!(list.count(), 4, "both of them: {seen:#?}");
}

#[tokio::test]
async fn a_directory_that_was_unmounted_is_one_that_went_away() {
    let (parent, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [dir, away, below] = ["manifests", "away", "below"].map(|name| parent.path().join(name));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&below).unwrap();
    fs::write(dir.join("web.yaml"), SERVICE).unwrap();
    let mut bed = Bed::start(&dir, run.path());
    bed.until("the Service", |s, _| endpoints(s, "web") == 1).await;
    // What a mount covered comes to light: another directory, and nothing in it.
    fs::rename(&dir, &away).unwrap();
    fs::rename(&below, &dir).unwrap();
    let health = bed.health.clone();
    let streams = |open: bool| {
        NEEDS.iter().all(|needed| health.of(needed.kind).connected.load(Ordering::Relaxed) == open)
    };
    bed.until("the problem, and no stream open", |s, problems| {
        endpoints(s, "web") == 1
            && problems.iter().any(|p| p.contains("is another directory than before"))
            && streams(false)
    })
    .await;
    // It holds something: that is what is wanted now.
    fs::write(dir.join("api.yaml"), SERVICE.replace("web", "api")).unwrap();
    bed.until("what it holds", |s, problems| {
        problems.is_empty() && ip(s, "web").is_none() && endpoints(s, "api") == 1 && streams(true)
    })
    .await;
    // The same directory, emptied: that is what it now says.
    fs::remove_file(dir.join("api.yaml")).unwrap();
    bed.until("nothing", |s, _| ip(s, "api").is_none()).await;
}

#[tokio::test]
async fn the_copy_of_a_file_that_went_while_no_daemon_ran_brings_nothing_back() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("web.yaml");
    fs::write(&path, SERVICE).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the Service", |s, _| endpoints(s, "web") == 1).await;
    drop(bed);
    fs::remove_file(&path).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("an empty world", |s, _| s.view().synced(&NEEDS).is_some() && ip(s, "web").is_none())
        .await;
    for broken in ["}{ : [", "}{ : [["] {
        fs::write(&path, broken).unwrap();
        bed.until("the problem, without a promise", |s, problems| {
            ip(s, "web").is_none() && problems.iter().any(|p| p.contains("nothing of the file"))
        })
        .await;
    }
    fs::write(&path, SERVICE).unwrap();
    bed.until("the Service", |s, problems| endpoints(s, "web") == 1 && problems.is_empty()).await;
    fs::write(&path, "}{ : [").unwrap();
    bed.until("what it last held, and that it is said", |s, problems| {
        endpoints(s, "web") == 1 && problems.iter().any(|p| p.contains("last held stays"))
    })
    .await;
}

#[tokio::test]
async fn a_link_that_leads_nowhere_any_more_keeps_what_it_led_to() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (path, real) = (dir.path().join("web.yaml"), run.path().join("real.yaml"));
    fs::write(&real, SERVICE).unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("one endpoint", |s, _| endpoints(s, "web") == 1).await;
    let away = run.path().join("away.yaml");
    fs::rename(&real, &away).unwrap();
    bed.until("a problem, and the endpoint", |s, problems| {
        endpoints(s, "web") == 1 && problems.iter().any(|p| p.contains("web.yaml"))
    })
    .await;
    // Also a daemon that starts now.
    drop(bed);
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the endpoint as it was", |s, _| endpoints(s, "web") == 1).await;
    fs::rename(&away, &real).unwrap();
    bed.until("no problem", |s, problems| endpoints(s, "web") == 1 && problems.is_empty()).await;
    fs::remove_file(&path).unwrap();
    bed.until("nothing: the link itself is gone", |s, _| ip(s, "web").is_none()).await;
}

#[tokio::test]
async fn a_directory_below_that_is_unmounted_keeps_what_it_held() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let below = dir.path().join("shop");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("web.yaml"), SERVICE).unwrap();
    fs::write(dir.path().join("more.yaml"), SERVICE.replace("web", "api")).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("both", |s, _| endpoints(s, "web") == 1 && endpoints(s, "api") == 1).await;
    let mounted = run.path().join("mounted");
    fs::rename(&below, &mounted).unwrap();
    fs::create_dir(&below).unwrap();
    bed.until("a problem, and both", |s, problems| {
        let said = |p: &String| p.contains("shop is another directory than before");
        endpoints(s, "web") == 1 && endpoints(s, "api") == 1 && problems.iter().any(said)
    })
    .await;
    // One that was replaced on purpose holds a file; one that is gone is gone.
    fs::write(below.join("empty.yaml"), "").unwrap();
    bed.until("one of them", |s, problems| {
        ip(s, "web").is_none() && endpoints(s, "api") == 1 && problems.is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_kept_over_a_restart_is_a_problem() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("web.yaml"), SERVICE).unwrap();
    fs::write(run.path().join("manifests"), "not a directory").unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("one endpoint, and a problem", |s, problems| {
        let said = |p: &String| p.contains("cannot be kept over a restart");
        endpoints(s, "web") == 1 && problems.iter().any(said)
    })
    .await;
}
