//! How often our programs ran: for benchmarks.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::programs::{ProgramInfo, loaded_programs};

use towpath_image::Hook;

use crate::{Error, Settings, sys};

/// Run statistics are on while this lives; they cost every program some 50 ns a run.
#[derive(Debug)]
pub struct StatsOn {
    _fd: OwnedFd,
}

impl StatsOn {
    /// Turns them on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start() -> io::Result<Self> {
        Ok(Self { _fd: sys::enable_stats()? })
    }
}

/// A program in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramRuns {
    /// Its hook.
    pub hook: &'static str,
    /// Runs since statistics are on.
    pub runs: u64,
    /// Nanoseconds they took.
    pub nanoseconds: u64,
}

/// The programs that these pins hold in force; other daemons on this kernel are not counted.
///
/// # Errors
/// When a pin or its program cannot be read.
pub fn program_runs(settings: &Settings) -> Result<Vec<ProgramRuns>, Error> {
    let mut hook_of = BTreeMap::new();
    for hook in Hook::SOCKETS.map(Hook::name) {
        let pin = settings.links_dir().join(hook);
        let (_, program) = sys::open_pin(&pin)
            .and_then(|link| sys::link_attachment(link.as_fd()))
            .map_err(|e| Error::file("opening", &pin, e))?;
        hook_of.insert(program, hook);
    }
    let ours = |info: ProgramInfo| {
        Some(ProgramRuns {
            hook: hook_of.get(&info.id())?,
            runs: info.run_count(),
            nanoseconds: u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
        })
    };
    Ok(loaded_programs().filter_map(Result::ok).filter_map(ours).collect())
}
