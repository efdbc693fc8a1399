//! Flags of `towpath run`, as typed. They win over the file.

use std::path::PathBuf;

/// What can be said on the command line; everything else is in the file.
///
/// Values stay text here: they are judged together with the file's, so that a mistake reads the same
/// wherever it was made.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// Configuration file (YAML); flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Reach the API server with this kubeconfig (default: the pod's service account)
    #[arg(long, value_name = "FILE", conflicts_with = "manifests")]
    pub kubeconfig: Option<PathBuf>,
    /// Run without a cluster, on the Kubernetes YAML files of this directory
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Name of this node's Node object (default: $NODE_NAME, else the host name)
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Route sockets of processes below this cgroup2 directory (default: the mounted hierarchy)
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Directory on a bpffs for what outlives the daemon (default: /sys/fs/bpf/towpath)
    #[arg(long, value_name = "DIR")]
    pub bpffs: Option<PathBuf>,
    /// Directory of the writer's lock and of what is remembered (default: /run/towpath)
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Directory of the control socket (default: the run directory)
    #[arg(long, value_name = "DIR")]
    pub control_dir: Option<PathBuf>,
    /// Wait while another daemon serves this node, ready to take over when it ends (upgrades)
    #[arg(long)]
    pub standby: bool,
    /// Address of an API server that does not depend on Services; repeat for more
    #[arg(long = "api-server", value_name = "URL", conflicts_with = "manifests")]
    pub api_servers: Vec<String>,
    /// Whose sockets are routed: all, or hostOnly (leaves pods to a service mesh)
    #[arg(long, value_name = "all|hostOnly")]
    pub socket_lb: Option<String>,
    /// Blocks that a Service's externalIPs may come from (default: none); repeat or separate by commas
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub external_ips: Vec<String>,
    /// Where /healthz and /livez are served, or "off" (default: 0.0.0.0:10256)
    #[arg(long, value_name = "ADDRESS")]
    pub healthz_bind_address: Option<String>,
    /// Where /metrics is served, or "off" (default: 127.0.0.1:10249)
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_bind_address: Option<String>,
    /// Log format: text or json (default: text)
    #[arg(long, value_name = "text|json")]
    pub log_format: Option<String>,
    /// Log level: error, warn, info, debug, trace; or per target, as in warn,towpath::source::kube=info
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}
