//! The maps that policies are in, as a value.

use std::collections::BTreeMap;

use towpath_datapath::{
    Addr,
    decide::PolicyTables,
    policy::{
        BlockKey, BlockWord, Classes, DeviceWord, Direction, DirectionWord, PORT_CLASS_OTHER,
        PeerWord, PodRecord, PolicyConfig, RowKey, RowRecord, RowWord, port_number,
    },
};

use crate::{Image, KernelError, MapName};

impl MapName {
    /// Pods of this node.
    pub const POLICY_PODS: Self = Self::new("POLICY_PODS");
    /// Interface index to pod.
    pub const POLICY_DEVICES: Self = Self::new("POLICY_DEVICES");
    /// Address to classes.
    pub const POLICY_PEERS: Self = Self::new("POLICY_PEERS");
    /// Block of addresses to classes.
    pub const POLICY_BLOCKS: Self = Self::new("POLICY_BLOCKS");
    /// (ruleset, class) to row.
    pub const POLICY_ROW_INDEX: Self = Self::new("POLICY_ROW_INDEX");
    /// What port classes are allowed.
    pub const POLICY_ROWS: Self = Self::new("POLICY_ROWS");
    /// Port to port class.
    pub const POLICY_PORTS: Self = Self::new("POLICY_PORTS");
    /// Who opened what.
    pub const POLICY_FLOWS: Self = Self::new("POLICY_FLOWS");
    /// What did not pass.
    pub const POLICY_COUNTERS: Self = Self::new("POLICY_COUNTERS");
    /// One record of switches.
    pub const POLICY_CONFIG: Self = Self::new("POLICY_CONFIG");
}

/// How many elements each map holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicyCapacities {
    /// POLICY_PODS, and POLICY_DEVICES.
    pub pods: u32,
    /// POLICY_PEERS.
    pub peers: u32,
    /// POLICY_BLOCKS.
    pub blocks: u32,
    /// POLICY_ROW_INDEX.
    pub row_index: u32,
    /// POLICY_ROWS.
    pub rows: u32,
}

impl Default for PolicyCapacities {
    /// Enough for 150,000 pods of both families as peers.
    fn default() -> Self {
        Self { pods: 4_096, peers: 524_288, blocks: 65_536, row_index: 262_144, rows: 16_384 }
    }
}

/// Everything that decides which packets of pods pass. Flows and counters are the kernel's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PolicyImage {
    /// Sizes of the maps this image lives in.
    pub capacities: PolicyCapacities,
    /// POLICY_PODS: used slots only.
    pub pods: BTreeMap<u32, PodRecord>,
    /// POLICY_DEVICES.
    pub devices: BTreeMap<u32, DeviceWord>,
    /// POLICY_PEERS.
    pub peers: BTreeMap<Addr, Classes>,
    /// POLICY_BLOCKS.
    pub blocks: BTreeMap<BlockKey, Classes>,
    /// POLICY_ROW_INDEX.
    pub row_index: BTreeMap<RowKey, u32>,
    /// POLICY_ROWS: rows that were ever written.
    pub rows: BTreeMap<u32, RowRecord>,
    /// POLICY_PORTS.
    pub ports: PortTable,
    /// POLICY_CONFIG.
    pub config: PolicyConfig,
}

/// The port table as runs: where each begins, and its class. All zero: one run of class 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortTable {
    runs: BTreeMap<u32, u16>,
}

impl Default for PortTable {
    fn default() -> Self {
        Self { runs: [(0, PORT_CLASS_OTHER)].into() }
    }
}

impl PortTable {
    /// How many ports there are: those of TCP, of UDP, of SCTP.
    pub const LENGTH: u32 = 3 * 65_536;

    /// Place of a port.
    #[must_use]
    pub const fn place(number: u8, port: u16) -> Option<u32> {
        port_number(number, port)
    }

    /// Class of a place.
    #[must_use]
    pub fn class(&self, place: u32) -> u16 {
        self.runs.range(..=place).next_back().map_or(PORT_CLASS_OTHER, |(_, class)| *class)
    }

    /// The runs: first place, last place, class.
    pub fn runs(&self) -> impl Iterator<Item = (u32, u32, u16)> {
        let ends = self.runs.keys().skip(1).copied().chain([Self::LENGTH]);
        self.runs.iter().zip(ends).map(|((first, class), end)| (*first, end - 1, *class))
    }

