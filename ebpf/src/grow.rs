//! Pinned maps that are smaller than what is configured now: larger ones take their place.
//!
//! The larger map is made beside, filled with what the old one holds, and moved over the old pin.
//! Nobody else writes meanwhile (the lock), so the programs in force go on with the old map and the
//! same answers until each is replaced by one that was loaded with the new map. A daemon that dies
//! on the way leaves some pins old and some new, with the same content; the next one goes on.
//! Only what programs count between the copy and their replacement, some milliseconds, is lost.
//!
//! A map never becomes smaller here: what it holds may not fit.

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::EbpfLoader;
use towpath_image::{
    Capacities, MapName,
    datapath::{
        Addr, BackendRecord, FrontendKey, FrontendWord, NodeAddressValue, ServiceCounters,
        ServiceRecord,
    },
};

use crate::{
    Error, Settings,
    attach::{BESIDE, remove},
    load::{chain, object},
    mapped::Mapped,
    sys,
};

/// A map whose size is configured, and how its content is carried over.
struct Growing {
    name: &'static str,
    wanted: fn(&Capacities) -> u32,
    copy: fn(from: &Map, to: &Map) -> io::Result<()>,
}

const GROWING: [Growing; 5] = [
    growing(MapName::FRONTENDS, |c| c.frontends, copy_hash::<FrontendKey, FrontendWord>),
    growing(MapName::NODE_ADDRESSES, |c| c.node_addresses, copy_hash::<Addr, NodeAddressValue>),
    growing(MapName::SERVICES, |c| c.services, copy_array::<ServiceRecord>),
    growing(MapName::BACKENDS, |c| c.backends, copy_array::<BackendRecord>),
    growing(MapName::COUNTERS, |c| c.services, copy_array::<ServiceCounters>),
];

const fn growing(
    name: MapName,
    wanted: fn(&Capacities) -> u32,
    copy: fn(from: &Map, to: &Map) -> io::Result<()>,
) -> Growing {
    Growing { name: name.as_str(), wanted, copy }
}

/// A pinned map.
struct Map {
    fd: OwnedFd,
    elements: u32,
}

impl Map {
    fn open(pin: &Path) -> io::Result<Self> {
        let fd = sys::open_pin(pin)?;
        let elements = sys::map_info(fd.as_fd())?.max_entries;
        Ok(Self { fd, elements })
    }
}

/// Enlarges what is too small. The shapes of the pins were checked before.
pub(crate) fn grow(settings: &Settings) -> Result<(), Error> {
    let dir = settings.maps_dir();
    let mut small = Vec::new();
    for map in &GROWING {
        let pin = dir.join(map.name);
        // What a daemon left that died before the move.
        remove(&dir.join(format!("{}{BESIDE}", map.name)))?;
        if !pin.exists() {
            continue;
        }
        let held = Map::open(&pin).map_err(|e| Error::file("opening", &pin, e))?;
        let wanted = (map.wanted)(&settings.capacities);
        if held.elements < wanted {
            small.push((map, held));
        } else if held.elements > wanted {
            tracing::warn!(
                map = map.name,
                holds = held.elements,
                configured = wanted,
                "a map is never made smaller while it is in use: `towpath cleanup` and a restart \
                 do it, with no Services on this node in between"
            );
        }
    }
    if small.is_empty() {
        return Ok(());
    }
    let mut loader = EbpfLoader::new();
    for (map, _) in &small {
        loader.map_max_entries(map.name, (map.wanted)(&settings.capacities));
        loader.map_pin_path(map.name, dir.join(format!("{}{BESIDE}", map.name)));
    }
    // Makes the maps; no program is loaded. The pins keep what is needed of it.
    drop(loader.load(object()).map_err(|error| Error::Load { cause: chain(&error) })?);
    for (map, held) in small {
        let (pin, beside) = (dir.join(map.name), dir.join(format!("{}{BESIDE}", map.name)));
        let copied = Map::open(&beside).and_then(|larger| {
            (map.copy)(&held, &larger)?;
            tracing::info!(
                map = map.name,
                from = held.elements,
                to = larger.elements,
                "a map has grown"
            );
            Ok(())
        });
        copied.map_err(|e| Error::file("filling", &beside, e))?;
        fs::rename(&beside, &pin).map_err(|e| Error::file("moving", &beside, e))?;
    }
    Ok(())
}

fn copy_hash<K: Copy + Default, V: Copy + Default>(from: &Map, to: &Map) -> io::Result<()> {
    let (keys, values): (Vec<K>, Vec<V>) = sys::dump::<K, V>(from.fd.as_fd())?.into_iter().unzip();
    if keys.is_empty() {
        return Ok(());
    }
    sys::update_batch(to.fd.as_fd(), &keys, &values).1.map_or(Ok(()), Err)
}

fn copy_array<T: Copy>(from: &Map, to: &Map) -> io::Result<()> {
    let from = Mapped::<T>::new(from.fd.as_fd(), from.elements)?;
    let to = Mapped::<T>::new(to.fd.as_fd(), to.elements)?;
    for index in 0..from.len() {
        if let Some(element) = from.get(index) {
            to.set(index, element);
        }
    }
    Ok(())
}
