//! Serves a table of routes: TLS, HTTP/1.1 and HTTP/2 towards clients and endpoints.
//!
//! One thread a worker, with a runtime, listeners (`SO_REUSEPORT`) and upstream connections of its own:
//! no lock and no wake-up between cores on the way of a request. A change of routes, certificates or
//! endpoints is a pointer that the next request sees; it touches no open connection.
#![forbid(unsafe_code)]

mod auth;
mod body;
mod certs;
mod connect;
mod connector;
mod cors;
mod exchange;
mod fail;
mod guard;
mod guarded;
mod head;
mod local;
mod metrics;
mod pool;
mod proxy;
mod redirect;
mod serve;
mod snapshots;
mod sticky;
mod tunnel;
mod upstream;
mod worker;

pub use certs::{CertStore, Certificate, Unusable};
pub use connector::{Connector, Connectors};
pub use guard::{FIELDS_MAX, Guard, HEAD_MAX, Passed, Violation};
pub use metrics::{IngressMetrics, Register};
pub use snapshots::Snapshots;
pub use worker::{Engine, EngineError, EngineSettings, Listen, Listeners};
