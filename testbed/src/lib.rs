//! Clusters made of network namespaces, and a small API server.
//!
//! For `towpath demo` and for tests: real kernel, real sockets, real packets; no `ip` binary. It
//! starts daemons as processes and never links the daemon. Everything it makes it also removes, by
//! way of a [`reaper`] process that outlives its maker; what a maker that died together with its reaper
//! left, the next cluster removes.

pub mod api;
pub mod cluster;
mod leftovers;
pub mod net;
pub mod objects;
pub mod preflight;
pub mod probe;
pub mod reaper;

pub use cluster::{Cluster, Host, NodeBed, PodBed, Wiring};
