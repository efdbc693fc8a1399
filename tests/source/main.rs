//! The API server as a source, over loopback: each fault on its own, and what is heard in spite of it.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod absent;
mod address;
mod authority;
mod cuts;
#[path = "../daemon/fixture.rs"]
mod fixture;
mod kubeconfig;
mod lists;
mod objects;
mod pace;
mod quorum;
mod refusals;
mod silence;
#[path = "../daemon/start.rs"]
mod start;
mod start_brake;
mod statuses;
mod streams;
mod support;
mod tls;
