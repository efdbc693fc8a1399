//! Where things are. All of it is chosen, so that several daemons share a kernel in tests.

use std::path::PathBuf;

use towpath_image::{Capacities, datapath::LAYOUT};

use crate::pins::LINKS;

/// Places and sizes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our directory in a bpffs, such as `/sys/fs/bpf/towpath`. Made when it is not there.
    pub pin_root: PathBuf,
    /// The cgroup2 directory whose sockets are served: the host's root, but for tests.
    pub cgroup_root: PathBuf,
    /// Directory for the writer's lock.
    pub run_dir: PathBuf,
    /// Sizes of the maps. One that exists and is smaller grows; a larger one stays as it is.
    pub capacities: Capacities,
    /// Identity of the cluster, when it is known: pins of another one are refused.
    pub cluster: Option<u64>,
    /// Only sockets of the host's network namespace are served.
    pub host_only: bool,
}

impl Settings {
    /// These places; sizes are the usual ones, the cluster is not known, every socket is served.
    #[must_use]
    pub fn new(
        pin_root: impl Into<PathBuf>,
        cgroup_root: impl Into<PathBuf>,
        run_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            pin_root: pin_root.into(),
            cgroup_root: cgroup_root.into(),
            run_dir: run_dir.into(),
            capacities: Capacities::default(),
            cluster: None,
            host_only: false,
        }
    }

    /// Where this layout's maps are pinned.
    #[must_use]
    pub fn maps_dir(&self) -> PathBuf {
        self.pin_root.join(format!("v{LAYOUT}"))
    }
    /// Where links are pinned: beside the layouts, so that none is ever attached twice.
    #[must_use]
    pub fn links_dir(&self) -> PathBuf {
        self.pin_root.join(LINKS)
    }
    /// The lock of the one writer.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.run_dir.join("writer.lock")
    }
}
