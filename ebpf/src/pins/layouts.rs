//! Layouts: which is in force, and how a fresh one is filled from it.
//!
//! ```text
//! v<own>       is complete when it is there, and then the one that counts
//! v<own>-new   is filled from another version's, and takes its name once programs run on it
//! v<other>     goes then: never before, so that a daemon that dies on the way has lost nothing
//! ```
//! The same in both directions, so an older version comes back the way a newer one came.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use towpath_image::MapName;

use super::{
    dir::{self, PinDir},
    lock::WriterLock,
    names::{Own, Place, beside},
};
use crate::{
    Error, Settings,
    adopt::{Wanted, make, pinned},
    maps::OpenMap,
    settings::layout,
    sys,
    table::{Copy, Row, Table},
};

/// The directories of maps below a pin root that nothing else changes.
#[derive(Debug, Default)]
pub(crate) struct Layouts {
    own: PathBuf,
    /// Those of other versions that hold maps, the newest last.
    others: Vec<(u32, PathBuf)>,
    /// This version's holds nothing: it is being filled.
    fresh: bool,
}

impl Layouts {
    /// Looks at what is there; removes what a daemon left that died while it filled a layout.
    pub(crate) fn find(root: &PinDir, settings: &Settings) -> Result<Self, Error> {
        let mut found = Self { own: settings.maps_dir(), ..Self::default() };
        let mut own_is_empty = true;
        for (name, kind) in root.entries()? {
            if kind != Some(Own::Directory(Place::Maps)) {
                continue;
            }
            let path = settings.pin_root.join(&name);
            match name.to_str().and_then(layout) {
                None => remove(&path)?,
                Some(_) if !holds_maps(&path)? => {}
                Some(number) if number == settings.layout => own_is_empty = false,
                Some(number) => found.others.push((number, path)),
            }
        }
        found.others.sort();
        found.fresh = own_is_empty && !found.others.is_empty();
        Ok(found)
    }

    /// Where this version's maps are pinned for now.
    pub(crate) fn dir(&self) -> PathBuf {
        if self.fresh { beside(&self.own) } else { self.own.clone() }
    }

    /// Fills a fresh layout from the newest of the others. Answers what starts empty although the
    /// other version has something there that this one cannot read.
    pub(crate) fn fill(
        &self,
        settings: &Settings,
        tables: &[&Table],
    ) -> Result<Vec<MapName>, Error> {
        let from = self.others.last().filter(|_| self.fresh);
        let Some((_, from)) = from else { return Ok(Vec::new()) };
        let dir = self.dir();
        let (mut empty, mut fresh, mut conversions) = (Vec::new(), Vec::new(), Vec::new());
        for table in tables {
            let found = table.rows.iter().map(|row| Ok((row, carry(row, from)?)));
            let found: Vec<_> = found.collect::<Result<_, Error>>()?;
            let lost = |(row, carry): &(&Row, Carry)| !row.alone && matches!(carry, Carry::Lost);
            let together = !found.iter().any(lost);
            for (row, carry) in found {
                let pin = dir.join(row.name.as_str());
                match carry {
                    Carry::Nothing => {}
                    Carry::Same(map) if row.alone || together => {
                        sys::pin(map.fd(), &pin).map_err(|e| Error::file("making", pin, e))?;
                    }
                    Carry::Converted(map, convert) if row.alone || together => {
                        let elements = map.info().max_entries.max((row.elements)(settings));
                        fresh.push(Wanted { row, pin, elements });
                        conversions.push((map, convert));
                    }
                    _ => empty.push(row.name),
                }
            }
        }
        if !fresh.is_empty() {
            drop(make(&fresh)?);
        }
        for (Wanted { row, pin, .. }, (from, convert)) in fresh.iter().zip(conversions) {
            let map = pinned(pin, row)?;
            map.map_or(Ok(()), |map| convert(&from, &map))?;
        }
        tracing::info!(from = %from.display(), to = %dir.display(), "a fresh layout was filled");
        Ok(empty)
    }

    /// Programs run on this version's maps: they take their name, and the other versions' go.
    pub(crate) fn settle(&mut self, lock: &WriterLock) -> Result<(), Error> {
        if self.fresh {
            lock.move_maps(&self.own)?;
            self.fresh = false;
        }
        while let Some((_, path)) = self.others.last() {
            // A version that finds only some of its maps must not take them for all.
            let leaving = beside(path);
            match fs::rename(path, &leaving) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                moved => moved.map_err(|e| Error::file("moving", path, e))?,
            }
            remove(&leaving)?;
            self.others.pop();
        }
        Ok(())
    }
}

/// What becomes of a map of another version.
enum Carry {
    /// It has none.
    Nothing,
    /// This version reads and writes the same map.
    Same(OpenMap),
    Converted(OpenMap, Copy),
    /// It has another shape, and how to convert it is not known.
    Lost,
}

fn carry(row: &Row, from: &Path) -> Result<Carry, Error> {
    let former = row.former.as_ref();
    if let Some(map) = pinned(&from.join(row.name.as_str()), row)? {
        if row.fits(map.info()) {
            return Ok(Carry::Same(map));
        }
        let convert = former.filter(|f| f.name == row.name && f.fits(map.info()));
        return Ok(convert.map_or(Carry::Lost, |f| Carry::Converted(map, f.convert)));
    }
    let Some(former) = former else { return Ok(Carry::Nothing) };
    let Some(map) = pinned(&from.join(former.name.as_str()), row)? else {
        return Ok(Carry::Nothing);
    };
    if former.same && row.fits(map.info()) {
        return Ok(Carry::Same(map));
    }
    let fits = former.fits(map.info());
    Ok(if fits { Carry::Converted(map, former.convert) } else { Carry::Lost })
}

fn holds_maps(path: &Path) -> Result<bool, Error> {
    let Some(dir) = locked(path)? else { return Ok(false) };
    Ok(dir.entries()?.iter().any(|(_, own)| own.is_some()))
}

/// Removes a layout's directory with all that is pinned in it, also maps that only another version
/// has. What has an unknown sort of entry in it stays, without its pins.
fn remove(path: &Path) -> Result<(), Error> {
    let Some(dir) = locked(path)? else { return Ok(()) };
    for (name, _) in dir.entries()? {
        let at = dir.through(&name);
        if sys::open_pin(&at).is_ok() {
            dir::remove(&at).map_err(|error| error.at(&path.join(&name)))?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            tracing::warn!(path = %path.display(), "is not Towpath's alone: it stays");
            Ok(())
        }
        gone => gone.map_err(|e| Error::file("removing", path, e)),
    }
}

fn locked(path: &Path) -> Result<Option<PinDir>, Error> {
    let dir = dir::open(path)?.map(|dir| PinDir::lock(dir, path, Place::Maps));
    Ok(dir.transpose()?.flatten())
}
