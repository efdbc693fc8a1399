//! The loop's own numbers.

use prometheus::{GaugeVec, IntCounter};

use super::AreaState;
use crate::metrics::{Error, Registry};

/// What the loop counts.
#[derive(Debug)]
pub struct LoopMetrics {
    audits: IntCounter,
    audit_divergence: IntCounter,
    reattached: IntCounter,
    longest_turn: GaugeVec,
}

impl LoopMetrics {
    /// All of them, at zero.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            audits: registry.counter("towpath_audits_total", "Audits made")?,
            audit_divergence: registry.counter(
                "towpath_audit_divergence_total",
                "Differences found by audits, must stay 0",
            )?,
            reattached: registry.counter(
                "towpath_programs_reattached_total",
                "Programs found detached or pins found removed from outside and brought back, must stay 0",
            )?,
            longest_turn: registry.seconds_by(
                "towpath_area_longest_turn_seconds",
                "Longest time that an area held the loop, its first plan and repairs apart",
                "area",
            )?,
        })
    }

    pub(super) fn audited(&self, differences: usize) {
        self.audits.inc();
        self.audit_divergence.inc_by(differences as u64);
    }

    pub(super) fn reattached(&self, programs: usize) {
        self.reattached.inc_by(programs as u64);
    }

    /// Brings up to date what is read, not counted.
    pub fn gather(&self, areas: &[AreaState]) {
        for area in areas {
            let longest = self.longest_turn.with_label_values(&[area.name]);
            longest.set(area.longest_turn.as_secs_f64());
        }
    }
}
