//! What policy answers: its maps in `towpath status`, and its metrics.

use towpath_image::MapName;

use super::{Policy, PolicyMetrics, metrics::Pods};
use crate::{
    api::MapReply,
    reconcile::{AreaAsker, Asked},
};

/// The maps of policies, as `status` shows them.
#[must_use]
pub fn maps(asked: &Asked<'_, Policy>) -> Vec<MapReply> {
    let image = asked.runner.area().layout().image();
    let capacities = image.capacities;
    let map = |name: MapName, entries: usize, capacity: u32| MapReply {
        name: name.to_string(),
        entries: entries as u64,
        capacity: u64::from(capacity),
    };
    vec![
        map(MapName::POLICY_PODS, image.pods.len(), capacities.pods),
        map(MapName::POLICY_DEVICES, image.devices.len(), capacities.pods),
        map(MapName::POLICY_PEERS, image.peers.len(), capacities.peers),
        map(MapName::POLICY_BLOCKS, image.blocks.len(), capacities.blocks),
        map(MapName::POLICY_ROW_INDEX, image.row_index.len(), capacities.row_index),
        map(MapName::POLICY_ROWS, image.rows.len(), capacities.rows),
    ]
}

/// Brings metrics up to date that are read, not counted; answers the maps. `None`: policies are off, or
/// the loop did not answer. Work: the pods of this node.
#[must_use]
pub fn gather(asker: &AreaAsker<Policy>, metrics: &PolicyMetrics) -> Option<Vec<MapReply>> {
    let (counters, policies, pods, maps) = asker.ask(|asked| {
        let area = asked.runner.area();
        let pods = Pods {
            all: area.wanted().pods().count(),
            isolated: area.wanted().isolated(),
            bound: area.bindings().len(),
            adrift: area.adrift(),
        };
        (area.counters(), asked.view.network_policies().len(), pods, maps(asked))
    })?;
    metrics.counted(&counters);
    metrics.known(policies, pods);
    Some(maps)
}
