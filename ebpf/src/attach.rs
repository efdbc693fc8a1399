//! Links: pinned, replaced in place, never detached first.

use std::{
    fs,
    os::{fd::AsFd, unix::fs::MetadataExt as _},
    path::Path,
};

use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSockAddr, ProgramError, links::FdLink},
};

use crate::{Error, Settings, load::chain, sys};

/// The hooks. Readers of new fields come last, so that an upgrade's new connect never writes what
/// an old getpeername does not know for longer than it takes to replace the rest.
pub(crate) const HOOKS: [&str; 8] = [
    "getpeername4",
    "getpeername6",
    "recvmsg4",
    "recvmsg6",
    "sendmsg4",
    "sendmsg6",
    "connect4",
    "connect6",
];

/// Ends the name of a link that is about to take its place.
pub(crate) const BESIDE: &str = "-new";

/// Loads every program and brings it into force at the cgroup.
pub(crate) fn attach(ebpf: &mut Ebpf, settings: &Settings) -> Result<(), Error> {
    let cgroup_dir = &settings.cgroup_root;
    let cgroup = fs::File::open(cgroup_dir).map_err(|e| Error::file("opening", cgroup_dir, e))?;
    // A cgroup's id is its inode number (kernfs, 64 bit).
    let id = cgroup.metadata().map_err(|e| Error::file("reading", cgroup_dir, e))?.ino();
    for hook in HOOKS {
        let failed =
            |cause: String| Error::Attach { program: hook, cgroup: cgroup_dir.clone(), cause };
        let program = ebpf.program_mut(hook).ok_or_else(|| failed("not in the object".into()))?;
        let program: &mut CgroupSockAddr =
            program.try_into().map_err(|e: ProgramError| failed(chain(&e)))?;
        program.load().map_err(|e| failed(chain(&e)))?;
        let pin = settings.links_dir().join(hook);
        // What a daemon left that died just before the move.
        remove(&settings.links_dir().join(format!("{hook}{BESIDE}")))?;
        if replace(&pin, program, id).map_err(|e| Error::file("replacing", &pin, e))? {
            continue;
        }
        // No link, or one whose cgroup is gone or is another: the new one comes first.
        let link = program.attach(&cgroup, CgroupAttachMode::Single);
        let link = link.and_then(|link| program.take_link(link));
        let link = link.map_err(|e| failed(chain(&e)))?;
        let link: FdLink = link.try_into().map_err(|e| failed(chain(&e)))?;
        // Pinned beside the old one first, then moved over it: whenever we die, something is pinned.
        let beside = settings.links_dir().join(format!("{hook}{BESIDE}"));
        link.pin(&beside).map_err(|e| failed(chain(&e)))?;
        fs::rename(&beside, &pin).map_err(|e| Error::file("moving", &beside, e))?;
    }
    Ok(())
}

/// Replaces the program of a pinned link; false when there is none that can be used.
fn replace(pin: &Path, program: &CgroupSockAddr, cgroup: u64) -> std::io::Result<bool> {
    if !pin.exists() {
        return Ok(false);
    }
    let link = sys::open_pin(pin)?;
    // A pin that is no cgroup link (the kernel then says nothing of a cgroup) is not one of ours.
    if sys::link_cgroup(link.as_fd()).unwrap_or(0) != cgroup {
        return Ok(false);
    }
    let fd = program.fd().map_err(std::io::Error::other)?;
    match sys::link_update(link.as_fd(), fd.as_fd()) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a pin; one that is not there is a success.
pub(crate) fn remove(pin: &Path) -> Result<(), Error> {
    match fs::remove_file(pin) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("removing", pin, error)),
    }
}
