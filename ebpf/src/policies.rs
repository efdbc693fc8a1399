//! The maps of policies.

use std::{
    mem::offset_of,
    sync::atomic::{Ordering, fence},
};

use towpath_image::{
    KernelError, MapName, PolicyCapacities, PolicyImage, PolicyOp, PortTable,
    datapath::{
        Addr,
        policy::{
            BlockKey, BlockWord, DeviceWord, Direction, PORT_ELEMENTS, PeerWord, PodRecord,
            PolicyConfig, PolicyCounters, RowKey, RowRecord, RowWord,
        },
    },
};

use crate::{
    live::{AreaMaps, LiveImage, LiveMaps},
    mapped::Mapped,
    maps::Hash,
    table::Table,
    tables,
};

/// Elements written with one system call at most.
const RUN: usize = 8192;

/// The maps of policies, open.
#[derive(Debug)]
pub struct PolicyMaps {
    pods: Mapped<PodRecord>,
    devices: Hash<u32, DeviceWord>,
    peers: Hash<Addr, PeerWord>,
    blocks: Hash<BlockKey, BlockWord>,
    row_index: Hash<RowKey, RowWord>,
    rows: Mapped<RowRecord>,
    ports: Mapped<u64>,
    config: Mapped<PolicyConfig>,
    counters: Mapped<PolicyCounters>,
}

impl LiveImage for PolicyImage {
    const TABLE: Table = tables::POLICY;
    type Maps = PolicyMaps;

    fn open(maps: &AreaMaps<'_>) -> Result<PolicyMaps, KernelError> {
        Ok(PolicyMaps {
            pods: maps.map(MapName::POLICY_PODS)?.array()?,
            devices: maps.map(MapName::POLICY_DEVICES)?.hash()?,
            peers: maps.map(MapName::POLICY_PEERS)?.hash()?,
            blocks: maps.map(MapName::POLICY_BLOCKS)?.hash()?,
            row_index: maps.map(MapName::POLICY_ROW_INDEX)?.hash()?,
            rows: maps.map(MapName::POLICY_ROWS)?.array()?,
            ports: maps.map(MapName::POLICY_PORTS)?.array()?,
            config: maps.map(MapName::POLICY_CONFIG)?.array()?,
            counters: maps.map(MapName::POLICY_COUNTERS)?.array()?,
        })
    }

    fn read(maps: &PolicyMaps) -> Result<Self, KernelError> {
        let mut image = Self::with_capacities(PolicyCapacities {
            pods: maps.pods.len(),
            peers: maps.peers.capacity(),
            blocks: maps.blocks.capacity(),
            row_index: maps.row_index.capacity(),
            rows: maps.rows.len(),
        });
        let pods = (0..maps.pods.len()).filter_map(|slot| Some((slot, maps.pods.get(slot)?)));
        image.pods = pods.filter(|(_, pod)| pod.identity != 0).collect();
        image.devices = maps.devices.all()?.into_iter().collect();
        let peers = maps.peers.all()?.into_iter();
        image.peers = peers.map(|(addr, word)| (addr, word.classes())).collect();
        let blocks = maps.blocks.all()?.into_iter();
        image.blocks = blocks.map(|(key, word)| (key, word.classes())).collect();
        let rows = maps.row_index.all()?.into_iter();
        image.row_index = rows.map(|(key, word)| (key, word.row())).collect();
        let rows = (0..maps.rows.len()).filter_map(|row| Some((row, maps.rows.get(row)?)));
        image.rows = rows.filter(|(_, record)| *record != RowRecord::default()).collect();
        image.ports = maps.port_table();
        image.config = maps.config.get(0).unwrap_or_default();
        Ok(image)
    }

    fn write(maps: &PolicyMaps, ops: &[PolicyOp]) -> (usize, Option<KernelError>) {
        let (addresses, words) = peer_run(ops);
        if !addresses.is_empty() {
            return maps.peers.put(&addresses, &words);
        }
        let carried = ops.first().map_or(Ok(()), |op| maps.carry_out(op));
        carried.map_or_else(|failure| (0, Some(failure)), |()| (1, None))
    }
}

