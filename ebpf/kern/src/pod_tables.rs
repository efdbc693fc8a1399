//! The maps of policies as the decisions see them: look-ups by value.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::btf_maps::lpm_trie::Key;
use towpath_datapath::{
    Addr,
    decide::{PodTables, PolicyFlows, PolicyTables},
    policy::{
        BlockWord, DeviceWord, DirectionWord, PeerWord, PodRecord, PolicyConfig, PolicyFlowKey,
        PolicyFlowValue, RowKey, RowWord, port_place,
    },
};

use crate::pod_maps::{
    POLICY_BLOCKS, POLICY_CONFIG, POLICY_DEVICES, POLICY_FLOWS, POLICY_PEERS, POLICY_PODS,
    POLICY_PORTS, POLICY_ROW_INDEX, POLICY_ROWS,
};

/// The maps.
pub struct Kernel;

impl PolicyTables for Kernel {
    #[inline(always)]
    fn pod(&self, slot: u32) -> Option<PodRecord> {
        let record = POLICY_PODS.get_ptr(slot)?;
        // SAFETY: an element of the array. The words are flipped under us: each is read in one piece,
        // once. The rest of a slot in use never changes.
        unsafe {
            Some(PodRecord {
                ingress: DirectionWord(read_volatile(addr_of!((*record).ingress).cast::<u64>())),
                egress: DirectionWord(read_volatile(addr_of!((*record).egress).cast::<u64>())),
                ..*record
            })
        }
    }

    #[inline(always)]
    fn peer(&self, addr: &Addr) -> Option<PeerWord> {
        // SAFETY: copied out in one 64-bit load; the word's check tells a recycled element.
        POLICY_PEERS.get_ptr(addr).map(|word| unsafe { read_volatile(word) })
    }

    #[inline(always)]
    fn block(&self, addr: &Addr) -> Option<BlockWord> {
        // SAFETY: copied out in one 32-bit load. A trie's nodes are replaced, never recycled in place.
        POLICY_BLOCKS.get(&Key::new(128, *addr)).map(|word| unsafe { read_volatile(word) })
    }

    #[inline(always)]
    fn row(&self, key: &RowKey) -> Option<RowWord> {
        // SAFETY: as of peers.
        POLICY_ROW_INDEX.get_ptr(key).map(|word| unsafe { read_volatile(word) })
    }

    #[inline(always)]
    fn row_allows(&self, row: u32, port_class: u16) -> bool {
        let Some(record) = POLICY_ROWS.get_ptr(row) else { return false };
        let at = usize::from(port_class >> 6 & 15);
        // SAFETY: an element of the array; sixteen words each.
        let word = unsafe { read_volatile(record.cast::<u64>().add(at)) };
        word >> (port_class & 63) & 1 != 0
    }

    #[inline(always)]
    fn port_class(&self, number: u8, port: u16) -> u16 {
        let Some((element, quarter)) = port_place(number, port) else { return 0 };
        let Some(classes) = POLICY_PORTS.get_ptr(element) else { return 0 };
        // SAFETY: an element of the array, read in one piece.
        let classes = unsafe { read_volatile(classes) };
        (classes >> (quarter * 16)) as u16
    }
}

impl PolicyFlows for Kernel {
    #[inline(always)]
    fn flow(&self, key: &PolicyFlowKey) -> Option<PolicyFlowValue> {
        // SAFETY: copied out at once; a torn value lives a second shorter or longer.
        unsafe { POLICY_FLOWS.get(key).copied() }
    }

    #[inline(always)]
    fn keep_flow(&self, key: &PolicyFlowKey, value: &PolicyFlowValue) {
        // An LRU has always room.
        let _ = POLICY_FLOWS.insert(key, value, 0);
    }
}

impl PodTables for Kernel {
    #[inline(always)]
    fn device(&self, index: u32) -> Option<DeviceWord> {
        // SAFETY: copied out in one 64-bit load.
        POLICY_DEVICES.get_ptr(&index).map(|word| unsafe { read_volatile(word) })
    }

    #[inline(always)]
    fn config(&self) -> PolicyConfig {
        POLICY_CONFIG.get(0).copied().unwrap_or_default()
    }
}
