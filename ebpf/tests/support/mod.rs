//! A bpffs, a cgroup and a run directory of a test's own.

pub(crate) mod net;
pub(crate) mod plane;

use std::{fs, path::PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use towpath_ebpf::Settings;
use towpath_image::Capacities;

/// Removed when it is dropped.
pub(crate) struct Bed {
    pub(crate) settings: Settings,
    dir: tempfile::TempDir,
    cgroup: PathBuf,
}

impl Bed {
    pub(crate) fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let bpffs = dir.path().join("bpf");
        fs::create_dir(&bpffs).expect("a directory");
        mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), None::<&str>)
            .expect("mounting a bpffs (needs root)");
        let cgroup = cgroup2().join(format!("towpath-test-{}-{name}", std::process::id()));
        fs::create_dir(&cgroup).expect("a cgroup");
        let mut settings = Settings::new(bpffs.join("towpath"), &cgroup, dir.path().join("run"));
        settings.capacities =
            Capacities { frontends: 64, services: 64, backends: 256, node_addresses: 64 };
        Self { settings, dir, cgroup }
    }

    /// Programs attached to the cgroup, by their pinned links.
    #[allow(dead_code, reason = "not every test binary counts links")]
    pub(crate) fn attached(&self) -> usize {
        fs::read_dir(self.settings.links_dir()).map_or(0, Iterator::count)
    }

    /// The cgroup this process is in.
    #[allow(dead_code, reason = "not every test binary changes its cgroup")]
    pub(crate) fn home(&self) -> PathBuf {
        let own = fs::read_to_string("/proc/self/cgroup").expect("/proc/self/cgroup");
        let path = own.lines().find_map(|line| line.strip_prefix("0::")).expect("a cgroup2 line");
        cgroup2().join(path.trim_start_matches('/'))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let bpffs = self.dir.path().join("bpf");
        umount2(&bpffs, MntFlags::MNT_DETACH).expect("unmounting");
        for _ in 0..100 {
            if fs::remove_dir(&self.cgroup).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc/mounts");
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    PathBuf::from(line.expect("a cgroup2 mount").split(' ').nth(1).expect("its place"))
}
