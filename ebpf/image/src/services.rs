//! The maps that services are in, as a value.

use std::collections::{BTreeMap, BTreeSet};

use towpath_datapath::{
    Addr, BackendRecord, ConfigRecord, FrontendKey, FrontendWord, NodeAddressValue, RangeKey,
    ServiceRecord, SetChoice, SetWord,
};

use crate::{Image, KernelError, MapName};

impl MapName {
    /// (address, port, protocol) to service index.
    pub const FRONTENDS: Self = Self::new("FRONTENDS");
    /// Records with their sets.
    pub const SERVICES: Self = Self::new("SERVICES");
    /// Endpoints; a set is a run of them.
    pub const BACKENDS: Self = Self::new("BACKENDS");
    /// Addresses of nodes.
    pub const NODE_ADDRESSES: Self = Self::new("NODE_ADDRESSES");
    /// One record that says whose maps these are, and what is served.
    pub const CONFIG: Self = Self::new("CONFIG");
    /// From where services may be reached by frontends that have source ranges.
    pub const SOURCE_RANGES: Self = Self::new("SOURCE_RANGES");
    /// Counters of each service index.
    pub const COUNTERS: Self = Self::new("COUNTERS");
    /// Counters that belong to no single service.
    pub const TOTALS: Self = Self::new("TOTALS");
    /// Which endpoint a client keeps.
    pub const AFFINITY: Self = Self::new("AFFINITY");
    /// What unconnected UDP sockets have chosen, in both directions.
    pub const CHOICES: Self = Self::new("CHOICES");
    /// Where connected UDP sockets were sent.
    pub const PEERS: Self = Self::new("PEERS");
    /// HEARTBEAT.
    pub const HEARTBEAT: Self = Self::new("HEARTBEAT");
    /// What a socket's own storage holds.
    pub const SOCKETS: Self = Self::new("SOCKETS");
}

/// How many elements each map holds. Fixed when a map is created, shown by `status`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacities {
    /// FRONTENDS.
    pub frontends: u32,
    /// SERVICES (and COUNTERS). At most [`FrontendWord::SERVICES_MAX`].
    pub services: u32,
    /// BACKENDS.
    pub backends: u32,
    /// NODE_ADDRESSES.
    pub node_addresses: u32,
}

impl Default for Capacities {
    /// Enough for 10,000 services with 100,000 endpoints, twice over.
    fn default() -> Self {
        Self { frontends: 131_072, services: 65_536, backends: 262_144, node_addresses: 65_536 }
    }
}

/// Blocks that SOURCE_RANGES has room for, each port of a Service with its own. Memory follows use.
pub const SOURCE_RANGES_MAX: u32 = 262_144;

/// Everything that decides where a new flow goes. State that the kernel owns (affinity, flows,
/// counters) is not part of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceImage {
    /// Sizes of the maps this image lives in.
    pub capacities: Capacities,
    /// FRONTENDS.
    pub frontends: BTreeMap<FrontendKey, FrontendWord>,
    /// SERVICES: used indices only.
    pub services: BTreeMap<u32, ServiceRecord>,
    /// BACKENDS: slots from 0 to the highest one ever written; unused ones are whatever they were.
    pub backends: Vec<BackendRecord>,
    /// NODE_ADDRESSES.
    pub node_addresses: BTreeMap<Addr, NodeAddressValue>,
    /// SOURCE_RANGES.
    pub source_ranges: BTreeSet<RangeKey>,
    /// CONFIG, which is the programs': only read.
    pub config: ConfigRecord,
}

