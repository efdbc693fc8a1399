//! The live kernel: batches into maps, maps into an image.

use std::{
    io,
    mem::offset_of,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
};

use aya::{Ebpf, maps::MapData};
use towpath_image::{
    Applied, Attachment, Attachments, Batch, Capacities, Counters, Kernel, KernelError, MapName,
    Observed, Programs, ServiceImage, ServiceOp,
    datapath::{
        Addr, BackendRecord, ConfigRecord, FrontendKey, FrontendWord, NodeAddressValue,
        ServiceCounters, ServiceRecord, TotalCounters,
    },
};

use crate::{
    Error, Settings, attach,
    lock::WriterLock,
    mapped::Mapped,
    pinned::Pinned,
    probe::host_netns_cookie,
    reader::KernelReader,
    {load, sys},
};

/// Frontends written with one system call at most.
const RUN: usize = 8192;

/// The maps and programs of this node, open for writing.
pub struct LiveKernel {
    lock: WriterLock,
    pinned: Pinned,
    ebpf: Ebpf,
    /// What should be in force.
    wanted: Attachments,
    settings: Settings,
    capacities: Capacities,
    // Shared with whoever reads beside us: a second mapping would count twice in RSS.
    frontends: Arc<MapData>,
    node_addresses: Arc<MapData>,
    services: Arc<Mapped<ServiceRecord>>,
    backends: Arc<Mapped<BackendRecord>>,
    counters: Mapped<ServiceCounters>,
    totals: Mapped<TotalCounters>,
    config: Arc<Mapped<ConfigRecord>>,
}

impl std::fmt::Debug for LiveKernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveKernel").field("capacities", &self.capacities).finish_non_exhaustive()
    }
}

/// What one map takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapUse {
    /// Which.
    pub name: MapName,
    /// Elements at most.
    pub capacity: u32,
    /// Bytes of kernel memory, as far as elements go.
    pub bytes: u64,
}

