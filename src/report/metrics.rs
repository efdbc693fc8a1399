//! What is counted of writing to the API.

use prometheus::{IntCounterVec, IntGauge};

use crate::metrics::{Error, Registry};

/// The numbers of statuses.
#[derive(Debug)]
pub struct ReportMetrics {
    leader: IntGauge,
    writes: IntCounterVec,
}

impl ReportMetrics {
    /// All of them, at zero.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(r: &Registry) -> Result<Self, Error> {
        let writes = r.counters(
            "towpath_ingress_status_writes_total",
            "Writes of the status of an Ingress, by what became of them",
            "result",
        )?;
        for result in ["published", "taken_back", "conflict", "gone", "refused", "failed"] {
            writes.with_label_values(&[result]);
        }
        Ok(Self {
            leader: r.gauge(
                "towpath_ingress_status_leader",
                "1: this daemon writes the status of Ingresses",
            )?,
            writes,
        })
    }

    pub(super) fn leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    pub(super) fn wrote(&self, result: &str) {
        self.writes.with_label_values(&[result]).inc();
    }
}
