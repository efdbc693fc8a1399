//! The tables as ordinary maps, and a small cluster in them.
#![allow(dead_code, reason = "not every test binary uses every word")]

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use towpath_datapath::{
    Addr, AffinityKey, AffinityValue, BackendRecord, Beat, ChoiceKey, ChoiceValue, ConfigRecord,
    FrontendKey, FrontendWord, NodeAddressValue, RangeKey, ServiceCounters, ServiceRecord,
    SetChoice, SetWord, SocketRecord, TotalCounters,
    decide::{
        Call, Count, Request, Search, SocketAddress, TableMut, Tables,
        flow::Flows,
        node::Pods,
        packets::{PacketTables, Tally},
    },
    flow::{FlowEntry, Tuple},
    protocol,
};

pub(crate) const HOST: u64 = 1;
pub(crate) const POD: u64 = 4711;
/// The endpoint that is on this node.
pub(crate) const HERE: &str = "10.1.0.1";
/// The addresses of the device that leads elsewhere.
pub(crate) const DEVICE: [&str; 2] = ["192.0.2.1", "2001:db8:2::1"];

/// What the kernel's maps hold, one socket included.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) frontends: BTreeMap<FrontendKey, FrontendWord>,
    pub(crate) nodes: BTreeMap<Addr, NodeAddressValue>,
    pub(crate) services: BTreeMap<u32, ServiceRecord>,
    pub(crate) backends: Vec<BackendRecord>,
    pub(crate) ranges: BTreeSet<RangeKey>,
    pub(crate) config: ConfigRecord,
    pub(crate) affinity: RefCell<BTreeMap<AffinityKey, AffinityValue>>,
    pub(crate) choices: RefCell<BTreeMap<ChoiceKey, ChoiceValue>>,
    pub(crate) record: Cell<SocketRecord>,
    pub(crate) peer: Cell<SocketAddress>,
    pub(crate) peers: RefCell<BTreeMap<u64, SocketAddress>>,
    pub(crate) counters: RefCell<BTreeMap<u32, ServiceCounters>>,
    pub(crate) totals: Cell<TotalCounters>,
    /// Frontend look-ups that still answer with a word of another key.
    pub(crate) recycled: Cell<u32>,
    pub(crate) flows: Table,
    pub(crate) tallies: RefCell<Vec<Tally>>,
    /// HEARTBEAT, and the clock.
    pub(crate) beats: Cell<[Beat; 8]>,
    pub(crate) nanoseconds: Cell<u64>,
    /// Socket storage finds no memory.
    pub(crate) no_memory: Cell<bool>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            config: ConfigRecord { host_netns: HOST, ..ConfigRecord::default() },
            ..Self::default()
        }
    }

    /// Appends a sorted extent; its set word.
    pub(crate) fn extent(&mut self, backends: &[SocketAddress], epoch: u16) -> SetWord {
        let base = u32::try_from(self.backends.len()).unwrap();
        let mut sorted: Vec<_> =
            backends.iter().map(|b| BackendRecord::new(b.addr, u16::from_be(b.port))).collect();
        sorted.sort_by_key(BackendRecord::order);
        sorted.dedup();
        self.backends.extend(&sorted);
        SetWord::new(base, u16::try_from(sorted.len()).unwrap(), epoch)
    }

    pub(crate) fn service(&mut self, index: u32, cluster: SetWord, local: SetWord) {
        let identity = u64::from(index) + 100;
        let record = ServiceRecord { identity, sets: [cluster, local], ..ServiceRecord::default() };
        self.services.insert(index, record);
    }

    pub(crate) fn frontend(&mut self, key: FrontendKey, service: u32, flags: u8) {
        self.frontends.insert(key, FrontendWord::new(&key, service, flags));
    }

    pub(crate) fn node(&mut self, ip: &str, node: u64, flags: u32) {
        self.nodes.insert(addr(ip), NodeAddressValue { node, flags, reserved: 0 });
    }

    pub(crate) fn counter(&self, service: u32) -> ServiceCounters {
        self.counters.borrow().get(&service).copied().unwrap_or_default()
    }

    pub(crate) fn members(&self, word: SetWord) -> Vec<SocketAddress> {
        let base = word.base() as usize;
        let extent = &self.backends[base..base + usize::from(word.count())];
        extent.iter().map(|backend| SocketAddress::from(*backend)).collect()
    }
}

