//! The programs: objects built by `cargo xtask bpf` and checked in.

use aya::{Ebpf, EbpfLoader, include_bytes_aligned, programs::CgroupSockAddr};

use crate::{Error, error::chain, sys};

/// The socket programs and their maps.
static SOCKETS: &[u8] = include_bytes_aligned!("../objects/sockets.o");
/// The same for kernels before 5.18, where a refused call ends with EPERM.
static SOCKETS_EPERM: &[u8] = include_bytes_aligned!("../objects/sockets-eperm.o");

/// The object that this kernel can load.
pub(crate) fn object() -> &'static [u8] {
    if sys::has_set_retval() { SOCKETS } else { SOCKETS_EPERM }
}

/// Makes the maps of an object, or opens them by their pins, as the loader was told.
pub(crate) fn maps_of(loader: &mut EbpfLoader<'_>, object: &[u8]) -> Result<Ebpf, Error> {
    loader.load(object).map_err(|error| Error::Load { cause: chain(&error) })
}

/// Loads every program of an object whose maps were made.
pub(crate) fn load(ebpf: &mut Ebpf) -> Result<(), Error> {
    for (name, program) in ebpf.programs_mut() {
        let loaded = <&mut CgroupSockAddr>::try_from(program).and_then(CgroupSockAddr::load);
        loaded.map_err(|e| Error::Load { cause: format!("{name}: {}", chain(&e)) })?;
    }
    Ok(())
}

/// Loads every program with maps that are not pinned, and lets go of it again: does this kernel take
/// them?
///
/// # Errors
/// What the kernel says against one.
pub fn rehearse() -> Result<(), Error> {
    for bytes in [object(), SOCKETS_EPERM] {
        load(&mut maps_of(&mut EbpfLoader::new(), bytes)?)?;
    }
    Ok(())
}
