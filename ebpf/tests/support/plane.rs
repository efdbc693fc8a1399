//! The live kernel as a test speaks of it: services, frontends, sets.
#![allow(dead_code, reason = "not every test binary uses every word")]

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use towpath_ebpf::Opened;
use towpath_image::{
    Applied, Batch, Kernel as _, Observed as _, ServiceOp,
    datapath::{
        BackendRecord, Empty, FrontendKey, FrontendWord, NodeAddressValue, ServiceCounters,
        ServiceRecord, SetChoice, SetWord, protocol,
    },
};

use super::{Bed, start};

/// A process is in one cgroup at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// This process inside a test's cgroup, with the programs in force.
pub(crate) struct Plane {
    /// `None` while the test plays the daemon's death.
    pub(crate) kernel: Option<Opened>,
    services: u32,
    slots: u32,
    epoch: u16,
    home: PathBuf,
    pub(crate) bed: Bed,
    _turn: MutexGuard<'static, ()>,
}

impl Plane {
    /// The thread that calls is the host: its network namespace is the one that counts as such.
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| ())
    }

    pub(crate) fn with(name: &str, change: impl FnOnce(&mut towpath_ebpf::Settings)) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        super::net::fresh_net();
        let mut bed = Bed::new(name);
        change(&mut bed.settings);
        let kernel = start(&bed.settings).expect("opens");
        let home = bed.home();
        join(&bed.settings.cgroup_root);
        Self { kernel: Some(kernel), services: 0, slots: 0, epoch: 0, home, bed, _turn: turn }
    }

    pub(crate) fn apply(&mut self, ops: Vec<ServiceOp>) {
        let all = Applied { done: ops.len(), failure: None };
        let kernel = self.kernel.as_mut().expect("a daemon");
        assert_eq!(kernel.services.apply(&Batch { ops }), all);
    }

    /// Writes an extent; its word.
    pub(crate) fn extent(&mut self, backends: &[SocketAddr]) -> SetWord {
        let mut records: Vec<_> =
            backends.iter().map(|b| BackendRecord::new(b.ip().into(), b.port())).collect();
        records.sort_by_key(BackendRecord::order);
        let (base, count) = (self.slots, u16::try_from(records.len()).expect("few"));
        self.slots += u32::from(count);
        self.epoch += 1;
        self.apply(vec![ServiceOp::WriteBackends { base, records }]);
        SetWord::new(base, count, self.epoch)
    }

    pub(crate) fn empty(&mut self, meaning: Empty) -> SetWord {
        self.epoch += 1;
        SetWord::empty(meaning, self.epoch)
    }

    /// A new service with these endpoints; its index.
    pub(crate) fn service(&mut self, cluster: &[SocketAddr]) -> u32 {
        let cluster = self.extent(cluster);
        self.service_with(cluster, None)
    }

    pub(crate) fn service_with(&mut self, cluster: SetWord, affinity: Option<u32>) -> u32 {
        let index = self.services;
        self.services += 1;
        let record = ServiceRecord {
            identity: u64::from(index) + 1,
            sets: [cluster, SetWord::empty(Empty::Leave, 0)],
            flags: if affinity.is_some() { ServiceRecord::AFFINITY } else { 0 },
            affinity_seconds: affinity.unwrap_or(0),
            ..ServiceRecord::default()
        };
        self.apply(vec![ServiceOp::WriteService { index, record }]);
        index
    }

    /// TCP and UDP, and the guard.
    pub(crate) fn cluster_ip(&mut self, vip: IpAddr, port: u16, service: u32, flags: u8) {
        let guard = FrontendKey::guard(vip.into());
        let keys = [
            FrontendKey::vip(vip.into(), port, protocol::TCP),
            FrontendKey::vip(vip.into(), port, protocol::UDP),
        ];
        let put = |key: &FrontendKey| ServiceOp::PutFrontend {
            key: *key,
            word: FrontendWord::new(key, service, flags),
        };
        let mut ops: Vec<_> = keys.iter().map(put).collect();
        ops.push(ServiceOp::PutFrontend { key: guard, word: FrontendWord::new(&guard, 0, 0) });
        self.apply(ops);
    }

    pub(crate) fn frontend(&mut self, key: FrontendKey, service: u32, flags: u8) {
        self.apply(vec![ServiceOp::PutFrontend {
            key,
            word: FrontendWord::new(&key, service, flags),
        }]);
    }

    pub(crate) fn node(&mut self, ip: &str, node: u64, flags: u32) {
        let addr = ip.parse::<IpAddr>().expect("an address").into();
        let value = NodeAddressValue { node, flags, reserved: 0 };
        self.apply(vec![ServiceOp::PutNodeAddress { addr, value }]);
    }

    pub(crate) fn publish(&mut self, index: u32, word: SetWord) {
        self.apply(vec![ServiceOp::StoreSet { index, choice: SetChoice::Cluster, word }]);
    }

    /// Calls refused at ports without a frontend.
    pub(crate) fn unknown_ports(&self) -> u64 {
        self.kernel.as_ref().expect("a daemon").services.counters().unknown_port
    }

    /// Moves this process out of the cgroup.
    pub(crate) fn leave(&self) {
        join(&self.home);
    }

    /// And back into it.
    pub(crate) fn enter(&self) {
        join(&self.bed.settings.cgroup_root);
    }

    pub(crate) fn counters(&self, service: u32) -> ServiceCounters {
        self.kernel.as_ref().expect("a daemon").services.service_counters(service)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        join(&self.home);
    }
}

fn join(cgroup: &std::path::Path) {
    let procs = cgroup.join("cgroup.procs");
    std::fs::write(&procs, std::process::id().to_string()).expect("joining a cgroup");
}