impl PolicyMaps {
    fn carry_out(&self, op: &PolicyOp) -> Result<(), KernelError> {
        let done = |put: (usize, Option<KernelError>)| put.1.map_or(Ok(()), Err);
        match op {
            PolicyOp::WriteRow { row, record } => {
                let full = || KernelError::full(MapName::POLICY_ROWS, self.rows.len());
                self.write_row(*row, record).then_some(()).ok_or_else(full)
            }
            PolicyOp::PutRow { key, row } => {
                done(self.row_index.put(&[*key], &[RowWord::new(*key, *row)]))
            }
            PolicyOp::DeleteRow { key } => self.row_index.delete(key),
            PolicyOp::PutPeer { addr, classes } => {
                done(self.peers.put(&[*addr], &[PeerWord::new(addr, *classes)]))
            }
            PolicyOp::DeletePeer { addr } => self.peers.delete(addr),
            PolicyOp::PutBlock { key, classes } => {
                done(self.blocks.put(&[*key], &[BlockWord::new(*classes)]))
            }
            PolicyOp::DeleteBlock { key } => self.blocks.delete(key),
            PolicyOp::SetPorts { first, last, class } => {
                self.set_ports(*first, *last, *class);
                Ok(())
            }
            PolicyOp::WritePod { slot, record } => self.write_pod(*slot, record),
            PolicyOp::StoreDirection { slot, direction, word } => {
                let byte = match direction {
                    Direction::Ingress => offset_of!(PodRecord, ingress),
                    Direction::Egress => offset_of!(PodRecord, egress),
                };
                // An unused slot has no words: a writer that asks has lost count (as the fake says, too).
                let used = self.pods.get(*slot).is_some_and(|pod| pod.identity != 0);
                let stored = used && self.pods.store_word(*slot, byte, word.0);
                stored.then_some(()).ok_or_else(|| self.no_slot())
            }
            PolicyOp::PutDevice { device, word } => done(self.devices.put(&[*device], &[*word])),
            PolicyOp::DeleteDevice { device } => self.devices.delete(device),
            PolicyOp::SetConfig { config } => {
                self.config.store_word(0, offset_of!(PolicyConfig, flags), config.flags);
                Ok(())
            }
        }
    }

    /// Word by word: programs may read a row that gains bits for ports that none has yet.
    fn write_row(&self, row: u32, record: &RowRecord) -> bool {
        let words = record.words.iter().enumerate();
        words.fold(true, |fits, (at, word)| self.rows.store_word(row, at * 8, *word) && fits)
    }

    /// The identity goes first and comes last: a daemon that dies half way leaves an unused slot.
    fn write_pod(&self, slot: u32, record: &PodRecord) -> Result<(), KernelError> {
        let byte = offset_of!(PodRecord, identity);
        if !self.pods.store_word(slot, byte, 0) {
            return Err(self.no_slot());
        }
        fence(Ordering::Release);
        self.pods.set(slot, PodRecord { identity: 0, ..*record });
        self.pods.store_word(slot, byte, record.identity);
        Ok(())
    }

    /// Four classes at a time; a word at an end keeps those of its other ports.
    fn set_ports(&self, first: u32, last: u32, class: u16) {
        let last = last.min(PortTable::LENGTH - 1);
        for element in first / 4..=last / 4 {
            let mut word = self.ports.get(element).unwrap_or_default();
            for quarter in 0..4 {
                if (first..=last).contains(&(element * 4 + quarter)) {
                    word &= !(0xffff << (quarter * 16));
                    word |= u64::from(class) << (quarter * 16);
                }
            }
            self.ports.store_word(element, 0, word);
        }
    }

    fn port_table(&self) -> PortTable {
        let mut table = PortTable::default();
        let (mut first, mut current) = (0, 0);
        for place in 0..PORT_ELEMENTS * 4 {
            let word = self.ports.get(place / 4).unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, reason = "one of four")]
            let class = (word >> (place % 4 * 16)) as u16;
            if class != current {
                if place > first {
                    table.set(first, place - 1, current);
                }
                (first, current) = (place, class);
            }
        }
        table.set(first, PortTable::LENGTH - 1, current);
        table
    }

    const fn no_slot(&self) -> KernelError {
        KernelError::full(MapName::POLICY_PODS, self.pods.len())
    }
}

/// The puts of peers that `ops` begins with.
fn peer_run(ops: &[PolicyOp]) -> (Vec<Addr>, Vec<PeerWord>) {
    let puts = ops.iter().take(RUN).map_while(|op| match op {
        PolicyOp::PutPeer { addr, classes } => Some((*addr, PeerWord::new(addr, *classes))),
        _ => None,
    });
    puts.unzip()
}

impl LiveMaps<PolicyImage> {
    /// What did not pass so far.
    #[must_use]
    pub fn counters(&self) -> PolicyCounters {
        self.maps().counters.get(0).unwrap_or_default()
    }
}
