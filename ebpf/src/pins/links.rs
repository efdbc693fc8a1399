//! Links: pinned, replaced in place, never detached first.

use std::{
    fs::{self, OpenOptions},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use towpath_image::{Applied, At, Attachment, Attachments, Hook, HookKind, KernelError, Made};

use super::{
    dir::{PinDir, descriptor, remove},
    names::beside,
};
use crate::{
    Error, Settings,
    error::chain,
    object::Objects,
    sys::{self, Tcx},
};

/// Brings exactly these into force, with the programs that are loaded.
pub(crate) fn attach(objects: &mut Objects, settings: &Settings, wanted: &Attachments) -> Applied {
    let Made { done, mut failure } = Made::each(wanted.iter().copied(), true, |what| {
        let made = Link::open(what, settings).and_then(|link| link.bring_into_force(objects));
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
    let turn = |name: &String| Hook::all().position(|hook| name.starts_with(hook.name()));
    names.sort_by_key(|name| std::cmp::Reverse(turn(name)));
    names
}

/// What of the programs that are loaded is in force.
pub(crate) fn attached(objects: &Objects, settings: &Settings) -> Attachments {
    let in_force = |what: &Attachment| {
        Link::open(what, settings).and_then(|link| link.is_in_force(objects)).unwrap_or(false)
    };
    let all = Attachment::of_sockets().into_iter().chain(at_devices(settings));
    all.filter(in_force).collect()
}

/// Looks at every link and mends those that are not in force; answers which. Eight pins are opened
/// and asked about (some 50 us) when nothing is wrong.
pub(crate) fn mend(objects: &mut Objects, settings: &Settings, wanted: &Attachments) -> Made {
    Made::each(wanted.iter().copied(), false, |what| {
        let mended = Link::open(what, settings).and_then(|link| {
            let missing = !link.is_in_force(objects)?;
            if missing { link.bring_into_force(objects).map(|()| true) } else { Ok(false) }
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

/// One program at its place.
struct Link {
    hook: Hook,
    pin: PathBuf,
    place: Place,
    /// What the kernel says of a link that is there. A cgroup's id is its inode number (kernfs, 64
    /// bit).
    id: u64,
}

enum Place {
    Cgroup(fs::File),
    Device(u32, Tcx),
}

impl Link {
    fn open(what: &Attachment, settings: &Settings) -> Result<Self, String> {
        let place = match (what.hook.kind(), what.at) {
            (HookKind::Cgroup, At::Cgroup) => {
                let path = &settings.cgroup_root;
                let failed = |error| format!("opening {}: {error}", path.display());
                Place::Cgroup(fs::File::open(path).map_err(failed)?)
            }
            (HookKind::DeviceIngress, At::Device(index)) => Place::Device(index, Tcx::Ingress),
            (HookKind::DeviceEgress, At::Device(index)) => Place::Device(index, Tcx::Egress),
            (HookKind::Cgroup, At::Device(_)) => return Err("it belongs to a cgroup".to_owned()),
            (_, At::Cgroup) => return Err("it belongs to a device".to_owned()),
        };
        let id = match &place {
            Place::Cgroup(cgroup) => {
                cgroup.metadata().map_err(|error| format!("reading its cgroup: {error}"))?.ino()
            }
            Place::Device(index, end) => sys::device_place(*index, *end),
        };
        let pin = settings.links_dir().join(what.to_string());
        Ok(Self { hook: what.hook, pin, place, id })
    }

    /// Is the pinned link attached to the place that is there now, with this very program?
    fn is_in_force(&self, objects: &Objects) -> Result<bool, String> {
        let Ok(link) = sys::open_pin(&self.pin) else { return Ok(false) };
        let id = objects.program_id(self.hook.name())?;
        Ok(sys::link_attachment(link.as_fd()).is_ok_and(|held| held == (self.id, id)))
    }

    /// Over the link that is there, if it can be used; else with a new one.
    fn bring_into_force(&self, objects: &mut Objects) -> Result<(), String> {
        // What a daemon left that died just before the move.
        let beside = beside(&self.pin);
        remove(&beside).map_err(|error| chain(&error))?;
        let failed = |what: &str, error| format!("{what} {}: {error}", self.pin.display());
        let replaced = replace(&self.pin, objects.program_fd(self.hook.name())?, self.id);
        if replaced.map_err(|error| failed("replacing", error))? {
            return Ok(());
        }
        // No link, or one whose place is gone or is another: the new one comes first. It is pinned
        // beside the old one, then moved over it: whenever we die, something is pinned.
        match &self.place {
            Place::Cgroup(cgroup) => {
                let link = objects.link_to_cgroup(self.hook.name(), cgroup)?;
                link.pin(&beside).map_err(|e| chain(&e))?;
            }
            Place::Device(index, end) => {
                let program = objects.program_fd(self.hook.name())?;
                let link = match sys::link_to_device(program, *index, *end, self.hook.is_first()) {
                    // It went meanwhile, and nothing passes it.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                        return Err(format!("{error} (TCX is there from Linux 6.6 on)"));
                    }
                    link => link.map_err(|error| failed("attaching", error))?,
                };
                sys::pin(link.as_fd(), &beside).map_err(|error| failed("pinning", error))?;
            }
        }
        fs::rename(&beside, &self.pin).map_err(|error| failed("moving a link to", error))
    }
}

/// Replaces the program of a pinned link; false when there is none that can be used.
fn replace(pin: &Path, program: BorrowedFd<'_>, place: u64) -> std::io::Result<bool> {
    if !pin.exists() {
        return Ok(false);
    }
    let link = sys::open_pin(pin)?;
    // A pin that is no link of this sort (the kernel then says nothing of its place) is not ours.
    if sys::link_attachment(link.as_fd()).map_or(0, |(held, _)| held) != place {
        return Ok(false);
    }
    match sys::link_update(link.as_fd(), program) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Links of pods' devices that are pinned and in force, whichever daemon made them.
pub(crate) fn at_devices(settings: &Settings) -> Attachments {
    let names = fs::read_dir(settings.links_dir()).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let known = names.filter_map(|name| Attachment::named(&name));
    let in_force = |what: &Attachment| {
        let link = Link::open(what, settings);
        matches!(what.at, At::Device(_))
            && link.is_ok_and(|link| {
                let held = sys::open_pin(&link.pin);
                held.is_ok_and(|held| {
                    sys::link_attachment(held.as_fd()).is_ok_and(|(place, _)| place == link.id)
                })
            })
    };
    known.filter(in_force).collect()
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
