use std::{fs, io::Write as _, path::Path, time::Duration};

use tokio::sync::{mpsc, watch};
use towpath_model::{Kind, ObjectName, Store};
use towpath_proxy::NEEDS;

use super::*;

mod by_hand;
mod gone;
mod refused;
mod streams;

/// Longer than a test takes, on a busy machine, from what asks for a second look to what changes
/// before it.
const SECOND_LOOK: Duration = Duration::from_secs(4);

/// A source on a directory, and a store that hears it.
struct Bed {
    store: Store,
    inbox: mpsc::Receiver<Vec<Event>>,
    health: Health,
    relists: mpsc::Sender<towpath_model::Relist>,
    wants: watch::Sender<BTreeSet<Stream>>,
}

impl Bed {
    fn start(dir: &Path, run_dir: &Path) -> Self {
        let (wakes, inbox) = mpsc::channel(64);
        let (relists, asked) = mpsc::channel(4);
        let health = Health::default();
        let range = |text| Cidr::parse(text).unwrap();
        let settings = ManifestSettings {
            dir: dir.to_owned(),
            cluster_ip_ranges: vec![range("10.96.0.0/16"), range("fd00:96::/112")],
            run_dir: run_dir.to_owned(),
            node_name: "here".to_owned(),
            clock: SystemClock::start(),
            second_look: SECOND_LOOK,
        };
        let (wants, wanted) = watch::channel(BTreeSet::from(NEEDS));
        tokio::spawn(run(settings, Feed::new(wakes), wanted, asked, health.clone()));
        Self { store: Store::new("here"), inbox, health, relists, wants }
    }

    /// Waits until the store looks as wanted.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Store, &[String]) -> bool) {
        let deadline = time::Instant::now() + Duration::from_secs(60);
        loop {
            let mut problems: Vec<_> =
                self.health.notes().iter().map(ToString::to_string).collect();
            problems.extend(self.store.problems().map(ToString::to_string));
            if wanted(&self.store, &problems) {
                return;
            }
            let left = deadline.saturating_duration_since(time::Instant::now());
            assert!(!left.is_zero(), "{what} never came; problems: {problems:#?}");
            let step = left.min(Duration::from_millis(50));
            match time::timeout(step, self.inbox.recv()).await {
                Ok(Some(events)) => events.into_iter().for_each(|event| {
                    if let Some(relist) = self.store.feed(event) {
                        self.relists.try_send(relist).unwrap();
                    }
                }),
                Ok(None) => panic!("the source has ended"),
                Err(_quiet) => {}
            }
        }
    }
}

fn ip(store: &Store, name: &str) -> Option<String> {
    let view = store.view();
    let service = view.service(&ObjectName::new("default", name))?;
    service.cluster_ips.first().map(ToString::to_string)
}

fn endpoints(store: &Store, name: &str) -> usize {
    let name = ObjectName::new("default", name);
    store.view().slices_of(&name).map(|slice| slice.endpoints.len()).sum()
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec: {nodeName: here}
status: {podIPs: [{ip: 10.244.0.5}]}
";

#[tokio::test]
async fn a_person_writes_what_they_would_apply() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("web.yaml"), SERVICE).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the Service with one endpoint", |s, _| {
        s.view().synced(&NEEDS).is_some() && endpoints(s, "web") == 1 && ip(s, "web").is_some()
    })
    .await;
    assert_eq!(bed.store.view().own_node().unwrap().meta.name.to_string(), "here");
    let first = ip(&bed.store, "web").unwrap();
    // Another one comes, as editors bring it: written beside and renamed.
    let more = SERVICE.replace("name: web", "name: api");
    fs::write(dir.path().join(".api.tmp"), more).unwrap();
    fs::rename(dir.path().join(".api.tmp"), dir.path().join("api.yaml")).unwrap();
    bed.until("the second Service", |s, _| ip(s, "api").is_some()).await;
    assert_eq!(ip(&bed.store, "web").unwrap(), first);
    // A new daemon gives the same addresses.
    let mut again = Bed::start(dir.path(), run.path());
    again.until("the Services again", |s, _| ip(s, "web").is_some()).await;
    assert_eq!(ip(&again.store, "web").unwrap(), first);
    fs::remove_file(dir.path().join("web.yaml")).unwrap();
    bed.until("the end of the first Service", |s, _| ip(s, "web").is_none()).await;
}

