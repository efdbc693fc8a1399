//! What the kernel tells of the directory: that something happened, and who is still writing.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use notify::{
    Event, EventKind, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use tokio::sync::mpsc;

/// Files that were written to and not closed. More than there can be manifests are not kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Writers(Arc<Mutex<HashSet<PathBuf>>>);

/// Files at most.
const WRITTEN_MAX: usize = 10_000;

/// Notices of one directory.
pub(super) struct Notices {
    rung: mpsc::Receiver<()>,
    writers: Writers,
    /// Kept alive: notices end with it.
    watcher: Option<notify::RecommendedWatcher>,
}

impl Notices {
    /// Starts to listen. A directory that cannot be listened to gives no notices.
    pub(super) fn of(dir: &Path) -> Self {
        let (bell, rung) = mpsc::channel(1);
        let writers = Writers::default();
        let begun = writers.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error means lost events: look.
            if event.as_ref().is_ok_and(|event| !matters(event, &begun)) {
                return;
            }
            // A full bell rings already.
            let _full = bell.try_send(());
        });
        let watching = watcher.and_then(|mut watcher| {
            watcher.watch(dir, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        let watcher = watching
            .inspect_err(|error| {
                let dir = dir.display();
                tracing::warn!(%dir, %error, "not notified of changes: looking every 2 s");
            })
            .ok();
        Self { rung, writers, watcher }
    }

    /// The next notice; never, when there are none.
    pub(super) async fn next(&mut self) {
        if self.watcher.is_none() || self.rung.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Who is writing, as far as it is known.
    pub(super) fn writers(&self) -> Writers {
        self.writers.clone()
    }
}

impl Writers {
    /// The file was opened for writing and is not closed yet.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }
}

/// Keeps the account of who writes. False for what our own looking causes: it must not ring.
fn matters(event: &Event, writers: &Writers) -> bool {
    let mut written = writers.0.lock().unwrap_or_else(PoisonError::into_inner);
    match event.kind {
        EventKind::Modify(ModifyKind::Data(_)) => {
            let room = WRITTEN_MAX.saturating_sub(written.len());
            written.extend(event.paths.iter().take(room).cloned());
        }
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_)) => {
            for path in &event.paths {
                written.remove(path);
            }
        }
        EventKind::Access(_) => return false,
        // The queue ran over: who closed is not known any more.
        _ if event.need_rescan() => written.clear(),
        _ => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, time::Duration};

    use tokio::time;

    use super::*;

    /// Otherwise every look would cause the next one, for ever.
    #[tokio::test]
    async fn looking_rings_no_bell_and_writing_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.yaml");
        fs::write(&path, "a: 1").unwrap();
        let mut notices = Notices::of(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a: 1");
        let quiet = time::timeout(Duration::from_millis(200), notices.next()).await;
        assert!(quiet.is_err(), "reading rang the bell");
        fs::write(&path, "a: 2").unwrap();
        time::timeout(Duration::from_secs(60), notices.next()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_is_written_until_it_is_closed_or_gone() {
        async fn until(what: &str, notices: &Notices, path: &Path, wanted: bool) {
            let began = time::Instant::now();
            while notices.writers().has(path) != wanted {
                assert!(began.elapsed() < Duration::from_secs(60), "{what}");
                time::sleep(Duration::from_millis(5)).await;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.yaml");
        let notices = Notices::of(dir.path());
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"a: ").unwrap();
        until("begun", &notices, &path, true).await;
        drop(file);
        until("closed", &notices, &path, false).await;
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"a: ").unwrap();
        until("begun again", &notices, &path, true).await;
        fs::remove_file(&path).unwrap();
        until("gone", &notices, &path, false).await;
    }
}
