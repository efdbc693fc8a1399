//! What is missing on this machine, and how to get it.

use std::{fs, path::PathBuf};

use anyhow::{Result, bail};

/// The cgroup2 mount.
///
/// # Errors
/// When there is none.
pub fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    match line.and_then(|line| line.split(' ').nth(1)) {
        Some(path) => Ok(PathBuf::from(path)),
        None => bail!(
            "no cgroup2 hierarchy is mounted: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 \
             none /sys/fs/cgroup/unified"
        ),
    }
}

/// Everything that building a cluster needs.
///
/// # Errors
/// What is missing, and how to get it.
pub fn check() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this needs root: it makes network namespaces and loads kernel programs (use sudo)");
    }
    cgroup2()?;
    if !std::path::Path::new("/proc/self/ns/net").exists() {
        bail!("this kernel has no network namespaces (CONFIG_NET_NS)");
    }
    Ok(())
}
