//! The doors to the kernel: one to each area's maps, one to the programs of all.

use towpath_datapath::ServiceCounters;

use crate::{Attachments, Batch, Image, KernelError};

/// How far a batch came. A prefix is legal: `done` operations are in force, the rest is not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Operations carried out, from the first.
    pub done: usize,
    /// Why the next one was not; `None` when all were.
    pub failure: Option<KernelError>,
}

/// The maps of one area. One writer at a time.
pub trait Kernel<I: Image>: Send {
    /// What the maps hold now.
    ///
    /// # Errors
    /// When a map can not be read.
    fn read(&mut self) -> Result<I, KernelError>;
    /// Carries out a batch in order, up to the first failure.
    fn apply(&mut self, batch: &Batch<I::Op>) -> Applied;
}

/// The programs of every area, and all that is pinned. One writer at a time.
pub trait Programs: Send {
    /// Says whose maps these are ([`crate::cluster_identity`]), once that is known: what is pinned is
    /// served before. The first cluster to say so is recorded with the maps.
    ///
    /// # Errors
    /// [`KernelError::OtherCluster`] when they are another's. Nothing may be written then.
    fn bind(&mut self, cluster: u64) -> Result<(), KernelError>;
    /// Brings programs that were taken out of force from outside back into force, and pins that were
    /// removed back to their places; answers which. Cheap when nothing is amiss.
    ///
    /// # Errors
    /// When one cannot be brought back; the others are all the same, unless the pins are another
    /// daemon's now ([`KernelError::TakenOver`]).
    fn heal(&mut self) -> Result<Vec<String>, KernelError>;
    /// Brings into force exactly what is wanted, of all areas together: what is missing is attached,
    /// in the order of the set, then what is not wanted is detached, in the reverse order. What is in
    /// force with an earlier program is replaced in place, never detached first. Cheap when nothing
    /// is new.
    ///
    /// A failure keeps the later hooks of its place (the cgroup, a device) as they are; the other
    /// places go on. `done` counts what is in force as wanted, and `failure` is the first.
    fn attach(&mut self, wanted: &Attachments) -> Applied;
}

/// Totals that belong to no single service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Flow entries of live sockets that the LRU pushed out.
    pub choices_evicted: u64,
    /// Connects refused because a clusterIP has no such port.
    pub unknown_port: u64,
    /// Sockets whose record found no memory: translated, but they see the backend's address.
    pub untracked: u64,
}

/// What the kernel owns and the daemon only looks at.
pub trait Observed {
    /// Counters of one service index.
    fn service_counters(&self, index: u32) -> ServiceCounters;
    /// Totals.
    fn counters(&self) -> Counters;
}
