//! The daemon and its command line. `main` is a table of contents; areas live in their folders:
//!
//! | folder | what |
//! |---|---|
//! | `cli/` | one file per command |
//! | `config/` | as typed, then resolved |
//! | `source/` | the only door for cluster state: what makes an [`towpath_model::Event`] |
//! | `agent/` | build, run, drain |
//! | `reconcile/` | the loop: events in, batches out |
//! | `admin/` | health, metrics, control socket |
//! | `state_file.rs` | what is kept in the run directory |
//! | `timestamp.rs` | moments as the API writes them |
#![forbid(unsafe_code)]

pub mod admin;
pub mod agent;
pub mod cli;
pub mod config;
pub mod reconcile;
pub mod source;
pub mod state_file;
pub mod timestamp;

/// As in the binary: what is measured in tests is measured with its allocator.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
