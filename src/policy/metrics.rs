//! The numbers of policies.

use std::sync::{Mutex, PoisonError};

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};
use towpath_image::datapath::policy::PolicyCounters;

use crate::metrics::{Error, Registry, number};

/// What is counted of policies. Packets that pass are not: that would cost every packet of every pod.
#[derive(Debug)]
pub struct PolicyMetrics {
    dropped: IntCounterVec,
    policies: IntGauge,
    pods: IntGaugeVec,
    /// The programs' counters as of the last look.
    seen: Mutex<PolicyCounters>,
}

/// Pods of this node, by what is so of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Pods {
    pub(super) all: usize,
    pub(super) isolated: usize,
    pub(super) bound: usize,
    pub(super) adrift: usize,
}

impl PolicyMetrics {
    /// All of them, at zero.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(r: &Registry) -> Result<Self, Error> {
        let dropped = Opts::new(
            "towpath_policy_dropped_packets_total",
            "Packets that did not pass at the devices of pods",
        );
        let metrics = Self {
            dropped: r.add(IntCounterVec::new(dropped, &["direction", "reason"])?)?,
            policies: r.gauge("towpath_policies", "NetworkPolicies known")?,
            pods: r.gauges("towpath_policy_pods", "Pods of this node", "state")?,
            seen: Mutex::default(),
        };
        // Each series is there from the start: a rate over one that appears misses its first packets.
        for (direction, reason, _) in rows(&PolicyCounters::default()) {
            metrics.dropped.with_label_values(&[direction, reason]).inc_by(0);
        }
        Ok(metrics)
    }

    /// As the programs have counted, since the maps were made.
    pub(super) fn counted(&self, now: &PolicyCounters) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for ((direction, reason, now), (_, _, before)) in rows(now).into_iter().zip(rows(&seen)) {
            // Counters that begin again were made anew.
            let more = now.checked_sub(before).unwrap_or(now);
            self.dropped.with_label_values(&[direction, reason]).inc_by(more);
        }
        *seen = *now;
    }

    pub(super) fn known(&self, policies: usize, pods: Pods) {
        self.policies.set(number(policies as u64));
        for (state, count) in [
            ("all", pods.all),
            ("isolated", pods.isolated),
            ("bound", pods.bound),
            ("isolated_without_device", pods.adrift),
        ] {
            self.pods.with_label_values(&[state]).set(number(count as u64));
        }
    }
}

/// Direction, reason, packets. What cannot be read, and what devices without a pod see, is of either
/// direction.
const fn rows(counters: &PolicyCounters) -> [(&'static str, &'static str, u64); 6] {
    [
        ("ingress", "denied", counters.denied_to_pod),
        ("egress", "denied", counters.denied_from_pod),
        ("egress", "spoofed", counters.spoofed),
        ("either", "unbound", counters.unbound),
        ("either", "unreadable", counters.unreadable),
        ("ingress", "not_for_it", counters.not_for_it),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_the_kernel_only_grow_here() {
        let registry = Registry::new();
        let metrics = PolicyMetrics::new(&registry).unwrap();
        let line = |count: u64| {
            let name = "towpath_policy_dropped_packets_total";
            format!("{name}{{direction=\"ingress\",reason=\"denied\"}} {count}\n")
        };
        let said = |count: u64| {
            let text = String::from_utf8(registry.text()).unwrap();
            assert!(text.contains(&line(count)), "{count}: {text}");
        };
        said(0);
        let counted = |denied_to_pod| PolicyCounters { denied_to_pod, ..PolicyCounters::default() };
        // The maps outlive the daemon: what they counted before counts. Then they are made anew.
        for (now, total) in [(5, 5), (5, 5), (9, 9), (2, 11), (3, 12)] {
            metrics.counted(&counted(now));
            said(total);
        }
    }
}
