//! Health, with kube-proxy's meaning (services.md 2.1): healthy before the first write, unhealthy
//! when something waited too long to be written. A lost API server is not a reason (KEP-3836).

use std::{collections::BTreeMap, time::Duration};

use towpath_model::Family;

/// A change that waits this long to be written makes the proxy unhealthy: twice kube-proxy's default
/// syncPeriod.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(60);

/// Health at one moment. Times are milliseconds since the epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthSnapshot {
    /// When this was true.
    pub now_ms: u64,
    /// Not being deleted, nor tainted for deletion by the cluster autoscaler.
    pub node_eligible: bool,
    /// Per family.
    pub families: Vec<FamilyHealth>,
    /// Why it is not healthy whatever the families say (a map is full, for example).
    pub failure: Option<String>,
}

/// Health of one family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FamilyHealth {
    /// Which.
    pub family: Family,
    /// Last complete write; 0: none yet.
    pub last_updated_ms: u64,
    /// Nothing waits for too long.
    pub healthy: bool,
}

impl HealthSnapshot {
    /// What `/livez` answers: the proxy works. Node deletion does not count (KEP-3836).
    #[must_use]
    pub fn live(&self) -> bool {
        self.failure.is_none() && self.families.iter().all(|family| family.healthy)
    }

    /// What `/healthz` answers: load balancers may send traffic.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.live() && self.node_eligible
    }

    /// Last complete write of any family.
    #[must_use]
    pub fn last_updated_ms(&self) -> u64 {
        self.families.iter().map(|family| family.last_updated_ms).max().unwrap_or(0)
    }
}

/// Keeps health from what the loop reports. Time is an argument.
#[derive(Clone, Debug)]
pub struct HealthTracker {
    families: BTreeMap<Family, Times>,
    node_eligible: bool,
    failure: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    last_updated_ms: u64,
    oldest_pending_ms: Option<u64>,
}

impl Default for HealthTracker {
    /// Healthy, and eligible until the Node object says otherwise.
    fn default() -> Self {
        let families = [Family::V4, Family::V6].map(|family| (family, Times::default())).into();
        Self { families, node_eligible: true, failure: None }
    }
}

impl HealthTracker {
    /// A change of this family waits to be written.
    pub fn queued(&mut self, family: Family, now_ms: u64) {
        self.families.entry(family).or_default().oldest_pending_ms.get_or_insert(now_ms);
    }

    /// Everything that waited was written.
    pub fn updated(&mut self, family: Family, now_ms: u64) {
        let written = Times { last_updated_ms: now_ms, oldest_pending_ms: None };
        self.families.insert(family, written);
    }

    /// What the Node object says: neither deleted nor tainted for deletion.
    pub const fn node_eligible(&mut self, eligible: bool) {
        self.node_eligible = eligible;
    }

    /// A lasting failure, such as a full map; `None` when it is over.
    pub fn failure(&mut self, why: Option<String>) {
        self.failure = why;
    }

    /// Health now.
    #[must_use]
    pub fn snapshot(&self, now_ms: u64) -> HealthSnapshot {
        let timeout_ms = u64::try_from(HEALTH_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        let late = |since: u64| now_ms.saturating_sub(since) >= timeout_ms;
        let families = self.families.iter().map(|(family, times)| FamilyHealth {
            family: *family,
            last_updated_ms: times.last_updated_ms,
            healthy: !times.oldest_pending_ms.is_some_and(late),
        });
        HealthSnapshot {
            now_ms,
            node_eligible: self.node_eligible,
            families: families.collect(),
            failure: self.failure.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_may_wait_for_a_minute() {
        let mut tracker = HealthTracker::default();
        assert!(tracker.snapshot(0).healthy());
        tracker.queued(Family::V4, 1_000);
        tracker.queued(Family::V4, 50_000);
        assert!(tracker.snapshot(60_999).healthy());
        let late = tracker.snapshot(61_000);
        assert!(!late.healthy() && !late.live());
        assert!(late.families[1].healthy, "the other family is well");
        tracker.updated(Family::V4, 62_000);
        let well = tracker.snapshot(62_000);
        assert!(well.healthy());
        assert_eq!(well.last_updated_ms(), 62_000);
    }

    #[test]
    fn a_node_on_its_way_out_is_alive_but_not_healthy() {
        let mut tracker = HealthTracker::default();
        tracker.node_eligible(false);
        let snapshot = tracker.snapshot(5);
        assert!(snapshot.live() && !snapshot.healthy());
    }

    #[test]
    fn a_full_map_is_unhealthy_until_it_is_not() {
        let mut tracker = HealthTracker::default();
        tracker.failure(Some("map FRONTENDS is full".to_owned()));
        assert!(!tracker.snapshot(5).live());
        tracker.failure(None);
        assert!(tracker.snapshot(5).live());
    }
}
