//! The pins of the maps that this daemon writes. Without them programs go on, but the next daemon
//! would start with empty maps.

use std::{io, os::fd::AsFd as _, path::Path};

use aya::maps::MapData;
use towpath_image::{KernelError, MapName};

use crate::{
    Error, Settings,
    load::{self, MAPS, chain},
    sys,
};

/// Every map, as it was pinned when the daemon started.
pub(crate) struct Pinned(Vec<(MapName, MapData, u32)>);

impl Pinned {
    /// Opens the pins. Nobody else changes them meanwhile (the lock).
    pub(crate) fn open(settings: &Settings) -> Result<Self, Error> {
        let open = |name: MapName| {
            let (map, _elements) = load::open(settings, name)?;
            let info = sys::map_info(map.fd().as_fd());
            let id = info.map_err(|e| Error::file("reading", settings.maps_dir(), e))?.id;
            Ok((name, map, id))
        };
        MAPS.into_iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Pins what is not pinned any more; answers which, and the first failure. What is there and is
    /// another map stays: somebody may need what it holds.
    pub(crate) fn mend(&self, settings: &Settings) -> (Vec<String>, Option<KernelError>) {
        let (mut mended, mut first_failure) = (Vec::new(), None);
        for (name, map, id) in &self.0 {
            let pin = settings.maps_dir().join(name.as_str());
            match mend(&pin, map, *id) {
                Ok(false) => {}
                Ok(true) => mended.push(format!("pin of {}", name.as_str())),
                Err(cause) => {
                    let place = pin.display().to_string();
                    first_failure.get_or_insert(KernelError::Pins { place, cause });
                }
            }
        }
        (mended, first_failure)
    }
}

/// Answers whether it had to be pinned again.
fn mend(pin: &Path, map: &MapData, id: u32) -> Result<bool, String> {
    let held = match sys::open_pin(pin) {
        Ok(held) => held,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return map.pin(pin).map(|()| true).map_err(|e| chain(&e));
        }
        Err(error) => return Err(error.to_string()),
    };
    match sys::map_info(held.as_fd()) {
        Ok(info) if info.id == id => Ok(false),
        Ok(_) => {
            Err("another map is pinned there; remove that pin, and this one comes back".into())
        }
        Err(error) => Err(format!("what is pinned there is no map: {error}")),
    }
}
