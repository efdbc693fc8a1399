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
    let cgroup = Cgroup::open(settings)?;
    for hook in HOOKS {
        let failed = |cause: String| failed(hook, settings, cause);
        let program = program(ebpf, hook, settings)?;
        program.load().map_err(|e| failed(chain(&e)))?;
        bring_into_force(program, hook, &cgroup, settings)?;
    }
    Ok(())
}

/// Looks at every link and mends those that are not in force; answers which. Eight pins are opened
/// and asked about (some 50 us) when nothing is wrong.
pub(crate) fn mend(ebpf: &mut Ebpf, settings: &Settings) -> Result<Vec<String>, Error> {
    let cgroup = Cgroup::open(settings)?;
    let (mut mended, mut first_failure) = (Vec::new(), None);
    for hook in HOOKS {
        let result = program(ebpf, hook, settings).and_then(|program| {
            let in_force = is_in_force(program, hook, &cgroup, settings)?;
            if !in_force {
                bring_into_force(program, hook, &cgroup, settings)?;
                mended.push(hook.to_owned());
            }
            Ok(())
        });
        if let Err(error) = result {
            first_failure.get_or_insert(error);
        }
    }
    first_failure.map_or(Ok(mended), Err)
}

/// Where the programs belong.
struct Cgroup {
    dir: fs::File,
    /// A cgroup's id is its inode number (kernfs, 64 bit).
    id: u64,
}

impl Cgroup {
    fn open(settings: &Settings) -> Result<Self, Error> {
        let path = &settings.cgroup_root;
        let dir = fs::File::open(path).map_err(|e| Error::file("opening", path, e))?;
        let id = dir.metadata().map_err(|e| Error::file("reading", path, e))?.ino();
        Ok(Self { dir, id })
    }
}

fn failed(program: &'static str, settings: &Settings, cause: String) -> Error {
    Error::Attach { program, cgroup: settings.cgroup_root.clone(), cause }
}

fn program<'a>(
    ebpf: &'a mut Ebpf,
    hook: &'static str,
    settings: &Settings,
) -> Result<&'a mut CgroupSockAddr, Error> {
    let program =
        ebpf.program_mut(hook).ok_or_else(|| failed(hook, settings, "not in the object".into()))?;
    program.try_into().map_err(|e: ProgramError| failed(hook, settings, chain(&e)))
}

/// Is the pinned link attached to the cgroup that is there now, with this very program?
fn is_in_force(
    program: &CgroupSockAddr,
    hook: &'static str,
    cgroup: &Cgroup,
    settings: &Settings,
) -> Result<bool, Error> {
    let Ok(link) = sys::open_pin(&settings.links_dir().join(hook)) else { return Ok(false) };
    let id = program.info().map_err(|e| failed(hook, settings, chain(&e)))?.id();
    Ok(sys::link_attachment(link.as_fd()).is_ok_and(|held| held == (cgroup.id, id)))
}

/// Over the link that is there, if it can be used; else with a new one.
fn bring_into_force(
    program: &mut CgroupSockAddr,
    hook: &'static str,
    cgroup: &Cgroup,
    settings: &Settings,
) -> Result<(), Error> {
    let failed = |cause: String| failed(hook, settings, cause);
    let pin = settings.links_dir().join(hook);
    // What a daemon left that died just before the move.
    let beside = settings.links_dir().join(format!("{hook}{BESIDE}"));
    remove(&beside)?;
    if replace(&pin, program, cgroup.id).map_err(|e| Error::file("replacing", &pin, e))? {
        return Ok(());
    }
    // No link, or one whose cgroup is gone or is another: the new one comes first.
    let link = program.attach(&cgroup.dir, CgroupAttachMode::Single);
    let link = link.and_then(|link| program.take_link(link));
    let link = link.map_err(|e| failed(chain(&e)))?;
    let link: FdLink = link.try_into().map_err(|e| failed(chain(&e)))?;
    // Pinned beside the old one first, then moved over it: whenever we die, something is pinned.
    link.pin(&beside).map_err(|e| failed(chain(&e)))?;
    fs::rename(&beside, &pin).map_err(|e| Error::file("moving", &beside, e))
}

/// Replaces the program of a pinned link; false when there is none that can be used.
fn replace(pin: &Path, program: &CgroupSockAddr, cgroup: u64) -> std::io::Result<bool> {
    if !pin.exists() {
        return Ok(false);
    }
    let link = sys::open_pin(pin)?;
    // A pin that is no cgroup link (the kernel then says nothing of a cgroup) is not one of ours.
    if sys::link_attachment(link.as_fd()).map_or(0, |(held, _)| held) != cgroup {
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
