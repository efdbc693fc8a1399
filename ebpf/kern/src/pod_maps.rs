//! The maps of policies. Sizes here are the smallest legal ones: the loader sets the configured
//! capacities.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap},
    macros::btf_map,
};
use towpath_datapath::{
    Addr,
    policy::{
        BlockWord, DeviceWord, PeerWord, PodRecord, PolicyConfig, PolicyCounters, PolicyFlowKey,
        PolicyFlowValue, RowKey, RowRecord, RowWord,
    },
};

/// BPF_F_NO_PREALLOC: memory follows use.
const GROWING: usize = 1;
/// BPF_F_MMAPABLE: the daemon writes without system calls.
const MAPPED: usize = 1 << 10;

#[btf_map]
pub static POLICY_PODS: Array<PodRecord, 1, MAPPED> = Array::new();
#[btf_map]
pub static POLICY_DEVICES: HashMap<u32, DeviceWord, 1, GROWING> = HashMap::new();
#[btf_map]
pub static POLICY_PEERS: HashMap<Addr, PeerWord, 1, GROWING> = HashMap::new();
#[btf_map]
pub static POLICY_BLOCKS: LpmTrie<Addr, BlockWord, 1> = LpmTrie::new();
#[btf_map]
pub static POLICY_ROW_INDEX: HashMap<RowKey, RowWord, 1, GROWING> = HashMap::new();
#[btf_map]
pub static POLICY_ROWS: Array<RowRecord, 1, MAPPED> = Array::new();
#[btf_map]
pub static POLICY_PORTS: Array<u64, 1, MAPPED> = Array::new();
#[btf_map]
pub static POLICY_FLOWS: LruHashMap<PolicyFlowKey, PolicyFlowValue, 1, 0> = LruHashMap::new();
#[btf_map]
pub static POLICY_CONFIG: Array<PolicyConfig, 1, MAPPED> = Array::new();
#[btf_map]
pub static POLICY_COUNTERS: Array<PolicyCounters, 1, MAPPED> = Array::new();