#[tokio::test]
async fn a_broken_file_keeps_what_it_held_and_is_named_with_its_line() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = dir.path().join("web.yaml");
    fs::write(&file, SERVICE).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the Service", |s, _| endpoints(s, "web") == 1).await;
    fs::write(&file, "kind: Service\nmetadata: {name: web\nspec: [}").unwrap();
    bed.until("the problem", |s, problems| {
        endpoints(s, "web") == 1
            && problems.iter().any(|p| p.contains("web.yaml") && p.contains("line "))
    })
    .await;
    fs::write(&file, SERVICE.replace("8080", "9090")).unwrap();
    bed.until("the mended file", |s, problems| problems.is_empty() && endpoints(s, "web") == 1)
        .await;
}

#[tokio::test]
async fn what_is_wrong_harms_only_itself() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("a-good.yaml", &SERVICE.replace("selector:", "portz: 5\n  selector:"));
    write("b-type.yaml", "kind: Service\nmetadata: {name: typed}\nspec: {ports: many}\n");
    write("c-deploy.yaml", "kind: Deployment\nmetadata: {name: d}\n");
    write("d-twice.yaml", "kind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 81}]}\n");
    write("e-big.yaml", &format!("# {}\nkind: Service\n", "x".repeat(10 << 20)));
    write(
        "f-ports.yaml",
        "kind: Service\nmetadata: {name: two}\nspec: {clusterIP: 10.96.0.011, ports: [{name: a, port: 80}, {name: a, port: 81}]}\n",
    );
    write("g-kind.yaml", "apiVersion: v1\nkind: Servcie\nmetadata: {name: typo}\n");
    write("h-none.yaml", "metadata: {name: kindless}\n---\n---\nkind: List\nitems:\n");
    write("i-unused.yaml", "kind: ConfigMap\nmetadata: {name: unused}\n---\nkind: PodList\n");
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("every problem", |s, problems| {
        let all = problems.join("\n");
        endpoints(s, "web") == 1
            && ip(s, "two").as_deref() == Some("10.96.0.11")
            && [
                "typed",
                "Deployment default/d",
                "d-twice.yaml",
                "e-big.yaml",
                "leading zeros",
                "second port named",
                "Servcie default/typo: there is no such kind; it has no effect; did you mean \"Service\"?",
                "h-none.yaml: default/kindless has no kind",
                "h-none.yaml: a List has no list of items",
                "i-unused.yaml: a PodList has no list of items",
            ]
            .iter()
            .all(|part| all.contains(part))
            && !all.contains("unused:")
            && !all.contains("ConfigMap")
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_goes_away_keeps_the_node_served() {
    let (parent, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = parent.path().join("manifests");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("web.yaml"), SERVICE).unwrap();
    let mut bed = Bed::start(&dir, run.path());
    bed.until("the Service", |s, _| endpoints(s, "web") == 1).await;
    fs::rename(&dir, parent.path().join("gone")).unwrap();
    let health = bed.health.clone();
    let streams = |open: bool| {
        NEEDS.iter().all(|needed| health.of(needed.kind).connected.load(Ordering::Relaxed) == open)
    };
    bed.until("the problem, and no stream open", |s, problems| {
        endpoints(s, "web") == 1
            && problems.iter().any(|p| p.contains("cannot be read"))
            && streams(false)
    })
    .await;
    fs::rename(parent.path().join("gone"), &dir).unwrap();
    bed.until("the directory again, and every stream", |s, problems| {
        problems.is_empty() && endpoints(s, "web") == 1 && streams(true)
    })
    .await;
}

/// Every prefix of a file is good YAML somewhere: at nothing, at the end of a document.
#[tokio::test]
async fn half_a_file_is_never_taken_for_the_whole() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("web.yaml");
    fs::write(&path, SERVICE).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("one endpoint", |s, _| s.view().synced(&NEEDS).is_some() && endpoints(s, "web") == 1)
        .await;
    // A slow writer: truncates, writes the Service, thinks, writes the Pod.
    let pod = SERVICE.split_once("---").unwrap().1;
    let more = format!("{SERVICE}---{}", pod.replace("web-1", "web-2").replace("0.5", "0.6"));
    let half = more.find("---").unwrap();
    let mut file = fs::File::create(&path).unwrap();
    for part in [&more[..half], &more[half..]] {
        let thinks = time::Instant::now() + Duration::from_millis(300);
        while time::Instant::now() < thinks {
            if let Ok(Some(events)) =
                time::timeout(Duration::from_millis(20), bed.inbox.recv()).await
            {
                panic!("half a file was published: {events:?}");
            }
        }
        file.write_all(part.as_bytes()).unwrap();
    }
    drop(file);
    bed.until("two endpoints", |s, _| endpoints(s, "web") == 2).await;
    // Deleted and written anew in one breath: nothing was ever gone.
    fs::remove_file(&path).unwrap();
    fs::write(&path, &more).unwrap();
    let quiet = time::timeout(Duration::from_millis(300), bed.inbox.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    // Emptied on purpose: that is what it now says.
    fs::write(&path, "").unwrap();
    bed.until("nothing", |s, _| ip(s, "web").is_none()).await;
}

#[tokio::test]
async fn a_link_into_nothing_is_read_once_it_leads_to_something() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (path, real) = (dir.path().join("web.yaml"), run.path().join("real.yaml"));
    std::os::unix::fs::symlink(&real, &path).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("an empty world", |s, _| s.view().synced(&NEEDS).is_some()).await;
    fs::write(&real, SERVICE).unwrap();
    bed.until("one endpoint", |s, _| endpoints(s, "web") == 1).await;
}

/// An empty list would take away what an earlier daemon left in force.
#[tokio::test]
async fn a_directory_that_is_not_there_at_the_start_says_nothing() {
    let (base, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = base.path().join("later");
    let mut bed = Bed::start(&dir, run.path());
    bed.until("the problem", |_, problems| problems.iter().any(|p| p.contains("cannot be read")))
        .await;
    let quiet = time::timeout(Duration::from_millis(300), bed.inbox.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("web.yaml"), SERVICE).unwrap();
    bed.until("the Service", |s, _| s.view().synced(&NEEDS).is_some() && endpoints(s, "web") == 1)
        .await;
}

#[tokio::test]
async fn a_file_that_broke_while_no_daemon_ran_is_what_it_last_was() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("web.yaml");
    fs::write(&path, SERVICE).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the Service", |s, _| endpoints(s, "web") == 1).await;
    drop(bed);
    fs::write(&path, "}{ : [").unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the Service as it was, and its problem", |s, problems| {
        endpoints(s, "web") == 1 && problems.iter().any(|p| p.contains("web.yaml"))
    })
    .await;
    // Gone is gone, also for the next daemon.
    fs::remove_file(&path).unwrap();
    bed.until("its end", |s, _| ip(s, "web").is_none()).await;
    assert_eq!(fs::read_dir(run.path().join("manifests")).unwrap().count(), 0);
}

