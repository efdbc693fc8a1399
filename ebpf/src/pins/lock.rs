//! One writer at a time: file locks that end with the process, however it ends.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::fcntl::Flock;

use super::{
    dir::{PinDir, check_bpffs},
    flock, links,
    names::Place,
    private,
};
use crate::{Error, Settings};

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct WriterLock {
    _run_dir: Flock<File>,
    pins: Mutex<Dirs>,
}

/// The directories of pins, each locked.
#[derive(Debug)]
struct Dirs {
    root: PinDir,
    maps: PinDir,
    links: PinDir,
}

impl WriterLock {
    /// The lock file says who holds it; the pins themselves are locked too, for a second daemon with
    /// another run directory and the same bpffs. Makes the directories that are not there. `maps`
    /// says which holds the maps, once nothing can change below the root.
    pub(crate) fn take(
        settings: &Settings,
        maps: impl FnOnce(&PinDir) -> Result<PathBuf, Error>,
    ) -> Result<Self, Error> {
        check_bpffs(&settings.pin_root)?;
        let run_dir = run_dir(settings)?;
        // The root comes first: under its lock nothing is cleaned up that is made below.
        let root = PinDir::make(&settings.pin_root, Place::Root)?;
        let maps = PinDir::make(&maps(&root)?, Place::Maps)?;
        let links = PinDir::make(&settings.links_dir(), Place::Links)?;
        Ok(Self { _run_dir: run_dir, pins: Mutex::new(Dirs { root, maps, links }) })
    }

    /// Where this daemon's maps are pinned.
    pub(crate) fn maps_dir(&self) -> PathBuf {
        self.dirs().maps.path().to_owned()
    }

    /// Moves the directory of the maps.
    pub(crate) fn move_maps(&self, to: &Path) -> Result<(), Error> {
        self.dirs().maps.move_to(to)
    }

    /// Directories that were removed or moved are made and locked anew, and links come along.
    /// [`Error::Locked`] when another daemon was there first.
    pub(crate) fn keep(&self) -> Result<(), Error> {
        let Dirs { root, maps, links } = &mut *self.dirs();
        for held in [root, maps, links] {
            if held.is_at_its_path()? {
                continue;
            }
            check_bpffs(held.path())?;
            let made = PinDir::make(held.path(), held.place)?;
            tracing::error!(path = %held.path().display(), "was removed or moved: it is made anew");
            if held.place == Place::Links {
                links::move_all(held, &made)?;
            }
            *held = made;
        }
        Ok(())
    }

    fn dirs(&self) -> MutexGuard<'_, Dirs> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks the run directory; makes it if it is not there.
fn run_dir(settings: &Settings) -> Result<Flock<File>, Error> {
    let dir = &settings.run_dir;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| Error::file("making", dir, e))?;
    let path = settings.lock_file();
    let file = open(&path, true).map_err(|e| Error::file("opening", &path, e))?;
    private::narrow(&file, &path, true);
    noted(file, &path)
}

/// Locks the run directory if a daemon has ever used it, and makes nothing.
pub(crate) fn used_run_dir(settings: &Settings) -> Result<Option<Flock<File>>, Error> {
    let path = settings.lock_file();
    match open(&path, false) {
        Ok(file) => noted(file, &path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("opening", path, error)),
    }
}

fn open(path: &Path, make: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(make)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Locks the file and writes down who has it.
fn noted(file: File, path: &Path) -> Result<Flock<File>, Error> {
    let mut file = flock::lock(file, path)?;
    // Only for the message below; a failure to write it is no reason not to run.
    let noted = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        tracing::debug!(%error, path = %path.display(), "noting the pid in the lock");
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt as _, symlink},
        path::PathBuf,
    };

    use super::*;

    fn settings(run_dir: PathBuf) -> Settings {
        Settings::new("", "", run_dir)
    }

    #[test]
    fn no_other_can_hold_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path().join("run/towpath"));
        assert!(used_run_dir(&settings).unwrap().is_none());
        assert!(!dir.path().join("run").exists(), "a look makes nothing");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        drop(run_dir(&settings).unwrap());
        assert_eq!(mode(&settings.lock_file()), 0o600);
        assert_eq!(mode(&settings.run_dir), 0o700);
        // As earlier versions made it.
        fs::set_permissions(settings.lock_file(), Permissions::from_mode(0o644)).unwrap();
        let held = run_dir(&settings).unwrap();
        assert_eq!(mode(&settings.lock_file()), 0o600);
        assert!(matches!(run_dir(&settings), Err(Error::Locked { .. })));
        assert!(matches!(used_run_dir(&settings), Err(Error::Locked { .. })));
        drop(held);
    }

    #[test]
    fn no_pid_is_written_where_a_symbolic_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path().to_owned());
        let other = dir.path().join("other");
        fs::write(&other, "another's").unwrap();
        symlink(&other, settings.lock_file()).unwrap();
        assert!(matches!(run_dir(&settings), Err(Error::File { .. })));
        assert!(matches!(used_run_dir(&settings), Err(Error::File { .. })));
        assert_eq!(fs::read_to_string(&other).unwrap(), "another's");
    }
}
