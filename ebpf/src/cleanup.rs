//! Removing what a daemon leaves in the kernel: links first, then maps, then directories.

use std::{fs, io, path::Path};

use crate::{
    Error, Settings,
    attach::{BESIDE, HOOKS, remove},
    lock::WriterLock,
};

/// Takes the programs out of force; maps stay. Sockets that are connected stay connected.
///
/// # Errors
/// When a link cannot be removed.
pub fn detach(settings: &Settings) -> Result<(), Error> {
    // Reverse order of attaching: what makes translations goes before what undoes them.
    HOOKS.iter().rev().try_for_each(|hook| {
        remove(&settings.links_dir().join(format!("{hook}{BESIDE}")))?;
        remove(&settings.links_dir().join(hook))
    })
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
        for path in &found {
            let path = Path::new(path);
            let removed = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
            removed.map_err(|e| Error::file("removing", path, e))?;
        }
    }
    Ok(found)
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
