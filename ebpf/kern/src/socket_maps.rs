//! The maps that only the socket programs use.

use aya_ebpf::{
    btf_maps::{Array, LruHashMap, SkStorage},
    macros::btf_map,
};
use towpath_datapath::{
    ChoiceKey, ChoiceValue, PeerValue, ServiceCounters, SocketRecord, TotalCounters,
};

use crate::maps::MAPPED;

#[btf_map]
pub static COUNTERS: Array<ServiceCounters, 1, MAPPED> = Array::new();
#[btf_map]
pub static TOTALS: Array<TotalCounters, 1, MAPPED> = Array::new();
#[btf_map]
pub static CHOICES: LruHashMap<ChoiceKey, ChoiceValue, 1, 0> = LruHashMap::new();
#[btf_map]
pub static PEERS: LruHashMap<u64, PeerValue, 1, 0> = LruHashMap::new();
#[btf_map]
pub static SOCKETS: SkStorage<SocketRecord> = SkStorage::new();
