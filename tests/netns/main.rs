//! Objects in, packets out: real daemons on real network namespaces.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod basics;
mod cleanup;
mod cluster;
mod conformance;
mod death;
mod demo;
mod dns;
mod endpoints;
mod explain;
mod front;
mod health;
mod hostile;
mod ingress;
mod manifests;
mod network_policy;
mod north_south;
mod outage;
mod path_mtu;
mod pod_packets;
mod policies;
mod source_ranges;
mod stale_udp;
mod standby;
mod support;
mod tampered;
mod terminating;
mod types;
mod udp;
