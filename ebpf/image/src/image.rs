//! What the maps hold, as a value.

use std::collections::BTreeMap;

use towpath_datapath::{
    Addr, BackendRecord, ConfigRecord, FrontendKey, FrontendWord, NodeAddressValue, ServiceRecord,
};

use crate::{
    batch::Op,
    kernel::{KernelError, MapName},
};

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

/// Everything that decides where a new flow goes. State that the kernel owns (affinity, flows,
/// counters) is not part of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
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
    /// CONFIG.
    pub config: ConfigRecord,
}

impl Image {
    /// An empty image of these sizes.
    #[must_use]
    pub fn with_capacities(capacities: Capacities) -> Self {
        Self { capacities, ..Self::default() }
    }

    /// The backends of a set word; empty for an empty or an impossible word.
    #[must_use]
    pub fn extent(&self, word: towpath_datapath::SetWord) -> &[BackendRecord] {
        let base = word.base() as usize;
        if word.count() == 0 {
            return &[];
        }
        self.backends.get(base..base + usize::from(word.count())).unwrap_or(&[])
    }

    /// Carries out one operation, as the kernel would.
    ///
    /// # Errors
    /// When the map it touches is full or the index is out of range; nothing is changed then.
    pub fn apply(&mut self, op: &Op) -> Result<(), KernelError> {
        let caps = self.capacities;
        match op {
            Op::WriteBackends { base, records } => {
                let end = *base as usize + records.len();
                if end > caps.backends as usize {
                    return Err(KernelError::full(MapName::Backends, caps.backends));
                }
                if self.backends.len() < end {
                    self.backends.resize(end, BackendRecord::default());
                }
                self.backends[*base as usize..end].copy_from_slice(records);
            }
            Op::WriteService { index, record } => {
                if *index >= caps.services {
                    return Err(KernelError::full(MapName::Services, caps.services));
                }
                if record.identity == 0 {
                    self.services.remove(index);
                } else {
                    self.services.insert(*index, *record);
                }
            }
            Op::StoreSet { index, choice, word } => {
                let record = self
                    .services
                    .get_mut(index)
                    .ok_or_else(|| KernelError::full(MapName::Services, caps.services))?;
                record.sets[*choice as usize] = *word;
            }
            Op::PutFrontend { key, word } => {
                put(&mut self.frontends, MapName::Frontends, caps.frontends, *key, *word)?;
            }
            Op::DeleteFrontend { key } => {
                self.frontends.remove(key);
            }
            Op::PutNodeAddress { addr, value } => {
                let max = caps.node_addresses;
                put(&mut self.node_addresses, MapName::NodeAddresses, max, *addr, *value)?;
            }
            Op::DeleteNodeAddress { addr } => {
                self.node_addresses.remove(addr);
            }
            Op::WriteConfig { config } => self.config = *config,
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
