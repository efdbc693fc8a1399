//! What the machine says, taken once at start, so that resolving needs nothing but values.

use std::path::Path;

/// Facts outside the configuration.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `$NODE_NAME`, which the DaemonSet sets from `spec.nodeName`.
    pub node_name: Option<String>,
    /// The host's name.
    pub host_name: String,
    /// A service account is mounted: this is a pod.
    pub in_cluster: bool,
    /// Text of `/proc/mounts`.
    pub mounts: String,
    /// This process is in a cgroup namespace other than the machine's first.
    pub own_cgroup_namespace: bool,
}

/// Where the kubelet puts a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The first cgroup namespace: its number never changes (`PROC_CGROUP_INIT_INO`, linux/proc_ns.h).
const FIRST_CGROUP_NAMESPACE: &str = "cgroup:[4026531835]";

impl Environment {
    /// Looks around.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self {
            node_name: std::env::var("NODE_NAME").ok().filter(|name| !name.trim().is_empty()),
            host_name: nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            in_cluster: Path::new(SERVICE_ACCOUNT).exists(),
            mounts: std::fs::read_to_string("/proc/mounts").unwrap_or_default(),
            own_cgroup_namespace: std::fs::read_link("/proc/self/ns/cgroup")
                .is_ok_and(|name| name.as_os_str() != FIRST_CGROUP_NAMESPACE),
        }
    }
}
