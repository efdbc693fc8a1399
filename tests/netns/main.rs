//! Objects in, packets out: real daemons on real network namespaces.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod death;
mod demo;
mod endpoints;
mod outage;
mod policies;
mod support;
mod types;