/// Whatever lies in the directory: a pipe without a writer, a device without end, links in circles.
#[tokio::test]
async fn what_is_no_file_harms_only_itself() {
    use std::os::unix::fs::symlink;
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    nix::unistd::mkfifo(&dir.path().join("pipe.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", dir.path().join("zero.yaml")).unwrap();
    for circle in ["a", "b", "c"] {
        symlink(".", dir.path().join(circle)).unwrap();
    }
    fs::write(dir.path().join("web.yaml"), SERVICE).unwrap();
    let mut bed = Bed::start(dir.path(), run.path());
    bed.until("the Service, and two problems", |s, problems| {
        let named =
            |name: &str| problems.iter().any(|p| p.contains(name) && p.contains("ordinary"));
        endpoints(s, "web") == 1 && named("pipe.yaml") && named("zero.yaml")
    })
    .await;
    fs::write(dir.path().join("api.yaml"), SERVICE.replace("web", "api")).unwrap();
    bed.until("a change", |s, _| endpoints(s, "api") == 1).await;
}

/// What is not looked at is said; it never looks as if it were not there.
#[test]
fn more_files_or_directories_than_are_read_are_a_problem() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |at: usize| dir.path().join(format!("{at:05}.yaml"));
    let folder = |at: usize| dir.path().join(format!("d{at:04}"));
    (0..10_000).for_each(|at| fs::write(file(at), "").unwrap());
    // The directory itself is one of them.
    (0..999).for_each(|at| fs::create_dir(folder(at)).unwrap());
    std::os::unix::fs::symlink(".", dir.path().join("z-circle")).unwrap();
    let mut files = Files::new(dir.path().to_owned(), Kept::new(run.path()));
    let mut problems = || {
        // All of them are open for writing: they are found and not read.
        files.scan(std::time::Instant::now(), |_| true);
        files.problems().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(problems(), [""; 0]);
    fs::write(file(10_000), "").unwrap();
    fs::create_dir(folder(999)).unwrap();
    fs::create_dir(folder(1000)).unwrap();
    let said = problems();
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[0].contains("more than 10000 files; ") && said[0].contains("/10000.yaml and"));
    assert!(said[1].contains("more than 1000 directories; ") && said[1].contains("/d0999 and"));
    fs::remove_file(file(0)).unwrap();
    (0..2).for_each(|at| fs::remove_dir(folder(at)).unwrap());
    assert_eq!(problems(), [""; 0]);
}

