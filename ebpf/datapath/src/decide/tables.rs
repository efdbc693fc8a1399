//! What the decisions need of the maps. The kernel wraps aya's maps, tests wrap ordinary ones.

use crate::{
    addr::Addr,
    decide::{SocketAddress, alive, contains},
    keys::{AffinityKey, ChoiceKey, FrontendKey},
    records::{
        AffinityValue, BackendRecord, Beat, ChoiceValue, ConfigRecord, NodeAddressValue,
        ServiceRecord, SocketRecord,
    },
    words::{FrontendWord, SetChoice, SetWord},
};

/// The backends, by slot.
pub trait Search {
    /// BACKENDS.
    fn backend(&self, slot: u32) -> Option<BackendRecord>;
}

/// Look-ups, by value.
pub trait Tables: Search {
    /// FRONTENDS.
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord>;
    /// NODE_ADDRESSES.
    fn node_address(&self, addr: &Addr) -> Option<NodeAddressValue>;
    /// One set word of SERVICES, read in one piece, once. Empty (refuse) when out of range.
    fn set_word(&self, service: u32, choice: SetChoice) -> SetWord;
    /// The fixed part of SERVICES: identity, flags, affinity seconds. Its set words are not used.
    fn service(&self, service: u32) -> Option<ServiceRecord>;
    /// AFFINITY.
    fn affinity(&self, key: &AffinityKey) -> Option<AffinityValue>;
    /// CONFIG.
    fn config(&self) -> ConfigRecord;
    /// A beat of HEARTBEAT, by its place. Where there is no such map nothing beats.
    fn beat(&self, _slot: usize) -> Beat {
        Beat::default()
    }
    /// SOURCE_RANGES: may a client with this address come in by a frontend of the service that has ranges?
    /// Where there is no such map none may.
    fn in_ranges(&self, _service: u32, _from: &Addr) -> bool {
        false
    }
    /// CLOCK_MONOTONIC, which beats are measured by.
    fn nanoseconds(&self) -> u64 {
        0
    }
    /// Does this node's own DNS server serve? The same answer as [`alive`]; as with [`Self::in_set`], the
    /// kernel verifies it once.
    #[inline(always)]
    fn own_dns(&self) -> bool
    where
        Self: Sized,
    {
        alive(self)
    }
    /// Is this backend in the set? The same answer as [`contains`], which is all that an
    /// implementation may do; it exists so that the kernel can verify the search once, as a function
    /// of its own, and not again at every place and on every path that asks.
    #[inline(always)]
    fn in_set(&self, set: SetWord, wanted: &SocketAddress) -> bool
    where
        Self: Sized,
    {
        contains(self, set, wanted)
    }
}

/// Something beside the same tables: the socket or the packet at hand.
pub trait Beside {
    /// The tables.
    type Tables: Tables;
    /// The tables.
    fn tables(&self) -> &Self::Tables;
}

impl<T: Beside> Search for T {
    #[inline(always)]
    fn backend(&self, slot: u32) -> Option<BackendRecord> {
        self.tables().backend(slot)
    }
}

impl<T: Beside> Tables for T {
    #[inline(always)]
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        self.tables().frontend(key)
    }
    #[inline(always)]
    fn node_address(&self, addr: &Addr) -> Option<NodeAddressValue> {
        self.tables().node_address(addr)
    }
    #[inline(always)]
    fn set_word(&self, service: u32, choice: SetChoice) -> SetWord {
        self.tables().set_word(service, choice)
    }
    #[inline(always)]
    fn service(&self, service: u32) -> Option<ServiceRecord> {
        self.tables().service(service)
    }
    #[inline(always)]
    fn affinity(&self, key: &AffinityKey) -> Option<AffinityValue> {
        self.tables().affinity(key)
    }
    #[inline(always)]
    fn config(&self) -> ConfigRecord {
        self.tables().config()
    }
    #[inline(always)]
    fn beat(&self, slot: usize) -> Beat {
        self.tables().beat(slot)
    }
    #[inline(always)]
    fn in_ranges(&self, service: u32, from: &Addr) -> bool {
        self.tables().in_ranges(service, from)
    }
    #[inline(always)]
    fn nanoseconds(&self) -> u64 {
        self.tables().nanoseconds()
    }
    #[inline(always)]
    fn own_dns(&self) -> bool {
        self.tables().own_dns()
    }
    #[inline(always)]
    fn in_set(&self, set: SetWord, wanted: &SocketAddress) -> bool {
        self.tables().in_set(set, wanted)
    }
}

/// What a counter counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Count {
    /// `ServiceCounters::translated`
    Translated,
    /// `ServiceCounters::refused`
    Refused,
    /// `ServiceCounters::no_local`
    NoLocal,
    /// `ServiceCounters::untranslated`
    Untranslated,
}

/// State that the kernel owns, and the socket at hand.
pub trait TableMut: Tables {
    /// Remembers a client's backend.
    fn keep_affinity(&self, key: &AffinityKey, value: &AffinityValue);
    /// CHOICES.
    fn choice(&self, key: &ChoiceKey) -> Option<ChoiceValue>;
    /// CHOICES, insert or replace.
    fn keep_choice(&self, key: &ChoiceKey, value: &ChoiceValue);
    /// The record of this socket; all zero when there is none.
    fn record(&self) -> SocketRecord;
    /// Replaces the record of this socket; false when there is no memory.
    fn keep_record(&self, record: &SocketRecord) -> bool;
    /// Removes the record of this socket, if any.
    fn drop_record(&self);
    /// PEERS: this (connected UDP) socket was sent to this backend.
    fn note_peer(&self, socket: u64, backend: &SocketAddress);
    /// PEERS: this socket is no longer where it was sent to, if it ever was.
    fn forget_peer(&self, socket: u64);
    /// Who this socket is connected to now; port 0 when it is not.
    fn peer(&self) -> SocketAddress;
    /// Adds one to a counter of a service.
    fn count(&self, service: u32, what: Count);
    /// Adds one to `TotalCounters::unknown_port`.
    fn count_unknown_port(&self);
    /// Adds one to `TotalCounters::choices_evicted`.
    fn count_evicted(&self);
    /// Adds one to `TotalCounters::untracked`.
    fn count_untracked(&self);
}
