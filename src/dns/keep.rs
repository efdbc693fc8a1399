//! Keeps the zone in the run directory, so that the next daemon answers from it before it has listed
//! anything, with an API server or without one.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::Instant;
use towpath_model::{Code, Problem};
use towpath_zone::{Kept, KeptPlace, Settings, Snapshot, Unkept, keep, read_kept};

use super::area::Wanted;
use crate::state_file::{self, CLUSTER, DNS_ZONE};

/// A zone is written no more often, and a large one more rarely.
const REST: Duration = Duration::from_secs(10);
const REST_OF_A_SERVICE: Duration = Duration::from_millis(1);
/// A larger file is none of ours: a Service takes some hundred bytes, and each endpoint that has a name.
const MOST: u64 = 256 << 20;

/// What was written last, and when the next may be.
pub(super) struct Keeper {
    run_dir: PathBuf,
    kept: Option<(Arc<Snapshot>, KeptPlace)>,
    due: Option<Instant>,
    problem: Option<Problem>,
}

/// Which cluster this is, as far as it is remembered.
fn cluster(run_dir: &Path) -> Option<String> {
    let text = String::from_utf8(state_file::read(&run_dir.join(CLUSTER), 256).ok()?).ok()?;
    let uid = text.trim();
    (!uid.is_empty()).then(|| uid.to_owned())
}

/// Why a zone was not read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Zone(#[from] Unkept),
}

fn read(run_dir: &Path, settings: &Settings) -> Result<Kept, ReadError> {
    let bytes = state_file::read(&run_dir.join(DNS_ZONE), MOST)?;
    Ok(read_kept(&bytes, settings, cluster(run_dir).as_deref())?)
}

impl Keeper {
    /// What an earlier daemon kept, where there is something, and who keeps it from now on.
    pub(super) fn open(run_dir: &Path, settings: &Settings) -> (Self, Option<Kept>) {
        let mut keeper = Self { run_dir: run_dir.to_owned(), kept: None, due: None, problem: None };
        match read(run_dir, settings) {
            Ok(kept) => {
                tracing::info!(
                    services = kept.snapshot.services(),
                    addresses = ?kept.place.addresses,
                    "names of the cluster are answered from the zone that is kept on disk"
                );
                return (keeper, Some(kept));
            }
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            // Settings changed, or the node's cluster: that is no fault of the file.
            Err(ReadError::Zone(other @ Unkept::Other(_))) => {
                tracing::info!("the zone that is kept on disk is not used: {other}");
            }
            Err(error) => {
                let action = "nothing: it is written anew after the first lists, before which names of \
                              the cluster are not answered";
                keeper.problem = Some(problem(run_dir, &format!("is not used: {error}"), action));
            }
        }
        (keeper, None)
    }

    /// What is wrong with the file.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.problem.clone()
    }

    /// Writes what is new, where enough time has passed; `last`: in any case.
    pub(super) async fn look(
        &mut self,
        zones: &ArcSwap<Snapshot>,
        wanted: &Wanted,
        now: Instant,
        last: bool,
    ) {
        let snapshot = zones.load_full();
        let resting = self.due.is_some_and(|due| now < due);
        if snapshot.serial() == 0 || snapshot.stale() || resting && !last {
            return;
        }
        let place = KeptPlace {
            cluster: cluster(&self.run_dir),
            addresses: wanted.addresses.clone(),
            sources: wanted.sources.clone(),
        };
        let same =
            |(kept, at): &(Arc<Snapshot>, KeptPlace)| Arc::ptr_eq(kept, &snapshot) && *at == place;
        if self.kept.as_ref().is_some_and(same) {
            return;
        }
        let services = u32::try_from(snapshot.services()).unwrap_or(u32::MAX);
        self.due = Some(now + REST + REST_OF_A_SERVICE * services);
        let (path, zone, at) = (self.run_dir.join(DNS_ZONE), Arc::clone(&snapshot), place.clone());
        let write = move || {
            let bytes = keep(&zone, &at).map_err(io::Error::other)?;
            state_file::write(&path, &bytes)
        };
        let written = tokio::task::spawn_blocking(write).await;
        match written.map_err(io::Error::other).and_then(|written| written) {
            Ok(()) => {
                self.kept = Some((snapshot, place));
                self.problem = None;
            }
            Err(error) => {
                let action = "make the run directory writable: a daemon that starts without an API \
                              server answers the names of an older zone, or none";
                let why = format!("cannot be written: {error}");
                self.problem = Some(problem(&self.run_dir, &why, action));
            }
        }
    }
}