pub(crate) fn addr(ip: &str) -> Addr {
    ip.parse::<IpAddr>().unwrap().into()
}

pub(crate) fn at(ip: &str, port: u16) -> SocketAddress {
    SocketAddress::new(addr(ip), port.to_be())
}

pub(crate) fn tcp(ip: &str, port: u16) -> Request {
    let to = at(ip, port);
    let from = to.addr.any_of_family();
    Request { call: Call::Connect, protocol: protocol::TCP, to, from, netns: POD, socket: 7 }
}

pub(crate) fn udp(call: Call, ip: &str, port: u16) -> Request {
    Request { call, protocol: protocol::UDP, ..tcp(ip, port) }
}

impl Search for World {
    fn backend(&self, slot: u32) -> Option<BackendRecord> {
        self.backends.get(slot as usize).copied()
    }
}

impl Tables for World {
    fn frontend(&self, key: &FrontendKey) -> Option<FrontendWord> {
        if self.recycled.get() > 0 {
            self.recycled.set(self.recycled.get() - 1);
            let other = FrontendKey::guard(Addr([9; 4]));
            return Some(FrontendWord::new(&other, 77, 0));
        }
        self.frontends.get(key).copied()
    }
    fn node_address(&self, addr: &Addr) -> Option<NodeAddressValue> {
        self.nodes.get(addr).copied()
    }
    fn set_word(&self, service: u32, choice: SetChoice) -> SetWord {
        self.services.get(&service).map_or(SetWord(0), |record| record.set(choice))
    }
    fn service(&self, service: u32) -> Option<ServiceRecord> {
        self.services.get(&service).copied()
    }
    fn affinity(&self, key: &AffinityKey) -> Option<AffinityValue> {
        self.affinity.borrow().get(key).copied()
    }
    fn config(&self) -> ConfigRecord {
        self.config
    }
    fn in_ranges(&self, service: u32, from: &Addr) -> bool {
        self.ranges.iter().any(|range| range.contains(service, from))
    }
    fn beat(&self, slot: usize) -> Beat {
        self.beats.get()[slot]
    }
    fn nanoseconds(&self) -> u64 {
        self.nanoseconds.get()
    }
}

impl TableMut for World {
    fn keep_affinity(&self, key: &AffinityKey, value: &AffinityValue) {
        self.affinity.borrow_mut().insert(*key, *value);
    }
    fn choice(&self, key: &ChoiceKey) -> Option<ChoiceValue> {
        self.choices.borrow().get(key).copied()
    }
    fn keep_choice(&self, key: &ChoiceKey, value: &ChoiceValue) {
        self.choices.borrow_mut().insert(*key, *value);
    }
    fn record(&self) -> SocketRecord {
        self.record.get()
    }
    fn keep_record(&self, record: &SocketRecord) -> bool {
        if !self.no_memory.get() {
            assert!(self.record.get().is_none(), "a record is never changed in place");
            self.record.set(*record);
        }
        !self.no_memory.get()
    }
    fn drop_record(&self) {
        self.record.set(SocketRecord::default());
    }
    fn note_peer(&self, socket: u64, backend: &SocketAddress) {
        self.peers.borrow_mut().insert(socket, *backend);
    }
    fn forget_peer(&self, socket: u64) {
        self.peers.borrow_mut().remove(&socket);
    }
    fn peer(&self) -> SocketAddress {
        self.peer.get()
    }
    fn count(&self, service: u32, what: Count) {
        let mut counters = self.counters.borrow_mut();
        let counters = counters.entry(service).or_default();
        match what {
            Count::Translated => counters.translated += 1,
            Count::Refused => counters.refused += 1,
            Count::NoLocal => counters.no_local += 1,
            Count::Untranslated => counters.untranslated += 1,
        }
    }
    fn count_unknown_port(&self) {
        let totals = self.totals.get();
        self.totals.set(TotalCounters { unknown_port: totals.unknown_port + 1, ..totals });
    }
    fn count_evicted(&self) {
        let totals = self.totals.get();
        self.totals.set(TotalCounters { choices_evicted: totals.choices_evicted + 1, ..totals });
    }
    fn count_untracked(&self) {
        let totals = self.totals.get();
        self.totals.set(TotalCounters { untracked: totals.untracked + 1, ..totals });
    }
}

