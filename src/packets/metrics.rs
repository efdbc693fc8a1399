//! The numbers of packets.

use prometheus::{IntGauge, IntGaugeVec};
use towpath_image::datapath::PacketCounters;

use crate::metrics::{Error, Registry, number};

/// What is counted of packets.
#[derive(Debug)]
pub struct PacketMetrics {
    flow_entries: IntGauge,
    flow_max_entries: IntGauge,
    outcomes: IntGaugeVec,
}

impl PacketMetrics {
    /// All of them, at zero.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            flow_entries: r.gauge(
                "towpath_packet_flow_entries",
                "Entries of the flow table, two for each flow",
            )?,
            flow_max_entries: r
                .gauge("towpath_packet_flow_max_entries", "Entries of the flow table at most")?,
            outcomes: r.gauges(
                "towpath_packet_outcomes",
                "Flows that began at devices, and packets that were dropped or answered there",
                "outcome",
            )?,
        })
    }

    /// As of a look at the flow table.
    pub(super) fn flows(&self, entries: usize, capacity: u32) {
        self.flow_entries.set(number(entries as u64));
        self.flow_max_entries.set(number(capacity.into()));
    }

    /// As the programs have counted.
    pub fn counted(&self, counters: &PacketCounters) {
        for (outcome, count) in [
            ("flow_began", counters.begun),
            ("refused", counters.refused),
            ("answered", counters.answered),
            ("no_local_endpoint", counters.no_local),
            ("no_port", counters.no_port),
            ("no_way", counters.no_way),
            ("lost", counters.lost),
            ("source_ranges", counters.source_ranges),
        ] {
            self.outcomes.with_label_values(&[outcome]).set(number(count));
        }
    }
}
