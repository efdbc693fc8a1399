//! The maps of services.

use std::{
    mem::offset_of,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use towpath_image::{
    Capacities, Counters, KernelError, MapName, Observed, ServiceImage, ServiceOp,
    datapath::{
        Addr, BackendRecord, ConfigRecord, FrontendKey, FrontendWord, HeartbeatRecord,
        NodeAddressValue, PeerValue, RangeKey, ServiceCounters, ServiceRecord, TotalCounters,
    },
};

use crate::{
    heartbeat::Heartbeat,
    live::{AreaMaps, LiveImage, LiveMaps},
    mapped::Mapped,
    maps::Hash,
    peers::Peers,
    table::Table,
    tables,
};

/// Frontends written with one system call at most.
const RUN: usize = 8192;

/// The maps of services, open.
#[derive(Debug)]
pub struct ServiceMaps {
    frontends: Hash<FrontendKey, FrontendWord>,
    node_addresses: Hash<Addr, NodeAddressValue>,
    ranges: Hash<RangeKey, u32>,
    services: Mapped<ServiceRecord>,
    backends: Mapped<BackendRecord>,
    counters: Mapped<ServiceCounters>,
    totals: Mapped<TotalCounters>,
    peers: Hash<u64, PeerValue>,
    heartbeat: Arc<Mapped<HeartbeatRecord>>,
    /// Only read: it is the programs'.
    config: Mapped<ConfigRecord>,
}

impl LiveImage for ServiceImage {
    const TABLE: Table = tables::SERVICES;
    type Maps = ServiceMaps;

    fn open(maps: &AreaMaps<'_>) -> Result<ServiceMaps, KernelError> {
        Ok(ServiceMaps {
            frontends: maps.map(MapName::FRONTENDS)?.hash()?,
            node_addresses: maps.map(MapName::NODE_ADDRESSES)?.hash()?,
            ranges: maps.map(MapName::SOURCE_RANGES)?.hash()?,
            services: maps.map(MapName::SERVICES)?.array()?,
            backends: maps.map(MapName::BACKENDS)?.array()?,
            counters: maps.map(MapName::COUNTERS)?.array()?,
            totals: maps.map(MapName::TOTALS)?.array()?,
            peers: maps.map(MapName::PEERS)?.hash()?,
            heartbeat: Arc::new(maps.map(MapName::HEARTBEAT)?.array()?),
            config: maps.map(MapName::CONFIG)?.array()?,
        })
    }

    fn read(maps: &ServiceMaps) -> Result<Self, KernelError> {
        let mut image = Self::with_capacities(Capacities {
            frontends: maps.frontends.capacity(),
            services: maps.services.len(),
            backends: maps.backends.len(),
            node_addresses: maps.node_addresses.capacity(),
        });
        image.frontends = maps.frontends.all()?.into_iter().collect();
        image.node_addresses = maps.node_addresses.all()?.into_iter().collect();
        image.source_ranges = maps.ranges.all()?.into_iter().map(|(key, _)| key).collect();
        image.services = (0..maps.services.len())
            .filter_map(|index| Some((index, maps.services.get(index)?)))
            .filter(|(_, record)| record.identity != 0)
            .collect();
        let used = |slot: &u32| {
            maps.backends.get(*slot).is_some_and(|record| record != BackendRecord::default())
        };
        let written = (0..maps.backends.len()).rev().find(used).map_or(0, |last| last + 1);
        image.backends = (0..written).filter_map(|slot| maps.backends.get(slot)).collect();
        image.config = maps.config.get(0).unwrap_or_default();
        Ok(image)
    }

    fn write(maps: &ServiceMaps, ops: &[ServiceOp]) -> (usize, Option<KernelError>) {
        let (keys, words) = frontend_run(ops);
        if !keys.is_empty() {
            return maps.frontends.put(&keys, &words);
        }
        let carried = ops.first().map_or(Ok(()), |op| maps.carry_out(op));
        carried.map_or_else(|failure| (0, Some(failure)), |()| (1, None))
    }
}

impl ServiceMaps {
    fn carry_out(&self, op: &ServiceOp) -> Result<(), KernelError> {
        match op {
            ServiceOp::WriteBackends { base, records } => {
                if *base as usize + records.len() > self.backends.len() as usize {
                    return Err(KernelError::full(MapName::BACKENDS, self.backends.len()));
                }
                for (slot, record) in (*base..).zip(records) {
                    self.backends.set(slot, *record);
                }
                Ok(())
            }
            ServiceOp::WriteService { index, record } => self.write_service(*index, record),
            ServiceOp::StoreSet { index, choice, word } => {
                let byte = offset_of!(ServiceRecord, sets) + 8 * *choice as usize;
                // An unused index has no set: a writer that asks has lost count (as the fake says, too).
                let used = self.services.get(*index).is_some_and(|record| record.identity != 0);
                let stored = used && self.services.store_word(*index, byte, word.0);
                stored.then_some(()).ok_or_else(|| self.no_index())
            }
            ServiceOp::PutFrontend { key, word } => {
                self.frontends.put(&[*key], &[*word]).1.map_or(Ok(()), Err)
            }
            ServiceOp::DeleteFrontend { key } => self.frontends.delete(key),
            ServiceOp::PutNodeAddress { addr, value } => {
                self.node_addresses.put(&[*addr], &[*value]).1.map_or(Ok(()), Err)
            }
            ServiceOp::DeleteNodeAddress { addr } => self.node_addresses.delete(addr),
            ServiceOp::PutRange { key } => self.ranges.put(&[*key], &[1]).1.map_or(Ok(()), Err),
            ServiceOp::DeleteRange { key } => self.ranges.delete(key),
        }
    }

    /// The identity goes first and comes last: a daemon that dies half way leaves an unused index,
    /// never one service's name over another's sets.
    fn write_service(&self, index: u32, record: &ServiceRecord) -> Result<(), KernelError> {
        let byte = offset_of!(ServiceRecord, identity);
        if !self.services.store_word(index, byte, 0) {
            return Err(self.no_index());
        }
        fence(Ordering::Release);
        self.services.set(index, ServiceRecord { identity: 0, ..*record });
        if record.identity == 0 {
            self.counters.set(index, ServiceCounters::default());
        } else {
            self.services.store_word(index, byte, record.identity);
        }
        Ok(())
    }

    const fn no_index(&self) -> KernelError {
        KernelError::full(MapName::SERVICES, self.services.len())
    }
}

/// The puts that `ops` begins with.
fn frontend_run(ops: &[ServiceOp]) -> (Vec<FrontendKey>, Vec<FrontendWord>) {
    ops.iter()
        .take(RUN)
        .map_while(|op| match op {
            ServiceOp::PutFrontend { key, word } => Some((*key, *word)),
            _ => None,
        })
        .unzip()
}

impl LiveMaps<ServiceImage> {
    /// A view of where connected UDP sockets were sent, that any thread may have.
    #[must_use]
    pub fn peers(&self) -> Peers {
        Peers::new(self.maps().peers.clone())
    }
}

impl LiveMaps<ServiceImage> {
    /// Where the threads that serve DNS say that they do. Beats of the daemon before are over with this.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        Heartbeat::new(Arc::clone(&self.maps().heartbeat))
    }
}

impl Observed for LiveMaps<ServiceImage> {
    fn service_counters(&self, index: u32) -> ServiceCounters {
        self.maps().counters.get(index).unwrap_or_default()
    }

    fn counters(&self) -> Counters {
        let totals = self.maps().totals.get(0).unwrap_or_default();
        Counters {
            choices_evicted: totals.choices_evicted,
            unknown_port: totals.unknown_port,
            untracked: totals.untracked,
        }
    }
}
