//! The area and its sweeper, out of the open maps.

use std::{sync::Arc, thread};

use towpath_ebpf::LiveMaps;
use towpath_image::{Attachments, PacketImage};

use super::{PacketMetrics, Packets, sweeper::Sweeper};

/// The area, over what its maps hold and what an earlier daemon left at devices. `judged`: NetworkPolicies
/// judge what comes out of pods. `add`: takes the
/// thread that looks at the flows, which ends with the area.
///
/// # Errors
/// When the maps cannot be read, or no thread can be started.
pub fn build(
    maps: LiveMaps<PacketImage>,
    (held, judged): (Attachments, bool),
    metrics: &Arc<PacketMetrics>,
    add: &mut dyn FnMut(&'static str, thread::JoinHandle<()>),
) -> anyhow::Result<Packets> {
    let flows = maps.flows();
    let (area, looks) = Packets::new(Box::new(maps), held, (flows.capacity(), judged))?;
    let sweeper = Sweeper { flows, metrics: Arc::clone(metrics), looks };
    add("flow-sweep", sweeper.start()?);
    Ok(area)
}