#[test]
fn a_secret_that_is_read_is_not_kept_on_disk() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = "kind: Secret\nmetadata: {name: s}\nstringData: {tls.key: HUSH}\n";
    fs::write(dir.path().join("all.yaml"), [secret, SERVICE].join("---\n")).unwrap();
    let mut files = Files::new(dir.path().to_owned(), Kept::new(run.path()));
    let now = std::time::Instant::now();
    files.read_kinds_of(&BTreeSet::from([Stream::all(Kind::Secret)]));
    files.scan(now, |_| false);
    files.scan(now + SETTLE, |_| false);
    assert!(files.documents().any(|(_, document)| document.to_string().contains("HUSH")));
    let copies: Vec<_> = fs::read_dir(run.path().join("manifests")).unwrap().collect();
    assert_eq!(copies.len(), 1);
    for copy in copies {
        let text = fs::read_to_string(copy.unwrap().path()).unwrap();
        assert!(text.contains("Service") && !text.contains("HUSH"), "{text}");
    }
}

#[test]
fn nothing_is_kept_of_what_is_not_read() {
    let (dir, run) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = "kind: Secret\nmetadata: {name: s}\ndata: {a: WORDS}\n";
    let list = "kind: List\nitems:\n- {kind: ConfigMap, data: {a: WORDS}}\n- {kind: Node}\n";
    let wrong = "kind: Deployment\nmetadata: {name: d}\nspec: {a: WORDS}\n";
    let text = [secret, list, wrong, SERVICE].join("---\n");
    fs::write(dir.path().join("all.yaml"), text).unwrap();
    let mut files = Files::new(dir.path().to_owned(), Kept::new(run.path()));
    let now = std::time::Instant::now();
    assert_eq!(files.scan(now, |_| false), Scan::Changing);
    assert_eq!(files.scan(now + SETTLE, |_| false), Scan::Read { more: false });
    let kinds: Vec<_> = files.documents().map(|(_, d)| d["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Node", "Deployment", "Service", "Pod"]);
    assert!(files.documents().all(|(_, document)| !document.to_string().contains("WORDS")));
    for copy in fs::read_dir(run.path().join("manifests")).unwrap() {
        assert!(!fs::read_to_string(copy.unwrap().path()).unwrap().contains("WORDS"));
    }
}
