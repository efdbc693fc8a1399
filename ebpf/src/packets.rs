//! The maps of packets.

use nix::time::{ClockId, clock_gettime};
use towpath_image::{
    KernelError, MapName, PacketImage, PacketOp,
    datapath::{
        DeviceRecord, PacketCounters,
        flow::{FlowEntry, Tuple},
    },
};

use crate::{
    live::{AreaMaps, LiveImage, LiveMaps},
    mapped::Mapped,
    maps::Hash,
    table::Table,
    tables,
};

/// The maps of packets, open.
#[derive(Debug)]
pub struct PacketMaps {
    devices: Hash<u32, DeviceRecord>,
    flows: Hash<Tuple, FlowEntry>,
    counters: Mapped<PacketCounters>,
}

impl LiveImage for PacketImage {
    const TABLE: Table = tables::PACKETS;
    type Maps = PacketMaps;

    fn open(maps: &AreaMaps<'_>) -> Result<PacketMaps, KernelError> {
        Ok(PacketMaps {
            devices: maps.map(MapName::DEVICES)?.hash()?,
            flows: maps.map(MapName::FLOW_TABLE)?.hash()?,
            counters: maps.map(MapName::PACKETS)?.array()?,
        })
    }

    fn read(maps: &PacketMaps) -> Result<Self, KernelError> {
        Ok(Self { devices: maps.devices.all()?.into_iter().collect() })
    }

    fn write(maps: &PacketMaps, ops: &[PacketOp]) -> (usize, Option<KernelError>) {
        let carried = match ops.first() {
            None => return (0, None),
            Some(PacketOp::PutDevice { index, record }) => {
                maps.devices.put(&[*index], &[*record]).1.map_or(Ok(()), Err)
            }
            Some(PacketOp::DeleteDevice { index }) => maps.devices.delete(index),
        };
        carried.map_or_else(|failure| (0, Some(failure)), |()| (1, None))
    }
}

impl LiveMaps<PacketImage> {
    /// A view of the flows.
    #[must_use]
    pub fn flows(&self) -> FlowTable {
        FlowTable { map: self.maps().flows.clone() }
    }

    /// What became of packets so far.
    #[must_use]
    pub fn counters(&self) -> PacketCounters {
        self.maps().counters.get(0).unwrap_or_default()
    }
}

/// A view of the flow table that any thread may have, beside the programs that fill it.
#[derive(Clone, Debug)]
pub struct FlowTable {
    map: Hash<Tuple, FlowEntry>,
}

/// What a sweep of the flow table found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Entries that stay: two for each flow.
    pub entries: usize,
    /// Entries that had expired, and went.
    pub expired: usize,
}

impl FlowTable {
    /// How many entries it has room for.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.map.capacity()
    }

    /// Every entry, also of flows that have expired.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn all(&self) -> Result<Vec<(Tuple, FlowEntry)>, KernelError> {
        self.map.all()
    }

    /// Removes what has expired. An entry that a program makes anew in the moment between look and
    /// removal goes, too: the other direction's makes it again with the next packet.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sweep(&self) -> Result<Swept, KernelError> {
        self.sweep_at(coarse_seconds())
    }

    /// The same at this time: seconds of the coarse monotonic clock.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn sweep_at(&self, now: u32) -> Result<Swept, KernelError> {
        let (seen, expired) = self.map.retire(|entry| !entry.live(now))?;
        Ok(Swept { entries: seen - expired, expired })
    }
}

/// The clock that programs write into entries.
fn coarse_seconds() -> u32 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE);
    // A clock that does not exist tells no time: then nothing has expired.
    now.map_or(0, |now| u32::try_from(now.tv_sec()).unwrap_or(u32::MAX))
}
