//! The pins of the maps that this daemon writes. Without them programs go on, but the next daemon
//! would start with empty maps.

use std::{io, os::fd::AsFd as _, path::Path};

use towpath_image::KernelError;

use crate::{maps::OpenMap, sys};

/// Pins what is not pinned any more; answers which, and the first failure. What is there and is
/// another map stays: what it holds may be needed.
pub(crate) fn mend(maps: &[OpenMap], dir: &Path) -> (Vec<String>, Option<KernelError>) {
    let (mut mended, mut first_failure) = (Vec::new(), None);
    for map in maps {
        let pin = dir.join(map.name().as_str());
        match mend_one(&pin, map) {
            Ok(false) => {}
            Ok(true) => mended.push(format!("pin of {}", map.name())),
            Err(cause) => {
                let place = pin.display().to_string();
                first_failure.get_or_insert(KernelError::Pins { place, cause });
            }
        }
    }
    (mended, first_failure)
}

/// Answers whether it had to be pinned again.
fn mend_one(pin: &Path, map: &OpenMap) -> Result<bool, String> {
    let held = match sys::open_pin(pin) {
        Ok(held) => held,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return sys::pin(map.fd(), pin).map(|()| true).map_err(|error| error.to_string());
        }
        Err(error) => return Err(error.to_string()),
    };
    match sys::map_info(held.as_fd()) {
        Ok(info) if info.id == map.info().id => Ok(false),
        Ok(_) => {
            Err("another map is pinned there; remove that pin, and this one comes back".into())
        }
        Err(error) => Err(format!("what is pinned there is no map: {error}")),
    }
}
