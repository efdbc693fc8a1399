//! How often our programs ran: for benchmarks.

use std::{io, os::fd::OwnedFd};

use aya::programs::{ProgramInfo, loaded_programs};

use crate::{attach::HOOKS, sys};

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

/// One loaded program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramRuns {
    /// Its hook.
    pub name: String,
    /// Identifier in the kernel.
    pub id: u32,
    /// Runs since statistics are on.
    pub runs: u64,
    /// Nanoseconds they took.
    pub nanoseconds: u64,
}

/// All loaded programs that have the name of one of our hooks.
#[must_use]
pub fn program_runs() -> Vec<ProgramRuns> {
    let ours = |info: &ProgramInfo| {
        info.name_as_str().is_some_and(|name| HOOKS.iter().any(|hook| hook.starts_with(name)))
    };
    loaded_programs()
        .filter_map(Result::ok)
        .filter(ours)
        .map(|info| ProgramRuns {
            name: info.name_as_str().unwrap_or_default().to_owned(),
            id: info.id(),
            runs: info.run_count(),
            nanoseconds: u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
        })
        .collect()
}
