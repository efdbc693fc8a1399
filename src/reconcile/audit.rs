//! The audit: what the kernel holds is what was written, and what was planned by increments is what
//! a compile from scratch plans. At start and every few minutes (DESIGN section 2, step 8).

use towpath_image::{Image, KernelError};
use towpath_model::Changes;
use towpath_proxy::{ServicePlan, plan};

use super::State;

/// Milliseconds between two audits.
pub(super) const EVERY_MS: u64 = 5 * 60 * 1000;

/// Differences that are spelled out at most.
const SPELLED_OUT: usize = 100;

/// What an audit found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Finding {
    /// When (daemon's milliseconds).
    pub at_ms: u64,
    /// What differed; empty is how it should be.
    pub differences: Vec<String>,
}

pub(super) fn audit(state: &mut State) -> Result<Finding, KernelError> {
    let held = state.kernel.read()?;
    let mut differences = compare(state.layout.image(), &held);
    differences.extend(state.plan.differences(&state.store.view()));
    differences.truncate(SPELLED_OUT);
    Ok(Finding { at_ms: state.clock.now_ms(), differences })
}

/// The plan that the store's picture gives when nothing is remembered.
pub(super) fn plan_from_scratch(state: &State) -> ServicePlan {
    let mut fresh = ServicePlan::new(state.plan.config().clone());
    // The first plan compiles everything, whatever the changes say.
    plan(&state.store.view(), &Changes::default(), &mut fresh);
    fresh
}

/// Map by map. Slots of BACKENDS count as far as a set in force points at them.
fn compare(wanted: &Image, held: &Image) -> Vec<String> {
    let mut differences = Vec::new();
    for (key, word) in &wanted.frontends {
        if held.frontends.get(key) != Some(word) {
            differences.push(format!("FRONTENDS: {key:?} should be {word:?}"));
        }
    }
    for key in held.frontends.keys().filter(|key| !wanted.frontends.contains_key(key)) {
        differences.push(format!("FRONTENDS: {key:?} should not be there"));
    }
    for (index, record) in &wanted.services {
        if held.services.get(index) != Some(record) {
            differences.push(format!("SERVICES: index {index} should be {record:?}"));
            continue;
        }
        for word in record.sets {
            if wanted.extent(word) != held.extent(word) {
                differences.push(format!("BACKENDS: the set {word:?} of index {index} differs"));
            }
        }
    }
    for index in held.services.keys().filter(|index| !wanted.services.contains_key(index)) {
        differences.push(format!("SERVICES: index {index} should be unused"));
    }
    if wanted.node_addresses != held.node_addresses {
        differences.push("NODE_ADDRESSES differs".to_owned());
    }
    differences
}
