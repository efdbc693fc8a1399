//! The daemon and its command line. `main` is a table of contents; areas live in their folders:
//!
//! | folder | what |
//! |---|---|
//! | `cli/` | one file per command |
//! | `config/` | as typed, then resolved |
//! | `source/` | the only door for cluster state: what makes an [`towpath_model::Event`] |
//! | `agent/` | build, run, drain |
//! | `reconcile/` | the loop: events in, turns of the areas out; it names no area |
//! | `policy/` | an area: what pods may reach, and be reached by |
//! | `services/` | an area: routing Services for sockets |
//! | `packets/` | an area: Services for packets that come from no socket of the node |
//! | `dns/` | an area: the cluster's DNS, answered on the node |
//! | `ingress/` | an area: requests led by host and path |
//! | `admin/` | health, metrics, control socket |
//! | `api/` | what the control socket answers: plain data |
//! | `clock.rs`, `vitals.rs`, `metrics.rs` | time, signs of life and the registry of metrics, for all of them |
//! | `backoff.rs`, `panics.rs` | waits between attempts; what a panic ends |
//! | `state_file.rs` | what is kept in the run directory |
//! | `timestamp.rs` | moments as the API writes them |
#![forbid(unsafe_code)]

pub mod admin;
pub mod agent;
pub mod api;
mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dns;
pub mod ingress;
pub mod metrics;
pub mod packets;
mod panics;
pub mod policy;
pub mod reconcile;
pub mod report;
pub mod services;
pub mod source;
pub mod state_file;
pub mod timestamp;
pub mod vitals;

/// As in the binary: what is measured in tests is measured with its allocator.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
