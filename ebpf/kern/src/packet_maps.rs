//! The maps that only the packet programs use.

use aya_ebpf::{
    btf_maps::{Array, HashMap, PerCpuArray},
    macros::btf_map,
};
use towpath_datapath::{
    DeviceRecord, PacketCounters,
    decide::flow::Start,
    flow::{FlowEntry, Tuple},
    packet::{Headers, quoted::Quoted},
};

use crate::maps::{GROWING, MAPPED};

#[btf_map]
pub static FLOW_TABLE: HashMap<Tuple, FlowEntry, 1, GROWING> = HashMap::new();
#[btf_map]
pub static DEVICES: HashMap<u32, DeviceRecord, 1, GROWING> = HashMap::new();
#[btf_map]
pub static PACKETS: Array<PacketCounters, 1, MAPPED> = Array::new();

/// What the steps of one run hand on to each other. In a map, because all functions of a run together
/// have 512 bytes of stack.
pub struct Work {
    pub headers: Headers,
    pub start: Start,
    /// Claimed for the source, host order; 0: none.
    pub port: u64,
    pub to: Tuple,
    /// Of an ICMP error: the packet that it is about, and what that becomes. `to` has its own addresses then.
    pub quoted_packet: Quoted,
    pub quoted_to: Tuple,
    /// What an answer says: type, code, and the word that follows the checksum.
    pub kind: u8,
    pub code: u8,
    pub rest: u32,
    /// What is quoted of a packet that is answered, and what is put before it.
    pub quoted: [u32; 15],
    pub front: [u32; 12],
    /// Of the answers that are counted: which second, how many. Kept from run to run.
    pub second: u32,
    pub answers: u32,
}

const WORDS: usize = 80;
const _: () = assert!(size_of::<Work>() <= 8 * WORDS);

/// A program is not interrupted on its CPU by another of these.
#[btf_map]
pub static WORK: PerCpuArray<[u64; WORDS], 1> = PerCpuArray::new();

/// This CPU's. A step writes what a later one reads, before it.
#[inline(always)]
pub fn work() -> Option<*mut Work> {
    WORK.get_ptr_mut(0).map(|words| words.cast())
}