    /// Gives a range of places a class. What is beyond the table is cut off.
    pub fn set(&mut self, first: u32, last: u32, class: u16) {
        let end = last.saturating_add(1).min(Self::LENGTH);
        if first >= end {
            return;
        }
        let after = self.class(end);
        let inside: Vec<u32> = self.runs.range(first..end).map(|(start, _)| *start).collect();
        for start in inside {
            self.runs.remove(&start);
        }
        if end < Self::LENGTH {
            self.runs.insert(end, after);
        }
        self.runs.insert(first, class);
        for at in [first, end] {
            let before = self.runs.range(..at).next_back().map(|(_, class)| *class);
            if self.runs.get(&at).is_some_and(|class| before == Some(*class)) {
                self.runs.remove(&at);
            }
        }
    }
}

/// One write. Deleting what is absent is a success.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyOp {
    /// Fill a row: one that no index leads to, or with more bits of port classes that no port has.
    WriteRow {
        /// Number.
        row: u32,
        /// Content.
        record: RowRecord,
    },
    /// Insert or replace.
    PutRow {
        /// Key.
        key: RowKey,
        /// Number of the row.
        row: u32,
    },
    /// Remove.
    DeleteRow {
        /// Key.
        key: RowKey,
    },
    /// Insert or replace, atomically.
    PutPeer {
        /// Address.
        addr: Addr,
        /// Its classes.
        classes: Classes,
    },
    /// Remove.
    DeletePeer {
        /// Address.
        addr: Addr,
    },
    /// Insert or replace, atomically.
    PutBlock {
        /// Block.
        key: BlockKey,
        /// Its classes.
        classes: Classes,
    },
    /// Remove.
    DeleteBlock {
        /// Block.
        key: BlockKey,
    },
    /// Give ports a class: one port at a time, so every row must say the same of both classes.
    SetPorts {
        /// First place ([`PortTable::place`]).
        first: u32,
        /// Last place.
        last: u32,
        /// Their class.
        class: u16,
    },
    /// Fill a slot that no device leads to (all zero: unused again).
    WritePod {
        /// Slot.
        slot: u32,
        /// Content.
        record: PodRecord,
    },
    /// The flip of one direction: a single 64-bit release store.
    StoreDirection {
        /// Slot in use.
        slot: u32,
        /// Which.
        direction: Direction,
        /// Its new word.
        word: DirectionWord,
    },
    /// Insert or replace, atomically.
    PutDevice {
        /// Interface index.
        device: u32,
        /// Whose it is.
        word: DeviceWord,
    },
    /// Remove.
    DeleteDevice {
        /// Interface index.
        device: u32,
    },
    /// Store the switches.
    SetConfig {
        /// Their new value.
        config: PolicyConfig,
    },
}

impl PolicyImage {
    /// An empty image of these sizes.
    #[must_use]
    pub fn with_capacities(capacities: PolicyCapacities) -> Self {
        Self { capacities, ..Self::default() }
    }
}

impl Image for PolicyImage {
    type Op = PolicyOp;

    fn apply(&mut self, op: &PolicyOp) -> Result<(), KernelError> {
        let caps = self.capacities;
        match op {
            PolicyOp::WriteRow { row, record } => {
                let max = caps.rows;
                if *row >= max {
                    return Err(KernelError::full(MapName::POLICY_ROWS, max));
                }
                self.rows.insert(*row, *record);
            }
            PolicyOp::PutRow { key, row } => {
                let max = caps.row_index;
                put(&mut self.row_index, MapName::POLICY_ROW_INDEX, max, *key, *row)?;
            }
            PolicyOp::DeleteRow { key } => drop(self.row_index.remove(key)),
            PolicyOp::PutPeer { addr, classes } => {
                put(&mut self.peers, MapName::POLICY_PEERS, caps.peers, *addr, *classes)?;
            }
            PolicyOp::DeletePeer { addr } => drop(self.peers.remove(addr)),
            PolicyOp::PutBlock { key, classes } => {
                put(&mut self.blocks, MapName::POLICY_BLOCKS, caps.blocks, *key, *classes)?;
            }
            PolicyOp::DeleteBlock { key } => drop(self.blocks.remove(key)),
            PolicyOp::SetPorts { first, last, class } => self.ports.set(*first, *last, *class),
            PolicyOp::WritePod { slot, record } => {
                if *slot >= caps.pods {
                    return Err(KernelError::full(MapName::POLICY_PODS, caps.pods));
                }
                match record.identity {
                    0 => drop(self.pods.remove(slot)),
                    _ => drop(self.pods.insert(*slot, *record)),
                }
            }
            PolicyOp::StoreDirection { slot, direction, word } => {
                let pod = self.pods.get_mut(slot);
                let pod = pod.ok_or_else(|| KernelError::full(MapName::POLICY_PODS, caps.pods))?;
                match direction {
                    Direction::Ingress => pod.ingress = *word,
                    Direction::Egress => pod.egress = *word,
                }
            }
            PolicyOp::PutDevice { device, word } => {
                put(&mut self.devices, MapName::POLICY_DEVICES, caps.pods, *device, *word)?;
            }
            PolicyOp::DeleteDevice { device } => drop(self.devices.remove(device)),
            PolicyOp::SetConfig { config } => self.config = *config,
        }
        Ok(())
    }
}

