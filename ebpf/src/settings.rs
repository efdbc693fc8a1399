//! Where things are. All of it is chosen, so that several daemons share a kernel in tests.

use std::{
    fs, io,
    path::{Component, PathBuf},
};

use towpath_image::{Capacities, PolicyCapacities, datapath::LAYOUT};

use crate::Error;

/// Where links are pinned, below the pin root.
pub(crate) const LINKS: &str = "links";

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
    /// Sizes of the maps of policies; `None`: policies are not enforced, and have no maps.
    pub policy: Option<PolicyCapacities>,
    /// The packet programs are loaded, too.
    pub packets: bool,
    /// Number of the maps' layout: what this version was built with, but for tests.
    pub layout: u32,
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
            policy: None,
            packets: false,
            layout: LAYOUT,
        }
    }

    /// The same, with the pin root as an absolute path that ends with a name: `link/` would lead
    /// through a symbolic link that `link` does not, and `dir/.` cannot be removed.
    pub(crate) fn plain(&self) -> Result<Self, Error> {
        let failed = |cause| Error::file("using", &self.pin_root, cause);
        if self.pin_root.components().any(|part| part == Component::ParentDir) {
            let why = "it has `..` in it: give the directory that it leads to";
            return Err(failed(io::Error::other(why)));
        }
        let root = std::path::absolute(&self.pin_root).map_err(failed)?;
        Ok(Self { pin_root: root.components().collect(), ..self.clone() })
    }

    pub(crate) fn policies(&self) -> PolicyCapacities {
        self.policy.unwrap_or_default()
    }

    /// Where this layout's maps are pinned.
    #[must_use]
    pub fn maps_dir(&self) -> PathBuf {
        self.pin_root.join(format!("v{}", self.layout))
    }
    /// Where links are pinned: beside the layouts, so that none is ever attached twice.
    #[must_use]
    pub fn links_dir(&self) -> PathBuf {
        self.pin_root.join(LINKS)
    }
    /// Has any version pinned maps here?
    #[must_use]
    pub fn holds_maps(&self) -> bool {
        let entries = fs::read_dir(&self.pin_root).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .any(|name| layout(&name).is_some())
    }
    /// The lock of the one writer.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.run_dir.join("writer.lock")
    }
}

/// The number of a layout whose directory has this name: `v` and a number as it is written.
pub(crate) fn layout(name: &str) -> Option<u32> {
    let number = name.strip_prefix('v')?;
    number.parse::<u32>().ok().filter(|layout| layout.to_string() == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_root_ends_with_its_own_name() {
        let plain = |root: &str| Settings::new(root, "", "").plain().map(|plain| plain.pin_root);
        for root in ["/b/t", "/b/t/", "/b/t/.", "/b//./t/.//"] {
            assert_eq!(plain(root).unwrap().as_os_str(), "/b/t", "{root}");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(plain("./t/").unwrap().as_os_str(), here.join("t").as_os_str());
        assert_eq!(plain(".").unwrap().as_os_str(), here.as_os_str());
        for root in ["", "..", "/b/t/..", "/b/../t"] {
            assert!(plain(root).is_err(), "{root}");
        }
    }
}
