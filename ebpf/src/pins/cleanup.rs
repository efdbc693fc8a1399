//! Removing what a daemon leaves in the kernel: links first, then maps, then directories.

use std::{ffi::OsStr, fs, io, path::Path};

use towpath_image::Attachment;

use super::{
    dir::{self, PinDir},
    links::{self, remove_found, take_away},
    lock,
    names::{Own, Place, beside},
};
use crate::{Cleaned, Error, Settings};

/// Takes the programs out of force; maps stay. Sockets that are connected stay connected.
///
/// # Errors
/// When a link cannot be removed.
pub fn detach(settings: &Settings) -> Result<(), Error> {
    let settings = &settings.plain()?;
    // Reverse order of attaching: what makes translations goes before what undoes them.
    let at_devices = links::at_devices(settings).into_iter().rev();
    at_devices.chain(Attachment::of_sockets().into_iter().rev()).try_for_each(|what| {
        let pin = settings.links_dir().join(what.to_string());
        take_away(&beside(&pin)).and_then(|()| take_away(&pin))
    })
}

/// Removes what Towpath pinned below the pin root, whichever version did, and the directories that
/// are empty then. With `dry_run` it only answers the same.
///
/// # Errors
/// When a daemon is running, the pin root is not on a bpffs or belongs to another user, or something
/// cannot be removed: [`Error::Partly`] when something was removed before.
pub fn cleanup(settings: &Settings, dry_run: bool) -> Result<Cleaned, Error> {
    let settings = &settings.plain()?;
    let mut sweep = Sweep { dry_run, cleaned: Cleaned::default(), held: Vec::new() };
    let Some(root) = dir::open(&settings.pin_root)? else { return Ok(sweep.cleaned) };
    let _run_dir = lock::used_run_dir(settings)?;
    let Some(root) = PinDir::lock(root, &settings.pin_root, Place::Root)? else {
        return Ok(sweep.cleaned);
    };
    match sweep.directory(root, &settings.pin_root) {
        Ok(_gone) => Ok(sweep.cleaned),
        Err(cause) => Err(sweep.stopped(cause)),
    }
}

struct Sweep {
    dry_run: bool,
    cleaned: Cleaned,
    /// Locked until all is gone, so that no daemon starts with half of it.
    held: Vec<PinDir>,
}

impl Sweep {
    /// What is Towpath's in a directory, then the directory; answers whether it is gone. `at` leads
    /// to it through the open directory above.
    fn directory(&mut self, dir: PinDir, at: &Path) -> Result<bool, Error> {
        let mut empty = true;
        for (name, own) in dir.entries()? {
            empty &= self.entry(&dir, &name, own)?;
        }
        let stays = empty && dir.is_mount_point()?;
        let path = dir.path().to_owned();
        self.held.push(dir);
        if !empty {
            return Ok(false);
        }
        let removed = match stays {
            true => Err(io::ErrorKind::ResourceBusy.into()),
            false if self.dry_run => Ok(()),
            false => fs::remove_dir(at),
        };
        match removed.map_err(|error| (error.kind(), error)) {
            Ok(()) | Err((io::ErrorKind::NotFound, _)) => Ok(self.removed(&path)),
            // A file system is mounted there, or another process made something in it just now.
            Err((io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty, _)) => {
                Ok(self.left(&path))
            }
            Err((_, error)) => Err(Error::file("removing", path, error)),
        }
    }

    fn entry(&mut self, dir: &PinDir, name: &OsStr, own: Option<Own>) -> Result<bool, Error> {
        let (at, path) = (dir.through(name), dir.path().join(name));
        match own {
            None => Ok(self.left(&path)),
            Some(Own::Pin(_)) => {
                if !self.dry_run {
                    remove_pin(dir.place, &at, &path)?;
                }
                Ok(self.removed(&path))
            }
            Some(Own::Directory(place)) => match dir.child(name, place) {
                Ok(Some(child)) => self.directory(child, &at),
                Ok(None) => Ok(true),
                Err(Error::NoBpffs { .. }) => Ok(self.left(&path)),
                Err(error) => Err(error),
            },
        }
    }

    fn stopped(self, cause: Error) -> Error {
        if self.dry_run || self.cleaned.removed.is_empty() {
            return cause;
        }
        Error::Partly { cleaned: self.cleaned, cause: Box::new(cause) }
    }

    fn removed(&mut self, path: &Path) -> bool {
        self.cleaned.removed.push(path.display().to_string());
        true
    }

    fn left(&mut self, path: &Path) -> bool {
        self.cleaned.left.push(path.display().to_string());
        false
    }
}

fn remove_pin(place: Place, at: &Path, path: &Path) -> Result<(), Error> {
    if place == Place::Links {
        return remove_found(at, path);
    }
    dir::remove(at).map_err(|error| error.at(path))
}