fn put<K: Ord, V>(
    map: &mut BTreeMap<K, V>,
    name: MapName,
    capacity: u32,
    key: K,
    value: V,
) -> Result<(), KernelError> {
    if map.len() >= capacity as usize && !map.contains_key(&key) {
        return Err(KernelError::full(name, capacity));
    }
    map.insert(key, value);
    Ok(())
}

/// The decisions run over an image as they run over the kernel's maps.
impl PolicyTables for PolicyImage {
    fn pod(&self, slot: u32) -> Option<PodRecord> {
        self.pods.get(&slot).copied()
    }

    fn peer(&self, addr: &Addr) -> Option<PeerWord> {
        self.peers.get(addr).map(|classes| PeerWord::new(addr, *classes))
    }

    fn block(&self, addr: &Addr) -> Option<BlockWord> {
        (0..=128)
            .rev()
            .find_map(|prefix| self.blocks.get(&BlockKey { prefix, addr: addr.prefix(prefix) }))
            .map(|classes| BlockWord::new(*classes))
    }

    fn row(&self, key: &RowKey) -> Option<RowWord> {
        self.row_index.get(key).map(|row| RowWord::new(*key, *row))
    }

    fn row_allows(&self, row: u32, port_class: u16) -> bool {
        self.rows.get(&row).is_some_and(|record| record.allows(port_class))
    }

    fn port_class(&self, number: u8, port: u16) -> u16 {
        PortTable::place(number, port).map_or(PORT_CLASS_OTHER, |place| self.ports.class(place))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_port_table_is_what_an_array_would_be(
            sets in prop::collection::vec((0u32..300, 0u32..300, 0u16..5), 0..40),
        ) {
            let (mut table, mut array) = (PortTable::default(), vec![0u16; 400]);
            for (first, length, class) in sets {
                table.set(first, first + length, class);
                array[first as usize..400.min((first + length + 1) as usize)].fill(class);
            }
            // The array is shorter: what went beyond is not compared.
            for (place, class) in array.iter().enumerate() {
                prop_assert_eq!(table.class(u32::try_from(place).unwrap()), *class);
            }
            let runs: Vec<_> = table.runs().collect();
            prop_assert!(runs.windows(2).all(|two| two[0].1 + 1 == two[1].0 && two[0].2 != two[1].2));
            prop_assert_eq!(runs.last().map(|run| run.1), Some(PortTable::LENGTH - 1));
        }
    }

    #[test]
    fn the_longest_block_counts() {
        let addr = |text: &str| Addr::from(text.parse::<std::net::IpAddr>().unwrap());
        let mut image = PolicyImage::default();
        for (text, prefix, class) in [("10.0.0.0", 104, 1), ("10.1.0.0", 112, 2), ("::", 0, 3)] {
            let key = BlockKey { prefix, addr: addr(text) };
            image.apply(&PolicyOp::PutBlock { key, classes: Classes::both(class) }).unwrap();
        }
        let class = |text| image.block(&addr(text)).map(|word| word.classes().even);
        assert_eq!(["10.1.2.3", "10.2.0.1", "11.0.0.1"].map(class), [Some(2), Some(1), Some(3)]);
        assert_eq!(class("2001:db8::1"), Some(3));
    }

    #[test]
    fn full_maps_say_so() {
        let capacities = PolicyCapacities { peers: 1, ..PolicyCapacities::default() };
        let mut image = PolicyImage::with_capacities(capacities);
        let put = |word| PolicyOp::PutPeer { addr: Addr([word; 4]), classes: Classes::both(1) };
        assert_eq!(image.apply(&put(1)), Ok(()));
        assert_eq!(image.apply(&put(2)), Err(KernelError::full(MapName::POLICY_PEERS, 1)));
        let slot = PolicyOp::WritePod { slot: 4_096, record: PodRecord::default() };
        assert!(image.apply(&slot).is_err());
    }
}
