//! The maps of services as the decisions see them: look-ups by value.

use core::ptr::{addr_of, read_volatile};

use aya_ebpf::{btf_maps::lpm_trie::Key, helpers::generated::bpf_ktime_get_coarse_ns};
use towpath_datapath::{
    Addr, AffinityKey, AffinityValue, BackendRecord, Beat, ConfigRecord, FrontendKey, FrontendWord,
    NodeAddressValue, ServiceRecord, SetChoice, SetWord,
    decide::{Search, SocketAddress, Tables, alive, contains},
};

use crate::maps::{
    AFFINITY, BACKENDS, CONFIG, FRONTENDS, HEARTBEAT, NODE_ADDRESSES, Range, SERVICES, SOURCE_RANGES,
};

/// The maps.
pub struct Maps;

impl Search for Maps {
    #[inline(always)]
    fn backend(&self, slot: u32) -> Option<BackendRecord> {
        BACKENDS.get(slot).copied()
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        // SAFETY: copied out at once, in one 64-bit load; the word's check tells a recycled element.
        FRONTENDS.get_ptr(key).map(|word| unsafe { read_volatile(word) })
    }

    #[inline(always)]
    fn node_address(&self, addr: &Addr) -> Option<NodeAddressValue> {
        // SAFETY: copied out at once.
        unsafe { NODE_ADDRESSES.get(addr).copied() }
    }

    #[inline(always)]
    fn set_word(&self, service: u32, choice: SetChoice) -> SetWord {
        let Some(record) = SERVICES.get_ptr(service) else { return SetWord(0) };
        // SAFETY: an element of the array. One volatile load: the word is flipped under us, and
        // must be seen whole and once.
        unsafe {
            let sets = addr_of!((*record).sets).cast::<u64>();
            match choice {
                SetChoice::Cluster => SetWord(read_volatile(sets)),
                SetChoice::Local => SetWord(read_volatile(sets.add(1))),
            }
        }
    }

    #[inline(always)]
    fn service(&self, service: u32) -> Option<ServiceRecord> {
        SERVICES.get(service).copied()
    }

    #[inline(always)]
    fn affinity(&self, key: &AffinityKey) -> Option<AffinityValue> {
        // SAFETY: copied out at once.
        unsafe { AFFINITY.get(key).copied() }
    }

    #[inline(always)]
    fn config(&self) -> ConfigRecord {
        CONFIG.get(0).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn beat(&self, slot: usize) -> Beat {
        let Some(record) = HEARTBEAT.get_ptr(0) else { return Beat::default() };
        // SAFETY: the element of the array, and a beat of it (the caller counts to their number). Each word
        // is read in one piece; the daemon stores `since` before `last`.
        unsafe {
            let beat = addr_of!((*record).beats).cast::<Beat>().add(slot);
            let last = read_volatile(addr_of!((*beat).last));
            Beat { last, since: read_volatile(addr_of!((*beat).since)) }
        }
    }

    #[inline(always)]
    fn in_ranges(&self, service: u32, from: &Addr) -> bool {
        SOURCE_RANGES.get(&Key::new(160, Range { service, addr: *from })).is_some()
    }

    #[inline(always)]
    fn nanoseconds(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn own_dns(&self) -> bool {
        own_dns_alive() != 0
    }

    #[inline(always)]
    fn in_set(&self, set: SetWord, wanted: &SocketAddress) -> bool {
        let [a, b, c, d] = wanted.addr.0;
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        set_contains(set.0, pair(a, b), pair(c, d), u64::from(wanted.port)) != 0
    }
}

/// As [`set_contains`]: looked at once by the verifier.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn own_dns_alive() -> u64 {
    u64::from(alive(&Maps))
}

/// BACKENDS alone, for the search.
struct Backends;

impl Search for Backends {
    #[inline(always)]
    fn backend(&self, slot: u32) -> Option<BackendRecord> {
        BACKENDS.get(slot).copied()
    }
}

/// A function with a name in the object and plain numbers as arguments: the verifier looks at it
/// once, for every argument, instead of at every call on every path. It is the difference between
/// 160,000 and a few thousand instructions looked at when sendmsg is loaded.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn set_contains(set: u64, ab: u64, cd: u64, port: u64) -> u64 {
    let addr = Addr([ab as u32, (ab >> 32) as u32, cd as u32, (cd >> 32) as u32]);
    u64::from(contains(&Backends, SetWord(set), &SocketAddress::new(addr, port as u16)))
}
