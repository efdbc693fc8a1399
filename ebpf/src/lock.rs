//! One writer at a time: file locks that end with the process, however it ends.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    path::Path,
};

use nix::fcntl::{Flock, FlockArg};

use crate::{Error, Settings};

/// Held as long as it lives.
pub(crate) struct WriterLock {
    _file: Flock<File>,
    _pins: Option<Flock<File>>,
}

impl WriterLock {
    /// The lock file says who holds it; the pins themselves are locked too, for a second daemon with
    /// another run directory and the same bpffs.
    pub(crate) fn take(settings: &Settings) -> Result<Self, Error> {
        let path = settings.lock_file();
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::file("making", parent, e))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| Error::file("opening", &path, e))?;
        let mut file = lock(file, &path)?;
        let root = &settings.pin_root;
        let pins = if root.exists() {
            let dir = File::open(root).map_err(|e| Error::file("opening", root, e))?;
            Some(lock(dir, root)?)
        } else {
            None
        };
        // Only for the message below; a failure to write it is no reason not to run.
        let noted = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::debug!(%error, path = %path.display(), "noting the pid in the lock");
        }
        Ok(Self { _file: file, _pins: pins })
    }
}

fn lock(file: File, path: &Path) -> Result<Flock<File>, Error> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, _errno)| {
        let mut pid = String::new();
        let told = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
        let pid = if told { pid.trim().to_owned() } else { "unknown".to_owned() };
        Error::Locked { path: path.to_owned(), pid }
    })
}