impl LiveKernel {
    /// Takes the lock, makes or adopts the maps, brings the programs into force.
    ///
    /// Traffic is served from the first moment with what the adopted maps hold. Whatever a daemon
    /// that died left half done is put right here or by the first batch.
    ///
    /// # Errors
    /// Every [`Error`]; nothing that worked before is undone then.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        let settings = &settings.plain()?;
        let lock = WriterLock::take(settings)?;
        let mut ebpf = load::load(settings)?;
        let (frontends, frontends_max) = load::open(settings, MapName::FRONTENDS)?;
        let (node_addresses, node_addresses_max) = load::open(settings, MapName::NODE_ADDRESSES)?;
        let services = map::<ServiceRecord>(settings, MapName::SERVICES)?;
        let backends = map::<BackendRecord>(settings, MapName::BACKENDS)?;
        let config = map::<ConfigRecord>(settings, MapName::CONFIG)?;
        let live = Self {
            lock,
            pinned: Pinned::open(settings)?,
            capacities: Capacities {
                frontends: frontends_max,
                services: services.len(),
                backends: backends.len(),
                node_addresses: node_addresses_max,
            },
            counters: map(settings, MapName::COUNTERS)?,
            totals: map(settings, MapName::TOTALS)?,
            frontends: Arc::new(frontends),
            node_addresses: Arc::new(node_addresses),
            services: Arc::new(services),
            backends: Arc::new(backends),
            config: Arc::new(config),
            settings: settings.clone(),
            wanted: Attachment::of_sockets(),
            ebpf: {
                attach_checked(&mut ebpf, settings)?;
                ebpf
            },
        };
        Ok(live)
    }

    /// Whose maps these are, if any cluster was ever said.
    #[must_use]
    pub fn cluster(&self) -> Option<u64> {
        self.config.get(0).map(|config| config.cluster).filter(|cluster| *cluster != 0)
    }

    /// What the maps take.
    #[must_use]
    pub fn map_use(&self) -> Vec<MapUse> {
        let sized = |name, capacity: u32, element: usize| MapUse {
            name,
            capacity,
            bytes: u64::from(capacity) * element as u64,
        };
        let c = self.capacities;
        vec![
            sized(MapName::FRONTENDS, c.frontends, size_of::<(FrontendKey, FrontendWord)>()),
            sized(MapName::SERVICES, c.services, size_of::<ServiceRecord>()),
            sized(MapName::BACKENDS, c.backends, size_of::<BackendRecord>()),
            sized(MapName::NODE_ADDRESSES, c.node_addresses, size_of::<(Addr, NodeAddressValue)>()),
            sized(MapName::COUNTERS, c.services, size_of::<ServiceCounters>()),
        ]
    }

    fn carry_out(&self, op: &ServiceOp) -> Result<(), KernelError> {
        match op {
            ServiceOp::WriteBackends { base, records } => {
                if *base as usize + records.len() > self.backends.len() as usize {
                    return Err(full(MapName::BACKENDS, self.backends.len()));
                }
                for (slot, record) in (*base..).zip(records) {
                    self.backends.set(slot, *record);
                }
                Ok(())
            }
            ServiceOp::WriteService { index, record } => self.write_service(*index, record),
            ServiceOp::StoreSet { index, choice, word } => {
                let byte = offset_of!(ServiceRecord, sets) + 8 * *choice as usize;
                // An unused index has no set: whoever asks has lost count (as the fake says, too).
                let used = self.services.get(*index).is_some_and(|record| record.identity != 0);
                let stored = used && self.services.store_word(*index, byte, word.0);
                stored.then_some(()).ok_or_else(|| full(MapName::SERVICES, self.services.len()))
            }
            ServiceOp::PutFrontend { .. } => Ok(()), // in runs, see `apply`
            ServiceOp::DeleteFrontend { key } => sys::delete(self.frontends.fd().as_fd(), key)
                .map_err(|error| system(MapName::FRONTENDS, "deleting", &error)),
            ServiceOp::PutNodeAddress { addr, value } => put(
                self.node_addresses.fd().as_fd(),
                MapName::NODE_ADDRESSES,
                self.capacities.node_addresses,
                &[*addr],
                &[*value],
            )
            .1
            .map_or(Ok(()), Err),
            ServiceOp::DeleteNodeAddress { addr } => {
                sys::delete(self.node_addresses.fd().as_fd(), addr)
                    .map_err(|error| system(MapName::NODE_ADDRESSES, "deleting", &error))
            }
            ServiceOp::WriteConfig { config } => {
                self.config.set(0, *config);
                Ok(())
            }
        }
    }

    /// The identity goes first and comes last: a daemon that dies half way leaves an unused index,
    /// never one service's name over another's sets.
    fn write_service(&self, index: u32, record: &ServiceRecord) -> Result<(), KernelError> {
        let byte = offset_of!(ServiceRecord, identity);
        if !self.services.store_word(index, byte, 0) {
            return Err(full(MapName::SERVICES, self.services.len()));
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

    /// A view of what the maps hold that any thread may have, beside the one writer.
    #[must_use]
    pub fn reader(&self) -> KernelReader {
        KernelReader {
            capacities: self.capacities,
            frontends: Arc::clone(&self.frontends),
            node_addresses: Arc::clone(&self.node_addresses),
            services: Arc::clone(&self.services),
            backends: Arc::clone(&self.backends),
            config: Arc::clone(&self.config),
        }
    }
}

impl Kernel<ServiceImage> for LiveKernel {
    fn read(&mut self) -> Result<ServiceImage, KernelError> {
        self.reader().read()
    }

    fn apply(&mut self, batch: &Batch<ServiceOp>) -> Applied {
        let mut done = 0;
        while done < batch.ops.len() {
            let rest = &batch.ops[done..];
            let (keys, words) = frontend_run(rest);
            let (carried, failure) = if keys.is_empty() {
                match self.carry_out(&rest[0]) {
                    Ok(()) => (1, None),
                    Err(failure) => (0, Some(failure)),
                }
            } else {
                let (map, max) = (self.frontends.fd().as_fd(), self.capacities.frontends);
                put(map, MapName::FRONTENDS, max, &keys, &words)
            };
            done += carried;
            if failure.is_some() {
                return Applied { done, failure };
            }
        }
        Applied { done, failure: None }
    }
}

impl Programs for LiveKernel {
    fn bind(&mut self, cluster: u64) -> Result<(), KernelError> {
        let byte = offset_of!(ConfigRecord, cluster);
        let held = self.config.get(0).unwrap_or_default().cluster;
        if held != 0 && held != cluster {
            let place = self.settings.maps_dir().display().to_string();
            return Err(KernelError::OtherCluster { place });
        }
        self.config.store_word(0, byte, cluster);
        Ok(())
    }

    fn heal(&mut self) -> Result<Vec<String>, KernelError> {
        let place = || self.settings.pin_root.display().to_string();
        let kept = self.lock.keep().map_err(|error| match error {
            Error::Locked { .. } => KernelError::TakenOver { place: place() },
            error => KernelError::Pins { place: place(), cause: load::chain(&error) },
        });
        if let Err(taken @ KernelError::TakenOver { .. }) = kept {
            return Err(taken);
        }
        let (mut healed, failure) = match kept {
            Ok(()) => self.pinned.mend(&self.settings),
            // Programs are looked after all the same.
            Err(error) => (Vec::new(), Some(error)),
        };
        let programs = attach::mend(&mut self.ebpf, &self.settings, &self.wanted)?;
        healed.extend(programs);
        failure.map_or(Ok(healed), Err)
    }

    fn attach(&mut self, wanted: &Attachments) -> Applied {
        self.wanted.clone_from(wanted);
        attach::attach(&mut self.ebpf, &self.settings, wanted)
    }
}

impl Observed for LiveKernel {
    fn service_counters(&self, index: u32) -> ServiceCounters {
        self.counters.get(index).unwrap_or_default()
    }

    fn counters(&self) -> Counters {
        let totals = self.totals.get(0).unwrap_or_default();
        Counters {
            flows_evicted: totals.flows_evicted,
            unknown_port: totals.unknown_port,
            untracked: totals.untracked,
        }
    }
}

/// Pins of another cluster are refused before any program of ours runs on them; then the
/// configuration is written and the programs come into force.
fn attach_checked(ebpf: &mut Ebpf, settings: &Settings) -> Result<(), Error> {
    let config = map::<ConfigRecord>(settings, MapName::CONFIG)?;
    let mut record = config.get(0).unwrap_or_default();
    if let Some(cluster) = settings.cluster {
        if record.cluster != 0 && record.cluster != cluster {
            return Err(Error::OtherCluster { path: settings.maps_dir() });
        }
        record.cluster = cluster;
    }
    record.host_netns = host_netns_cookie()
        .map_err(|cause| Error::Load { cause: format!("network namespace cookie: {cause}") })?;
    record.flags = if settings.host_only { ConfigRecord::HOST_ONLY } else { 0 };
    config.set(0, record);
    attach::load(ebpf)?;
    let applied = attach::attach(ebpf, settings, &Attachment::of_sockets());
    applied.failure.map_or(Ok(()), |failure| Err(failure.into()))
}

fn map<T: Copy>(settings: &Settings, name: MapName) -> Result<Mapped<T>, Error> {
    let (map, elements) = load::open(settings, name)?;
    let path = settings.maps_dir().join(name.as_str());
    Mapped::new(map.fd().as_fd(), elements).map_err(|e| Error::file("mapping", path, e))
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

/// One system call; answers how many were carried out.
fn put<K: Copy, V: Copy>(
    map: BorrowedFd<'_>,
    name: MapName,
    capacity: u32,
    keys: &[K],
    values: &[V],
) -> (usize, Option<KernelError>) {
    let (done, error) = sys::update_batch(map, keys, values);
    let error = error.map(|error| match error.raw_os_error() {
        Some(libc::E2BIG) => full(name, capacity),
        _ => system(name, "writing", &error),
    });
    (done, error)
}

const fn full(map: MapName, capacity: u32) -> KernelError {
    KernelError::Full { map, capacity }
}

pub(crate) fn system(map: MapName, what: &str, error: &io::Error) -> KernelError {
    KernelError::System { map, what: what.to_owned(), cause: error.to_string() }
}
