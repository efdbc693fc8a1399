//! Links: pinned, replaced in place, never detached first.

use std::{
    fs::{self, OpenOptions},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{CgroupAttachMode, CgroupSockAddr, links::FdLink},
};
use towpath_image::{Applied, At, Attachment, Attachments, Hook, HookKind, KernelError, Made};

use super::{
    dir::{PinDir, descriptor, remove},
    names::beside,
};
use crate::{Error, Settings, error::chain, sys};

/// Brings exactly these into force, with the programs that are loaded.
pub(crate) fn attach(ebpf: &mut Ebpf, settings: &Settings, wanted: &Attachments) -> Applied {
    let Made { done, mut failure } = Made::each(wanted.iter().copied(), true, |what| {
        let made = Link::open(what, settings).and_then(|link| link.bring_into_force(ebpf));
        made.map_err(|cause| detached(what, cause)).map(|()| true)
    });
    for name in unwanted(settings, wanted) {
        if let Err(error) = take_away(&settings.links_dir().join(&name)) {
            let stays = KernelError::Attached { program: name, cause: chain(&error) };
            failure = failure.or(Some(stays));
        }
    }
    Applied { done: done.len(), failure }
}

/// Names of the links that are pinned and not wanted, also of hooks that only another version has:
/// what makes translations goes before what undoes them.
fn unwanted(settings: &Settings, wanted: &Attachments) -> Vec<String> {
    let links = settings.links_dir();
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let is_link = |name: &String| {
        let link = sys::open_pin(&links.join(name));
        link.is_ok_and(|link| sys::link_attachment(link.as_fd()).is_ok())
    };
    let names = fs::read_dir(&links).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| !wanted.contains(name)).filter(is_link).collect();
    let turn = |name: &String| Hook::SOCKETS.iter().position(|hook| name.starts_with(hook.name()));
    names.sort_by_key(|name| std::cmp::Reverse(turn(name)));
    names
}

/// What of the programs that are loaded is in force.
pub(crate) fn attached(ebpf: &Ebpf, settings: &Settings) -> Attachments {
    let in_force = |what: &Attachment| {
        Link::open(what, settings).and_then(|link| link.is_in_force(ebpf)).unwrap_or(false)
    };
    Attachment::of_sockets().into_iter().filter(in_force).collect()
}

/// Looks at every link and mends those that are not in force; answers which. Eight pins are opened
/// and asked about (some 50 us) when nothing is wrong.
pub(crate) fn mend(ebpf: &mut Ebpf, settings: &Settings, wanted: &Attachments) -> Made {
    Made::each(wanted.iter().copied(), false, |what| {
        let mended = Link::open(what, settings).and_then(|link| {
            let missing = !link.is_in_force(ebpf)?;
            if missing { link.bring_into_force(ebpf).map(|()| true) } else { Ok(false) }
        });
        mended.map_err(|cause| detached(what, cause))
    })
}

fn detached(what: &Attachment, cause: String) -> KernelError {
    KernelError::Detached { program: what.to_string(), cause }
}

/// Takes a pinned link out of force, then its pin away; one that is not there is a success.
pub(crate) fn take_away(pin: &Path) -> Result<(), Error> {
    if pin.exists() {
        out_of_force(pin, pin)?;
    }
    remove(pin)
}

/// One program at its place, the cgroup.
struct Link {
    hook: Hook,
    pin: PathBuf,
    cgroup: fs::File,
    /// A cgroup's id is its inode number (kernfs, 64 bit).
    id: u64,
}

impl Link {
    fn open(what: &Attachment, settings: &Settings) -> Result<Self, String> {
        let path = match (what.hook.kind(), what.at) {
            (HookKind::Cgroup, At::Cgroup) => &settings.cgroup_root,
            (HookKind::Cgroup, At::Device(_)) => {
                return Err("it belongs to a cgroup".to_owned());
            }
        };
        let failed = |error| format!("opening {}: {error}", path.display());
        let cgroup = fs::File::open(path).map_err(failed)?;
        let id = cgroup.metadata().map_err(failed)?.ino();
        Ok(Self { hook: what.hook, pin: settings.links_dir().join(what.to_string()), cgroup, id })
    }

    /// Is the pinned link attached to the cgroup that is there now, with this very program?
    fn is_in_force(&self, ebpf: &Ebpf) -> Result<bool, String> {
        let Ok(link) = sys::open_pin(&self.pin) else { return Ok(false) };
        let program = ebpf.program(self.hook.name()).ok_or("it is not in the object")?;
        let program = <&CgroupSockAddr>::try_from(program).map_err(|error| chain(&error))?;
        let id = program.info().map_err(|error| chain(&error))?.id();
        Ok(sys::link_attachment(link.as_fd()).is_ok_and(|held| held == (self.id, id)))
    }

    /// Over the link that is there, if it can be used; else with a new one.
    fn bring_into_force(&self, ebpf: &mut Ebpf) -> Result<(), String> {
        let program = ebpf.program_mut(self.hook.name()).ok_or("it is not in the object")?;
        let program = <&mut CgroupSockAddr>::try_from(program).map_err(|error| chain(&error))?;
        // What a daemon left that died just before the move.
        let beside = beside(&self.pin);
        remove(&beside).map_err(|error| chain(&error))?;
        let failed = |what: &str, error| format!("{what} {}: {error}", self.pin.display());
        if replace(&self.pin, program, self.id).map_err(|error| failed("replacing", error))? {
            return Ok(());
        }
        // No link, or one whose cgroup is gone or is another: the new one comes first.
        let link = program.attach(&self.cgroup, CgroupAttachMode::Single);
        let link = link.and_then(|link| program.take_link(link));
        let link: FdLink = link.map_err(|e| chain(&e))?.try_into().map_err(|e| chain(&e))?;
        // Pinned beside the old one first, then moved over it: whenever we die, something is pinned.
        link.pin(&beside).map_err(|e| chain(&e))?;
        fs::rename(&beside, &self.pin).map_err(|error| failed("moving a link to", error))
    }
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

/// Detaches a pinned link at once. Removing its last pin alone leaves the program in force until the
/// kernel gets to it.
fn out_of_force(at: &Path, pin: &Path) -> Result<(), Error> {
    let link = sys::open_pin(at).map_err(|e| Error::file("opening", pin, e))?;
    match sys::link_detach(link.as_fd()) {
        Ok(()) => Ok(()),
        // Its cgroup is gone, and so is the link's force; or it is no link, and never had any.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOLINK | libc::EINVAL)) => Ok(()),
        Err(error) => Err(Error::file("detaching", pin, error)),
    }
}

/// Takes what was found at `at` out of force and removes it: what was found is what is detached, never
/// what a symbolic link in its place leads to. `path` is for people.
pub(crate) fn remove_found(at: &Path, path: &Path) -> Result<(), Error> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let found = OpenOptions::new().read(true).custom_flags(flags).open(at);
    let found = found.map_err(|e| Error::file("opening", path, e))?;
    out_of_force(&descriptor(&found), path)?;
    remove(at).map_err(|error| error.at(path))
}

/// The links of a directory that was moved away, to the one in its place: they stay in force, and
/// none is there twice.
pub(crate) fn move_all(from: &PinDir, to: &PinDir) -> Result<(), Error> {
    // Of one that was removed nothing can be read, and nothing is left.
    for (name, own) in from.entries().unwrap_or_default() {
        let (at, path) = (from.through(&name), from.path().join(&name));
        // To another bpffs, say, nothing can be moved.
        if own.is_some() && fs::rename(&at, to.through(&name)).is_err() {
            remove_found(&at, &path)?;
        }
    }
    Ok(())
}
