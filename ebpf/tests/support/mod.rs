//! A bpffs, a cgroup and a run directory of a test's own.

pub(crate) mod net;
pub(crate) mod plane;

use std::{
    ffi::CString,
    fs,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use towpath_ebpf::{Error, Opened, Settings, open};
use towpath_image::{Attachment, Capacities, Programs as _};

/// Opens the kernel and brings the programs into force, as the start of a daemon does.
pub(crate) fn start(settings: &Settings) -> Result<Opened, Error> {
    let mut opened = open(settings)?;
    let applied = opened.programs.attach(&Attachment::of_sockets());
    applied.failure.map_or(Ok(opened), |failure| Err(failure.into()))
}

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

/// BPF_OBJ_GET.
#[allow(dead_code, reason = "not every test binary opens pins")]
pub(crate) fn open_pin(pin: &Path) -> OwnedFd {
    let path = CString::new(pin.as_os_str().as_bytes()).unwrap();
    let fd = bpf(7, &[path.as_ptr() as u64, 0]);
    // SAFETY: a descriptor that the kernel just made for us.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
}

/// A bpf(2) command whose attributes are plain numbers and pointers that outlive the call.
pub(crate) fn bpf(command: libc::c_long, attr: &[u64]) -> i64 {
    // SAFETY: the attributes are as long as they say.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) };
    assert!(answer >= 0, "{}", std::io::Error::last_os_error());
    answer
}

fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc/mounts");
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    PathBuf::from(line.expect("a cgroup2 mount").split(' ').nth(1).expect("its place"))
}
