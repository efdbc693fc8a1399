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
}

/// Where the kubelet puts a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

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
        }
    }
}
