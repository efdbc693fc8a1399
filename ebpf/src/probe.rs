//! What this kernel offers, found by trying, never by its version.

use std::{
    fmt, fs, io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

use crate::{Error, Settings, object, sys};

/// One feature that Towpath needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// Can Towpath not run without it?
    pub needed: bool,
    /// Is it here?
    pub present: bool,
    /// How it was found out.
    pub how: String,
    /// How to get it.
    pub advice: &'static str,
}

/// What to do about it, and how it was found out: for a feature that is missing.
impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.name, self.advice, self.how)
    }
}

/// Looks at what [`crate::open`] would need, without changing anything.
#[must_use]
pub fn probe(settings: &Settings) -> Vec<Feature> {
    let is = |path: &Path, magic| {
        statfs(existing(path).as_path()).is_ok_and(|fs| fs.filesystem_type() == magic)
    };
    let cookie = host_netns_cookie();
    let loads = object::rehearse();
    vec![
        Feature {
            name: "cgroup2",
            needed: true,
            present: is(&settings.cgroup_root, CGROUP2_SUPER_MAGIC),
            how: format!("statfs {}", settings.cgroup_root.display()),
            advice: "mount it: mount -t cgroup2 none DIR, and name it with --cgroup-root",
        },
        Feature {
            name: "bpffs",
            needed: true,
            present: is(&settings.pin_root, BPF_FS_MAGIC),
            how: format!("statfs {}", settings.pin_root.display()),
            advice: "mount it: mount -t bpf bpf /sys/fs/bpf",
        },
        Feature {
            name: "network namespace cookies",
            needed: true,
            present: cookie.is_ok(),
            how: "getsockopt SO_NETNS_COOKIE".into(),
            advice: "Linux 5.14 or newer",
        },
        Feature {
            name: "kernel type information",
            needed: false,
            present: fs::metadata("/sys/kernel/btf/vmlinux").is_ok(),
            how: "/sys/kernel/btf/vmlinux".into(),
            advice: "a kernel with CONFIG_DEBUG_INFO_BTF",
        },
        Feature {
            name: "refusing with ECONNREFUSED",
            needed: false,
            present: sys::has_set_retval(),
            how: "loading a program that calls bpf_set_retval".into(),
            advice: "Linux 5.18 or newer; before, a refused call fails with EPERM",
        },
        Feature {
            name: "socket programs",
            needed: true,
            present: loads.is_ok(),
            how: match loads {
                Ok(()) => "loading them all, without attaching".into(),
                Err(Error::Load { cause }) => format!("loading them: {cause}"),
                Err(error) => error.to_string(),
            },
            // Tried on 6.18 with each of the three left out: without CAP_PERFMON the verifier
            // prohibits pointer arithmetic that the programs do.
            advice: "Linux 5.15 or newer with CONFIG_CGROUP_BPF, and root or the capabilities \
                     CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
        },
    ]
}

fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

/// Cookie of this process's network namespace: how programs tell the host from pods.
///
/// # Errors
/// When the kernel is older than 5.14.
pub fn host_netns_cookie() -> io::Result<u64> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut cookie = 0u64;
    let mut len: libc::socklen_t = 8;
    // SAFETY: the option writes eight bytes into `cookie`.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut len,
        )
    };
    if answer == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
