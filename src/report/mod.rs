//! The only writer to the API: `status.loadBalancer` of the Ingresses that are served, written by one
//! daemon of all, which holds a Lease. No data path waits for any of it.
//!
//! | file | what | pure |
//! |---|---|---|
//! | `seen.rs` | the Ingresses and nodes as last seen; which writes are due | yes |
//! | `serving.rs` | which nodes serve, and with which addresses; when a new set of them is adopted | yes |
//! | `rest.rs` | how long an object rests after a write | yes |
//! | `election.rs` | who leads, from what the Lease said and when | yes |
//! | `board.rs` | what the area notes and the writer reads | |
//! | `lookup.rs` | what else is asked for: a Service, or the daemons' pods | |
//! | `elector.rs`, `writer.rs` | the requests | |
//! | `reporter.rs` | its start and end | |

mod board;
mod election;
mod elector;
mod lookup;
mod metrics;
mod reporter;
mod rest;
mod seen;
mod serving;
mod writer;

use std::time::Duration;

use towpath_model::{Code, Problem};

pub use board::Board;
pub use metrics::ReportMetrics;
pub use reporter::Reporter;

use crate::{clock::Millis, source::kube::CallError};

fn ms(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// With manifests there is nothing that a status could be written to.
pub const NO_STATUS: &str =
    "status.loadBalancer of Ingresses: there is no API server to write it to";

/// Waiting times; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A Lease that was not renewed for so long may be taken; as client-go's defaults, like the next
    /// two. The API counts seconds.
    pub lease: Duration,
    /// A leader that could not renew for so long does not lead any more.
    pub deadline: Duration,
    /// Between two attempts to renew or to take it.
    pub retry: Duration,
    /// Between two writes: 10,000 Ingresses must not arrive at the API server together.
    pub write: Duration,
    /// Between two looks at what is published: the Service, or the daemons' pods.
    pub look: Duration,
    /// Addresses change at most so often: each change is a write of every Ingress.
    pub settle: Duration,
    /// A node that serves no more stays published so long: a daemon that restarts is no news.
    pub hold: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            write: Duration::from_millis(50),
            look: Duration::from_secs(30),
            settle: Duration::from_secs(60),
            hold: Duration::from_secs(300),
        }
    }
}

/// What a refusal means for the operator; `None`: it is no right that is missing.
fn right_missing(error: &CallError, right: &str) -> Option<Problem> {
    let CallError::Refused(http::StatusCode::FORBIDDEN, why, _) = error else { return None };
    let why = format!("{why}; statuses stay as they are, and requests are served");
    let action = format!("allow this daemon's account to {right}");
    Some(Problem::new(Code::StatusForbidden, None, "status of Ingresses", &why, &action))
}
