//! Modes: what Towpath makes is for its owner only. A user who can read a lock file or a directory can
//! hold its lock (flock(2) needs no more than an open descriptor) and keep the daemon out.

use std::{
    fs::{File, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

/// Others than the owner.
const OTHERS: u32 = 0o077;
/// Set-id and sticky bits: a directory that has one was made with a purpose of its own.
const SPECIAL: u32 = 0o7000;

/// Takes what is open away from others, if Towpath made it (`ours`) and it belongs to this user; else
/// only says that they have it. Without success the daemon works as well, so this is no error.
pub fn narrow(open: &File, path: &Path, ours: bool) {
    let Ok(held) = open.metadata() else { return };
    let mode = held.mode();
    if mode & OTHERS == 0 {
        return;
    }
    let path = path.display();
    let own = ours && mode & SPECIAL == 0 && held.uid() == nix::unistd::geteuid().as_raw();
    if !own {
        let mode = format!("{:o}", mode & 0o7777);
        tracing::warn!(%path, mode, "not Towpath's alone, so its mode stays: others may use it");
    } else if let Err(error) = open.set_permissions(Permissions::from_mode(mode & 0o700)) {
        tracing::warn!(%path, %error, "its mode cannot be changed: others may use it");
    }
}
