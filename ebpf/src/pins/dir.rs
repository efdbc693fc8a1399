//! A directory of pins, held open and locked: what is done in it happens there, wherever its path
//! may lead meanwhile.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder, DirEntry, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::Flock,
    sys::statfs::{BPF_FS_MAGIC, fstatfs, statfs},
};

use super::{
    flock,
    names::{Own, Place},
    private,
};
use crate::Error;

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct PinDir {
    dir: Flock<File>,
    path: PathBuf,
    pub(crate) place: Place,
}

/// Opens a directory on a bpffs; `None` when it is not there. A symbolic link is not followed:
/// where a bpffs is open to all, anyone could have put it there.
pub(crate) fn open(path: &Path) -> Result<Option<File>, Error> {
    open_at(path, path)
}

fn open_at(at: &Path, path: &Path) -> Result<Option<File>, Error> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let dir = match OpenOptions::new().read(true).custom_flags(flags).open(at) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let is_link = fs::symlink_metadata(at).is_ok_and(|found| found.is_symlink());
            let why = "a symbolic link: give the directory that it leads to";
            let cause = if is_link { io::Error::other(why) } else { error };
            return Err(Error::file("opening", path, cause));
        }
    };
    let kind = fstatfs(&dir).map_err(|e| Error::file("reading", path, e.into()))?;
    if kind.filesystem_type() != BPF_FS_MAGIC {
        return Err(Error::NoBpffs { path: path.to_owned() });
    }
    // Where a bpffs is open to all, anyone could have made it beforehand, and could move what we pin.
    let owner = dir.metadata().map_err(|e| Error::file("reading", path, e))?.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(Error::Owner { path: path.to_owned(), owner });
    }
    Ok(Some(dir))
}

impl PinDir {
    /// Locks what was opened at this path; `None` when it is not there any more.
    pub(crate) fn lock(dir: File, path: &Path, place: Place) -> Result<Option<Self>, Error> {
        let dir = Self { dir: flock::lock(dir, path)?, path: path.to_owned(), place };
        Ok(dir.is_at_its_path()?.then_some(dir))
    }

    /// Does its path still lead to it?
    pub(crate) fn is_at_its_path(&self) -> Result<bool, Error> {
        let there = fs::symlink_metadata(&self.path).ok().map(|found| (found.dev(), found.ino()));
        let held = self.dir.metadata().map_err(|e| Error::file("reading", &self.path, e))?;
        Ok(there == Some((held.dev(), held.ino())))
    }

    /// Makes the directory if it is not there, for its owner only; a wider one is narrowed if it
    /// holds nothing that is not Towpath's.
    pub(crate) fn make(path: &Path, place: Place) -> Result<Self, Error> {
        // Clean-up may remove one that is not locked yet.
        for _ in 0..16 {
            create(path).map_err(|e| Error::file("making", path, e))?;
            let dir = open(path)?.map(|dir| Self::lock(dir, path, place)).transpose()?.flatten();
            if let Some(dir) = dir {
                let foreign = dir.entries()?.iter().any(|(_, own)| own.is_none());
                private::narrow(&dir.dir, path, !foreign);
                return Ok(dir);
            }
        }
        Err(Error::file("making", path, io::Error::other("another process removes it")))
    }

    /// What is in it, in the order in which it goes, and what is Towpath's of it.
    pub(crate) fn entries(&self) -> Result<Vec<(OsString, Option<Own>)>, Error> {
        let failed = |cause| Error::file("reading", &self.path, cause);
        let own = |entry: io::Result<DirEntry>| {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let own = self.place.own(&name, kind);
            Ok((name, own))
        };
        let all = fs::read_dir(self.through("")).map_err(failed)?.map(own);
        let mut all: Vec<_> = all.collect::<io::Result<_>>().map_err(failed)?;
        all.sort_by_cached_key(|(name, own)| (own.map(Own::turn), name.clone()));
        Ok(all)
    }

    /// A directory in this one, locked too; `None` when it is not there any more.
    pub(crate) fn child(&self, name: &OsStr, place: Place) -> Result<Option<Self>, Error> {
        let path = self.path.join(name);
        let Some(dir) = open_at(&self.through(name), &path)? else { return Ok(None) };
        Ok(Some(Self { dir: flock::lock(dir, &path)?, path, place }))
    }

    /// Is this where a file system is mounted? It cannot be removed then.
    pub(crate) fn is_mount_point(&self) -> Result<bool, Error> {
        let above = File::open(self.through("..")).and_then(|above| mount_id(&above));
        let ids = above.and_then(|above| Ok(above != mount_id(&self.dir)?));
        ids.map_err(|e| Error::file("reading", &self.path, e))
    }

    /// The way to an entry that leads through the open directory.
    pub(crate) fn through(&self, name: impl AsRef<Path>) -> PathBuf {
        descriptor(&self.dir).join(name)
    }

    /// Moves the directory to another path.
    pub(crate) fn move_to(&mut self, path: &Path) -> Result<(), Error> {
        fs::rename(&self.path, path).map_err(|e| Error::file("moving", &self.path, e))?;
        path.clone_into(&mut self.path);
        Ok(())
    }

    /// The path of the directory, for people.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the directory, and those above it. One that is there is a success, and so is one that was
/// there and that another process removed before `create_dir_all` looked at what it had met: the
/// caller finds it missing and asks again.
fn create(path: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match fs::symlink_metadata(path) {
                Ok(found) if !found.is_dir() => Err(error),
                _ => Ok(()),
            }
        }
        made => made,
    }
}

/// Is a directory that may not be there yet in a bpffs?
pub(crate) fn check_bpffs(path: &Path) -> Result<(), Error> {
    for existing in path.ancestors() {
        match statfs(existing) {
            Ok(kind) if kind.filesystem_type() == BPF_FS_MAGIC => return Ok(()),
            Ok(_other) => break,
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(Error::file("reading", existing, error.into())),
        }
    }
    Err(Error::NoBpffs { path: path.to_owned() })
}

/// Removes a pin; one that is not there is a success.
pub(crate) fn remove(pin: &Path) -> Result<(), Error> {
    match fs::remove_file(pin) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("removing", pin, error)),
    }
}

/// Which mount a file was opened through (proc_pid_fdinfo(5)); a bind mount has no other device.
fn mount_id(open: &File) -> io::Result<Option<String>> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", open.as_raw_fd()))?;
    Ok(info.lines().find(|line| line.starts_with("mnt_id:")).map(str::to_owned))
}

/// A path that leads to what is open, and nowhere else (proc_pid_fd(5)).
pub(crate) fn descriptor(open: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn a_directory_that_another_process_removes_meanwhile_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pins");
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Either may lose to the other thread.
                    let _made = fs::create_dir(&path);
                    let _removed = fs::remove_dir(&path);
                }
            });
            let failed: Vec<_> = (0..20_000).filter_map(|_| create(&path).err()).collect();
            stop.store(true, Ordering::Relaxed);
            assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed.first());
        });
    }

    #[test]
    fn what_is_no_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pins");
        fs::write(&file, "").unwrap();
        assert_eq!(create(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
