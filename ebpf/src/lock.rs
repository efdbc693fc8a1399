//! One writer at a time: a file lock that ends with the process, however it ends.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    path::Path,
};

use nix::fcntl::{Flock, FlockArg};

use crate::Error;

/// Held as long as it lives.
pub(crate) struct WriterLock {
    _file: Flock<File>,
}

impl WriterLock {
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::file("making", parent, e))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| Error::file("opening", path, e))?;
        let mut file =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, _errno)| {
                let mut pid = String::new();
                let told = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                let pid = if told { pid.trim().to_owned() } else { "unknown".to_owned() };
                Error::Locked { path: path.to_owned(), pid }
            })?;
        // Only for the message above; a failure to write it is no reason not to run.
        let noted = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::debug!(%error, path = %path.display(), "noting the pid in the lock");
        }
        Ok(Self { _file: file })
    }
}