/// The flow table.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) entries: RefCell<BTreeMap<Tuple, FlowEntry>>,
    /// Room for so many.
    pub(crate) room: Cell<Option<usize>>,
    /// What another CPU writes between a look-up and what follows from it, once.
    pub(crate) meanwhile: Cell<Option<(Tuple, FlowEntry)>>,
}

impl Table {
    fn full(&self, key: &Tuple) -> bool {
        let entries = self.entries.borrow();
        !entries.contains_key(key) && self.room.get().is_some_and(|room| entries.len() >= room)
    }
}

impl Flows for Table {
    fn flow(&self, key: &Tuple) -> Option<FlowEntry> {
        let found = self.entries.borrow().get(key).copied();
        if let Some((other, entry)) = self.meanwhile.take() {
            if other == *key {
                self.entries.borrow_mut().insert(other, entry);
            } else {
                self.meanwhile.set(Some((other, entry)));
            }
        }
        found
    }
    fn insert_flow(&self, key: &Tuple, entry: &FlowEntry) -> bool {
        if self.full(key) || self.entries.borrow().contains_key(key) {
            return false;
        }
        self.entries.borrow_mut().insert(*key, *entry).is_none()
    }
    fn replace_flow(&self, key: &Tuple, entry: &FlowEntry) -> bool {
        let room = !self.full(key);
        if room {
            self.entries.borrow_mut().insert(*key, *entry);
        }
        room
    }
    fn take_over(&self, key: &Tuple, found: &FlowEntry, entry: &FlowEntry) -> bool {
        if found.used == entry.used {
            return false;
        }
        match self.entries.borrow_mut().get_mut(key) {
            Some(held) if held.stamp() != found.stamp() => false,
            Some(held) => {
                *held = *entry;
                true
            }
            None => self.insert_flow(key, entry),
        }
    }
    fn remove_flow(&self, key: &Tuple) {
        self.entries.borrow_mut().remove(key);
    }
}

impl Flows for World {
    fn flow(&self, key: &Tuple) -> Option<FlowEntry> {
        self.flows.flow(key)
    }
    fn insert_flow(&self, key: &Tuple, entry: &FlowEntry) -> bool {
        self.flows.insert_flow(key, entry)
    }
    fn replace_flow(&self, key: &Tuple, entry: &FlowEntry) -> bool {
        self.flows.replace_flow(key, entry)
    }
    fn take_over(&self, key: &Tuple, found: &FlowEntry, entry: &FlowEntry) -> bool {
        self.flows.take_over(key, found, entry)
    }
    fn remove_flow(&self, key: &Tuple) {
        self.flows.remove_flow(key);
    }
}

impl Pods for World {
    fn is_here(&self, wanted: &Addr) -> bool {
        *wanted == addr(HERE)
    }
}

impl PacketTables for World {
    fn source_for(&self, to: &Addr) -> Addr {
        addr(DEVICE[usize::from(!to.is_v4())])
    }
    fn keep_client(&self, key: &AffinityKey, value: &AffinityValue) {
        self.affinity.borrow_mut().insert(*key, *value);
    }
    fn tally(&self, what: Tally) {
        self.tallies.borrow_mut().push(what);
    }
}
