//! The programs: objects built by `cargo xtask bpf` and checked in.

use std::{
    fs,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{
        CgroupAttachMode, CgroupSockAddr, Program, ProgramError,
        links::{FdLink, LinkError},
    },
};

use crate::{Error, error::chain, sys};

/// The socket programs and their maps.
static SOCKETS: &[u8] = include_bytes_aligned!("../objects/sockets.o");
/// The same for kernels before 5.18, where a refused call ends with EPERM.
static SOCKETS_EPERM: &[u8] = include_bytes_aligned!("../objects/sockets-eperm.o");

/// The programs of pods' devices and their maps.
pub(crate) static PODS: &[u8] = include_bytes_aligned!("../objects/pods.o");

/// The programs of the node's own devices and their maps.
pub(crate) static PACKETS: &[u8] = include_bytes_aligned!("../objects/packets.o");

/// The object of the socket programs that this kernel can load.
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
        let loaded = match program {
            Program::CgroupSockAddr(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        loaded.map_err(|e| Error::Load { cause: format!("{name}: {}", chain(&e)) })?;
    }
    Ok(())
}

/// The objects of this daemon, loaded.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) sockets: Ebpf,
    /// `None`: policies are not enforced.
    pub(crate) pods: Option<Ebpf>,
    /// `None`: packets are not translated.
    pub(crate) packets: Option<Ebpf>,
}

const NO_PROGRAM: &str = "it is not in the objects that are loaded";

impl Objects {
    pub(crate) fn load(&mut self) -> Result<(), Error> {
        load(&mut self.sockets)?;
        self.pods.iter_mut().chain(&mut self.packets).try_for_each(load)
    }

    pub(crate) fn program(&self, name: &str) -> Result<&Program, String> {
        let mut all = [Some(&self.sockets), self.pods.as_ref(), self.packets.as_ref()].into_iter();
        let found = all.find_map(|object| object.and_then(|object| object.program(name)));
        found.ok_or_else(|| NO_PROGRAM.to_owned())
    }

    /// A program that was loaded.
    pub(crate) fn program_fd(&self, name: &str) -> Result<BorrowedFd<'_>, String> {
        let fd = match self.program(name)? {
            Program::CgroupSockAddr(program) => program.fd(),
            Program::SchedClassifier(program) => program.fd(),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        fd.map(|fd| fd.as_fd()).map_err(|error| chain(&error))
    }

    /// The kernel's number of a program.
    pub(crate) fn program_id(&self, name: &str) -> Result<u32, String> {
        let info = match self.program(name)? {
            Program::CgroupSockAddr(program) => program.info(),
            Program::SchedClassifier(program) => program.info(),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        info.map(|info| info.id()).map_err(|error| chain(&error))
    }

    /// A new link of a program of sockets.
    pub(crate) fn link_to_cgroup(
        &mut self,
        name: &str,
        cgroup: &fs::File,
    ) -> Result<FdLink, String> {
        let program = self.sockets.program_mut(name).ok_or(NO_PROGRAM)?;
        let program = <&mut CgroupSockAddr>::try_from(program).map_err(|error| chain(&error))?;
        let link = program.attach(cgroup, CgroupAttachMode::Single);
        let link = link.and_then(|link| program.take_link(link));
        link.map_err(|e| chain(&e))?.try_into().map_err(|e: LinkError| chain(&e))
    }
}

/// Loads every program with maps that are not pinned, and lets go of it again: does this kernel take
/// them?
///
/// # Errors
/// What the kernel says against one.
pub fn rehearse() -> Result<(), Error> {
    for bytes in [object(), SOCKETS_EPERM, PODS, PACKETS] {
        load(&mut maps_of(&mut EbpfLoader::new(), bytes)?)?;
    }
    Ok(())
}
