//! Removing what a daemon leaves in the kernel: links first, then maps, then directories.

use std::{fs, io, os::fd::AsFd as _, path::Path};

use crate::{
    Error, Settings,
    attach::{BESIDE, HOOKS, remove},
    lock::WriterLock,
    sys,
};

/// Takes the programs out of force; maps stay. Sockets that are connected stay connected.
///
/// # Errors
/// When a link cannot be removed.
pub fn detach(settings: &Settings) -> Result<(), Error> {
    // Reverse order of attaching: what makes translations goes before what undoes them.
    HOOKS.iter().rev().try_for_each(|hook| {
        for name in [format!("{hook}{BESIDE}"), (*hook).to_owned()] {
            let pin = settings.links_dir().join(name);
            out_of_force(&pin)?;
            remove(&pin)?;
        }
        Ok(())
    })
}

/// Detaches a pinned link at once. Removing its last pin alone leaves the program in force until the
/// kernel gets to it.
fn out_of_force(pin: &Path) -> Result<(), Error> {
    if !pin.exists() {
        return Ok(());
    }
    let link = sys::open_pin(pin).map_err(|e| Error::file("opening", pin, e))?;
    match sys::link_detach(link.as_fd()) {
        // Its cgroup is gone: so is the link's force.
        Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => {
            Err(Error::file("detaching", pin, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes everything below the pin root; answers what it removed (or would, with `dry_run`).
///
/// # Errors
/// When a daemon is running, or something cannot be removed.
pub fn cleanup(settings: &Settings, dry_run: bool) -> Result<Vec<String>, Error> {
    let _lock = WriterLock::take(settings)?;
    let mut found = Vec::new();
    if settings.pin_root.exists() {
        list(&settings.links_dir(), &mut found)?;
        list(&settings.pin_root, &mut found)?;
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|path| seen.insert(path.clone()));
    if !dry_run {
        if settings.pin_root.exists() {
            detach_all(&settings.links_dir())?;
        }
        for path in &found {
            let path = Path::new(path);
            let removed = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
            removed.map_err(|e| Error::file("removing", path, e))?;
        }
    }
    Ok(found)
}

/// Every link in the directory, whatever version pinned it.
fn detach_all(links: &Path) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(links) else { return Ok(()) };
    for entry in entries {
        out_of_force(&entry.map_err(|e| Error::file("reading", links, e))?.path())?;
    }
    Ok(())
}

/// Everything below, children before their parents, and the directory itself.
fn list(dir: &Path, found: &mut Vec<String>) -> Result<(), Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file("reading", dir, error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| Error::file("reading", dir, e))?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            list(&path, found)?;
        } else {
            found.push(path.display().to_string());
        }
    }
    found.push(dir.display().to_string());
    Ok(())
}
