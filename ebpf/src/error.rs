//! What can go wrong with the kernel, in words for the person who started the daemon.

use std::{
    io,
    path::{Path, PathBuf},
};

pub(crate) use towpath_image::chain;

/// What clean-up did, or would do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cleaned {
    /// Paths in the order in which they went.
    pub removed: Vec<String>,
    /// Paths that are there and are not Towpath's.
    pub left: Vec<String>,
}

/// Why the kernel could not be opened, attached to or cleaned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another daemon writes.
    #[error(
        "another Towpath (pid {pid}) writes to these maps: {} is locked; stop it (a second one for a \
         test needs its own --run-dir, --bpffs and --cgroup-root)", path.display()
    )]
    Locked {
        /// The lock.
        path: PathBuf,
        /// Who holds it, as far as it is known.
        pid: String,
    },
    /// A file or directory.
    #[error("{what} {}: {cause}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A directory of pins that another user may change.
    #[error(
        "{} belongs to another user (uid {owner}), who can change what is pinned in it: see what it \
         is, then remove it or give it to root (`chown root: DIR`), or set --bpffs to another \
         directory", path.display()
    )]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// A clean-up that stopped on the way.
    #[error("{cause}")]
    Partly {
        /// What it did until then.
        cleaned: Cleaned,
        /// Why it stopped.
        cause: Box<Self>,
    },
    /// Not a bpffs.
    #[error(
        "{} is not in a bpf file system: mount one (`mount -t bpf bpf /sys/fs/bpf`) or set --bpffs",
        path.display()
    )]
    NoBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// Not a cgroup2 directory.
    #[error(
        "{} is not in a cgroup2 file system: mount one (`mount -t cgroup2 none DIR`) or set \
         --cgroup-root", path.display()
    )]
    NoCgroup2 {
        /// The directory.
        path: PathBuf,
    },
    /// The kernel refused the programs or the maps.
    #[error("loading the kernel programs: {cause} (`towpath check` says what this kernel lacks)")]
    Load {
        /// What was said.
        cause: String,
    },
    /// Pins of another cluster.
    #[error(
        "the pinned maps in {} belong to another cluster: run `towpath cleanup` first if this node \
         has really moved", path.display()
    )]
    OtherCluster {
        /// Where they are.
        path: PathBuf,
    },
    /// Pinned maps that do not have this version's shape.
    #[error(
        "the pinned map {} has another shape ({found}) than this version writes ({wanted}): run \
         `towpath cleanup`", path.display()
    )]
    Shape {
        /// The pin.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What is needed.
        wanted: String,
    },
    /// A map.
    #[error(transparent)]
    Map(#[from] towpath_image::KernelError),
}

impl Error {
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>, cause: io::Error) -> Self {
        Self::File { what, path: path.into(), cause }
    }
    /// The same of a path that people know, where it was reached through a descriptor.
    pub(crate) fn at(self, path: &Path) -> Self {
        match self {
            Self::File { what, cause, .. } => Self::file(what, path, cause),
            other => other,
        }
    }
}
