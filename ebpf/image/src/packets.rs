//! The map that packet programs are told about devices in, as a value.

use std::collections::BTreeMap;

use towpath_datapath::DeviceRecord;

use crate::{Image, KernelError, MapName};

impl MapName {
    /// Flows of packets that are translated, two entries for each: the programs' own.
    pub const FLOW_TABLE: Self = Self::new("FLOW_TABLE");
    /// Network devices by index.
    pub const DEVICES: Self = Self::new("DEVICES");
    /// Counters of packets.
    pub const PACKETS: Self = Self::new("PACKETS");
}

/// Devices that DEVICES has room for: the kernel refuses more pods on a node long before.
pub const DEVICES_MAX: u32 = 16_384;

/// What packet programs know about devices. The flow table is the programs' own and no part of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PacketImage {
    /// DEVICES.
    pub devices: BTreeMap<u32, DeviceRecord>,
}

/// One write. Deleting what is absent is a success.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PacketOp {
    /// Insert or replace.
    PutDevice {
        /// Its index.
        index: u32,
        /// What is known about it.
        record: DeviceRecord,
    },
    /// Remove.
    DeleteDevice {
        /// Its index.
        index: u32,
    },
}

impl Image for PacketImage {
    type Op = PacketOp;

    fn apply(&mut self, op: &PacketOp) -> Result<(), KernelError> {
        match op {
            PacketOp::PutDevice { index, record } => {
                let full = self.devices.len() >= DEVICES_MAX as usize;
                if full && !self.devices.contains_key(index) {
                    return Err(KernelError::full(MapName::DEVICES, DEVICES_MAX));
                }
                self.devices.insert(*index, *record);
            }
            PacketOp::DeleteDevice { index } => {
                self.devices.remove(index);
            }
        }
        Ok(())
    }
}
