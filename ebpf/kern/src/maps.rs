//! The maps of services. Sizes here are the smallest legal ones: the loader sets the configured
//! capacities.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap},
    macros::btf_map,
};
use towpath_datapath::{
    Addr, AffinityKey, AffinityValue, BackendRecord, ConfigRecord, FrontendKey, FrontendWord,
    HeartbeatRecord, NodeAddressValue, ServiceRecord,
};

/// BPF_F_NO_PREALLOC: memory follows use.
pub const GROWING: usize = 1;
/// BPF_F_MMAPABLE: the daemon writes without system calls.
pub const MAPPED: usize = 1 << 10;

#[btf_map]
pub static FRONTENDS: HashMap<FrontendKey, FrontendWord, 1, GROWING> = HashMap::new();
#[btf_map]
pub static NODE_ADDRESSES: HashMap<Addr, NodeAddressValue, 1, GROWING> = HashMap::new();
#[btf_map]
pub static SERVICES: Array<ServiceRecord, 1, MAPPED> = Array::new();
#[btf_map]
pub static BACKENDS: Array<BackendRecord, 1, MAPPED> = Array::new();
#[btf_map]
pub static CONFIG: Array<ConfigRecord, 1, MAPPED> = Array::new();
#[btf_map]
pub static HEARTBEAT: Array<HeartbeatRecord, 1, MAPPED> = Array::new();
/// What of a [`towpath_datapath::RangeKey`] follows its prefix length.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Range {
    pub service: u32,
    pub addr: Addr,
}
#[btf_map]
pub static SOURCE_RANGES: LpmTrie<Range, u32, 1> = LpmTrie::new();
#[btf_map]
pub static AFFINITY: LruHashMap<AffinityKey, AffinityValue, 1, 0> = LruHashMap::new();
