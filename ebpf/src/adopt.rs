//! The maps of every table: adopted from their pins, made larger, or made.
//!
//! The larger map is made beside, filled with what the old one holds, and moved over the old pin.
//! Nothing else writes meanwhile (the lock), so the programs in force go on with the old map and the
//! same answers until each is replaced by one that was loaded with the new map. A daemon that dies
//! on the way leaves some pins old and some new, with the same content; the next one goes on.
//! Only what programs count between the copy and their replacement, some milliseconds, is lost.
//!
//! A map never becomes smaller here: what it holds may not fit.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{Ebpf, EbpfLoader};

use crate::{
    Error, Settings,
    maps::OpenMap,
    object,
    pins::{dir::remove, names::beside},
    sys,
    table::{Row, Table},
};

/// A map to be: its row, its pin, how many elements.
pub(crate) struct Wanted<'a> {
    pub(crate) row: &'a Row,
    pub(crate) pin: PathBuf,
    pub(crate) elements: u32,
}

/// Makes or adopts the maps that are pinned in `dir`, checks what was adopted, parses the programs.
pub(crate) fn adopt(settings: &Settings, tables: &[&Table], dir: &Path) -> Result<Ebpf, Error> {
    let rows = || tables.iter().flat_map(|table| table.rows);
    for row in rows() {
        // What a daemon left that died before the move.
        remove(&beside(&dir.join(row.name.as_str())))?;
        check_shape(row, dir)?;
    }
    grow(settings, rows(), dir)?;
    let wanted: Vec<_> = rows()
        .map(|row| {
            let elements = (row.elements)(settings);
            Wanted { row, pin: dir.join(row.name.as_str()), elements }
        })
        .collect();
    make(&wanted)
}

/// The programs of devices, over the maps that [`adopt`] made or found.
pub(crate) fn devices(
    settings: &Settings,
    tables: &[&Table],
    dir: &Path,
    object: &[u8],
) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    for row in tables.iter().flat_map(|table| table.rows) {
        let (name, elements) = (row.name.as_str(), (row.elements)(settings));
        loader.map_pin_path(name, dir.join(name));
        if elements > 0 {
            loader.map_max_entries(name, elements);
        }
    }
    object::maps_of(&mut loader, object)
}

/// Opens a map if it is pinned there.
pub(crate) fn pinned(pin: &Path, row: &Row) -> Result<Option<OpenMap>, Error> {
    if !pin.exists() {
        return Ok(None);
    }
    OpenMap::pinned(pin, row.name).map(Some).map_err(|e| Error::file("opening", pin, e))
}

/// Makes what is not pinned yet: as the object has it, else as the row says.
pub(crate) fn make(wanted: &[Wanted<'_>]) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    for Wanted { row, pin, elements } in wanted {
        loader.map_pin_path(row.name.as_str(), pin.as_path());
        if *elements > 0 {
            loader.map_max_entries(row.name.as_str(), *elements);
        }
    }
    let ebpf = object::maps_of(&mut loader, object::object())?;
    for Wanted { row, pin, elements } in wanted.iter().filter(|wanted| !wanted.pin.exists()) {
        let made =
            sys::create_map(row.kind as u32, row.key, row.value, *elements, row.kind.flags());
        let made = made.and_then(|map| sys::pin(map.as_fd(), pin));
        made.map_err(|e| Error::file("making", pin, e))?;
    }
    Ok(ebpf)
}

/// A pin of another shape would be adopted silently where the sizes agree by chance, and corrupted.
fn check_shape(row: &Row, dir: &Path) -> Result<(), Error> {
    let path = dir.join(row.name.as_str());
    let Some(map) = pinned(&path, row)? else { return Ok(()) };
    if row.fits(map.info()) {
        return Ok(());
    }
    Err(Error::Shape {
        path,
        found: format!("{} and {} bytes", map.info().key_size, map.info().value_size),
        wanted: format!("{} and {} bytes", row.key, row.value),
    })
}

/// Enlarges what is smaller than what is configured now. The shapes of the pins were checked before.
fn grow<'a>(
    settings: &Settings,
    rows: impl Iterator<Item = &'a Row>,
    dir: &Path,
) -> Result<(), Error> {
    let (mut small, mut larger) = (Vec::new(), Vec::new());
    for row in rows {
        let Some(copy) = row.copy else { continue };
        let Some(held) = pinned(&dir.join(row.name.as_str()), row)? else { continue };
        let (holds, elements) = (held.info().max_entries, (row.elements)(settings));
        if holds < elements {
            small.push((held, copy));
            let pin = beside(&dir.join(row.name.as_str()));
            larger.push(Wanted { row, pin, elements });
        } else if holds > elements {
            tracing::warn!(
                map = %row.name,
                holds,
                configured = elements,
                "a map is never made smaller while it is in use: `towpath cleanup` and a restart \
                 do it, with nothing served on this node in between"
            );
        }
    }
    if small.is_empty() {
        return Ok(());
    }
    // No program is loaded. The pins keep what is needed of it.
    drop(make(&larger)?);
    for ((held, copy), Wanted { row, pin: made, elements }) in small.iter().zip(&larger) {
        let larger =
            OpenMap::pinned(made, row.name).map_err(|e| Error::file("opening", made, e))?;
        copy(held, &larger)?;
        tracing::info!(map = %row.name, from = held.info().max_entries, to = elements, "a map has grown");
        let pin = dir.join(row.name.as_str());
        fs::rename(made, pin).map_err(|e| Error::file("moving", made, e))?;
    }
    Ok(())
}