fn problem(run_dir: &Path, why: &str, action: &str) -> Problem {
    let file = run_dir.join(DNS_ZONE).display().to_string();
    Problem::new(Code::ZoneNotKept, None, &file, why, action)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::interval;
    use towpath_model::{Changes, Event, Kind, ObjectName, Store, decode};
    use towpath_zone::{NEEDS, Name, Zones};

    use super::*;

    fn settings() -> Settings {
        Settings::of_domain(Name::parse("cluster.local").unwrap())
    }

    fn zones() -> ArcSwap<Snapshot> {
        let mut store = Store::new("n");
        for stream in NEEDS {
            store.feed(Event::Init(stream.clone()));
            if stream.kind == Kind::Namespace {
                let object = decode(Kind::Namespace, br#"{"metadata":{"name":"d"}}"#).unwrap();
                store.feed(Event::Apply(object));
            }
            store.feed(Event::InitDone(stream));
        }
        let mut zones = Zones::new(settings()).unwrap();
        zones.update(&store.commit().0, &Changes::default(), 7);
        ArcSwap::from_pointee(zones.snapshot().clone())
    }

    fn wanted() -> Wanted {
        let service = ObjectName::new("kube-system", "kube-dns");
        let addresses = vec!["10.96.0.10".parse().unwrap()];
        Wanted { service, addresses, sources: vec!["192.0.2.1".parse().unwrap()] }
    }

    #[tokio::test]
    async fn a_zone_is_kept_for_the_next_daemon_of_the_same_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let at = interval(REST).tick().await;
        fs::write(dir.path().join(CLUSTER), "uid-1\n").unwrap();
        let (mut keeper, found) = Keeper::open(dir.path(), &settings());
        assert!(found.is_none() && keeper.problem().is_none(), "the first daemon has nothing");
        let zones = zones();
        keeper.look(&zones, &wanted(), at, false).await;
        let (_, found) = Keeper::open(dir.path(), &settings());
        let found = found.unwrap();
        assert!(found.snapshot.same(&zones.load()) && found.snapshot.stale());
        assert_eq!(found.place.addresses, wanted().addresses);
        assert_eq!(found.place.sources, wanted().sources);
        // What is stale is not written over what it was read from, nor is what was never planned.
        fs::remove_file(dir.path().join(DNS_ZONE)).unwrap();
        keeper.look(&ArcSwap::from_pointee(found.snapshot), &wanted(), at, true).await;
        let empty = Zones::new(settings()).unwrap();
        keeper.look(&ArcSwap::from_pointee(empty.snapshot().clone()), &wanted(), at, true).await;
        assert!(!dir.path().join(DNS_ZONE).exists());
        // Another cluster: nothing of it is answered, and that is no fault of the file.
        keeper.look(&zones, &Wanted { sources: vec![], ..wanted() }, at, true).await;
        assert!(Keeper::open(dir.path(), &settings()).1.is_some());
        fs::write(dir.path().join(CLUSTER), "uid-2\n").unwrap();
        let (keeper, found) = Keeper::open(dir.path(), &settings());
        assert!(found.is_none() && keeper.problem().is_none());
    }

    #[tokio::test]
    async fn it_is_written_no_more_often_than_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let at = interval(REST).tick().await;
        let (mut keeper, _) = Keeper::open(dir.path(), &settings());
        let (first, second) = (zones(), zones());
        let file = dir.path().join(DNS_ZONE);
        keeper.look(&first, &wanted(), at, false).await;
        fs::remove_file(&file).unwrap();
        keeper.look(&second, &wanted(), at, false).await;
        assert!(!file.exists(), "written a moment ago");
        let at = at + Duration::from_secs(3600);
        keeper.look(&first, &wanted(), at, false).await;
        assert!(!file.exists(), "nothing new");
        keeper.look(&second, &wanted(), at, false).await;
        assert!(file.exists());
        fs::remove_file(&file).unwrap();
        keeper.look(&first, &wanted(), at, true).await;
        assert!(file.exists(), "the last one of a daemon does not wait");
    }

    #[tokio::test]
    async fn a_damaged_file_is_a_problem_until_it_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let at = interval(REST).tick().await;
        let (mut keeper, _) = Keeper::open(dir.path(), &settings());
        let zones = zones();
        keeper.look(&zones, &wanted(), at, false).await;
        let file = dir.path().join(DNS_ZONE);
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() = b' ';
        fs::write(&file, bytes).unwrap();
        let (mut keeper, found) = Keeper::open(dir.path(), &settings());
        assert!(found.is_none());
        assert_eq!(keeper.problem().unwrap().code, Code::ZoneNotKept);
        keeper.look(&zones, &wanted(), at, false).await;
        assert!(keeper.problem().is_none() && Keeper::open(dir.path(), &settings()).1.is_some());
        // A directory that cannot be written is said, too.
        let (mut keeper, _) = Keeper::open(&file, &settings());
        keeper.look(&zones, &wanted(), at, true).await;
        assert_eq!(keeper.problem().unwrap().code, Code::ZoneNotKept);
    }
}