/// One write. Deleting what is absent is a success.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServiceOp {
    /// Fill slots that no set word in force points at.
    WriteBackends {
        /// First slot.
        base: u32,
        /// Their content.
        records: Vec<BackendRecord>,
    },
    /// Fill an index that no frontend in force points at (identity 0 marks it unused again).
    WriteService {
        /// Index.
        index: u32,
        /// Content.
        record: ServiceRecord,
    },
    /// The atomic flip of one set: a single 64-bit release store.
    StoreSet {
        /// Index of a used service.
        index: u32,
        /// Which set.
        choice: SetChoice,
        /// Its new word.
        word: SetWord,
    },
    /// Insert or replace, atomically.
    PutFrontend {
        /// Key.
        key: FrontendKey,
        /// Value.
        word: FrontendWord,
    },
    /// Remove.
    DeleteFrontend {
        /// Key.
        key: FrontendKey,
    },
    /// Insert or replace.
    PutNodeAddress {
        /// Key.
        addr: Addr,
        /// Value.
        value: NodeAddressValue,
    },
    /// Remove.
    DeleteNodeAddress {
        /// Key.
        addr: Addr,
    },
    /// A block of an index that no frontend in force points at.
    PutRange {
        /// Index, and block.
        key: RangeKey,
    },
    /// Remove.
    DeleteRange {
        /// Index, and block.
        key: RangeKey,
    },
}

impl ServiceImage {
    /// An empty image of these sizes.
    #[must_use]
    pub fn with_capacities(capacities: Capacities) -> Self {
        Self { capacities, ..Self::default() }
    }

    /// The blocks of an index.
    pub fn ranges(&self, service: u32) -> impl Iterator<Item = &RangeKey> {
        let first = RangeKey { prefix: 0, service, addr: Addr([0; 4]) };
        self.source_ranges.range(first..).take_while(move |key| key.service == service)
    }

    /// May a client with this address come in by a frontend that has source ranges?
    #[must_use]
    pub fn in_ranges(&self, service: u32, from: &Addr) -> bool {
        self.ranges(service).any(|key| key.contains(service, from))
    }

    /// The backends of a set word; empty for an empty or an impossible word.
    #[must_use]
    pub fn extent(&self, word: SetWord) -> &[BackendRecord] {
        let base = word.base() as usize;
        if word.count() == 0 {
            return &[];
        }
        self.backends.get(base..base + usize::from(word.count())).unwrap_or(&[])
    }
}

impl Image for ServiceImage {
    type Op = ServiceOp;

    fn apply(&mut self, op: &ServiceOp) -> Result<(), KernelError> {
        let caps = self.capacities;
        match op {
            ServiceOp::WriteBackends { base, records } => {
                let end = *base as usize + records.len();
                if end > caps.backends as usize {
                    return Err(KernelError::full(MapName::BACKENDS, caps.backends));
                }
                if self.backends.len() < end {
                    self.backends.resize(end, BackendRecord::default());
                }
                self.backends[*base as usize..end].copy_from_slice(records);
            }
            ServiceOp::WriteService { index, record } => {
                if *index >= caps.services {
                    return Err(KernelError::full(MapName::SERVICES, caps.services));
                }
                if record.identity == 0 {
                    self.services.remove(index);
                } else {
                    self.services.insert(*index, *record);
                }
            }
            ServiceOp::StoreSet { index, choice, word } => {
                let record = self
                    .services
                    .get_mut(index)
                    .ok_or_else(|| KernelError::full(MapName::SERVICES, caps.services))?;
                record.sets[*choice as usize] = *word;
            }
            ServiceOp::PutFrontend { key, word } => {
                put(&mut self.frontends, MapName::FRONTENDS, caps.frontends, *key, *word)?;
            }
            ServiceOp::DeleteFrontend { key } => {
                self.frontends.remove(key);
            }
            ServiceOp::PutNodeAddress { addr, value } => {
                let max = caps.node_addresses;
                put(&mut self.node_addresses, MapName::NODE_ADDRESSES, max, *addr, *value)?;
            }
            ServiceOp::DeleteNodeAddress { addr } => {
                self.node_addresses.remove(addr);
            }
            ServiceOp::PutRange { key } => {
                let full = self.source_ranges.len() >= SOURCE_RANGES_MAX as usize;
                if full && !self.source_ranges.contains(key) {
                    return Err(KernelError::full(MapName::SOURCE_RANGES, SOURCE_RANGES_MAX));
                }
                self.source_ranges.insert(*key);
            }
            ServiceOp::DeleteRange { key } => {
                self.source_ranges.remove(key);
            }
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
