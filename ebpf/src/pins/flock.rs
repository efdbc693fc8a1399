//! File locks that end with the process, however it ends.

use std::{fs::File, io::Read as _, path::Path};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::Error;

/// Takes the lock; [`Error::Locked`] when another process has it.
pub(crate) fn lock(file: File, path: &Path) -> Result<Flock<File>, Error> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, errno)| {
        if errno != Errno::EWOULDBLOCK {
            return Error::file("locking", path, errno.into());
        }
        let mut pid = String::new();
        let told = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
        let pid = if told { pid.trim().to_owned() } else { "unknown".to_owned() };
        Error::Locked { path: path.to_owned(), pid }
    })
}
