//! The door to the kernel.

use towpath_datapath::ServiceCounters;

use crate::{batch::Batch, image::Image};

/// The maps, by the names that pins, metrics and `status` use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the variants are the names")]
pub enum MapName {
    Frontends,
    Services,
    Backends,
    NodeAddresses,
    Config,
    Counters,
    Totals,
    Affinity,
    Flows,
    Peers,
    Sockets,
}

impl MapName {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Frontends,
        Self::Services,
        Self::Backends,
        Self::NodeAddresses,
        Self::Config,
        Self::Counters,
        Self::Totals,
        Self::Affinity,
        Self::Flows,
        Self::Peers,
        Self::Sockets,
    ];

    /// Upper-case name of the map in the objects.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frontends => "FRONTENDS",
            Self::Services => "SERVICES",
            Self::Backends => "BACKENDS",
            Self::NodeAddresses => "NODE_ADDRESSES",
            Self::Config => "CONFIG",
            Self::Counters => "COUNTERS",
            Self::Totals => "TOTALS",
            Self::Affinity => "AFFINITY",
            Self::Flows => "FLOWS",
            Self::Peers => "PEERS",
            Self::Sockets => "SOCKETS",
        }
    }
}

/// Why the kernel could not be read or written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KernelError {
    /// No room.
    #[error(
        "map {} is full at {capacity} elements: raise its capacity in the configuration and \
         restart, or remove Services", map.as_str()
    )]
    Full {
        /// Which map.
        map: MapName,
        /// Its size.
        capacity: u32,
    },
    /// A system call failed.
    #[error("{what} failed on map {}: {cause}", map.as_str())]
    System {
        /// Which map.
        map: MapName,
        /// Which call.
        what: String,
        /// What the system said.
        cause: String,
    },
    /// The maps were written for another cluster.
    #[error(
        "the pinned maps in {place} belong to another cluster: nothing was written; run `towpath \
         cleanup` and start again if this node has really moved"
    )]
    OtherCluster {
        /// Where they are.
        place: String,
    },
    /// A program is out of force and stays so.
    #[error("the program {program} is not in force and could not be attached again: {cause}")]
    Detached {
        /// Its hook.
        program: String,
        /// What was said.
        cause: String,
    },
    /// A pin, or a directory of pins, is not as it was made and stays so.
    #[error("{place} is not as it was made, so a restart may not find what is in force: {cause}")]
    Pins {
        /// Where.
        place: String,
        /// What is wrong.
        cause: String,
    },
    /// Another daemon has the pins.
    #[error(
        "another Towpath has taken over these pins: {place} was removed or moved, made anew and \
         locked by it; what this one writes is not in force any more: stop one of them"
    )]
    TakenOver {
        /// Their directory.
        place: String,
    },
}

impl KernelError {
    pub(crate) const fn full(map: MapName, capacity: u32) -> Self {
        Self::Full { map, capacity }
    }
}

/// How far a batch came. A prefix is legal: `done` operations are in force, the rest is not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Operations carried out, from the first.
    pub done: usize,
    /// Why the next one was not; `None` when all were.
    pub failure: Option<KernelError>,
}

/// What the kernel is told. One writer at a time.
pub trait Kernel {
    /// What the maps hold now.
    ///
    /// # Errors
    /// When a map can not be read.
    fn read(&mut self) -> Result<Image, KernelError>;
    /// Carries out a batch in order, up to the first failure.
    fn apply(&mut self, batch: &Batch) -> Applied;
    /// Says whose maps these are ([`crate::cluster_identity`]), once that is known: what is pinned is
    /// served before. The first cluster to say so is recorded with the maps.
    ///
    /// # Errors
    /// [`KernelError::OtherCluster`] when they are another's. Nothing may be written then.
    fn bind(&mut self, cluster: u64) -> Result<(), KernelError>;
    /// Brings programs that somebody took out of force back into force, and pins that somebody removed
    /// back to their places; answers which. Cheap when nothing is amiss: the audit calls it, and whoever
    /// likes to.
    ///
    /// # Errors
    /// When one cannot be brought back; the others are all the same, unless the pins are another
    /// daemon's now ([`KernelError::TakenOver`]).
    fn heal(&mut self) -> Result<Vec<String>, KernelError>;
}

/// Totals that belong to no single service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Flow entries of live sockets that the LRU pushed out.
    pub flows_evicted: u64,
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
