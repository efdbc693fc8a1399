//! Settings: as typed (flags and file), then resolved, one file per section.
//!
//! Resolving knows nothing but values: help and messages work on a broken machine, and a test owns
//! everything a message depends on. Every mistake is reported, not only the first.

mod address;
mod admin;
mod args;
mod dns;
mod environment;
mod fault;
mod features;
mod file;
mod ingress;
mod kernel;
mod layers;
mod log;
mod node;
mod services;
mod source;
mod suggest;

use std::path::PathBuf;

pub use admin::{AdminConfig, RUN_DIR, control_socket};
pub use args::RunArgs;
pub use dns::DnsConfig;
pub use environment::Environment;
pub use fault::{Fault, Faults, Origin};
pub use ingress::IngressConfig;
pub use kernel::{BPFFS, KernelConfig};
pub use log::{LogConfig, LogFormat};
pub use services::{ServicesConfig, SocketLb};
pub use source::{Access, SourceConfig, cluster_ip_ranges};

/// Everything `towpath run` needs to know, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Name of this node's Node object.
    pub node_name: String,
    /// Where cluster state comes from.
    pub source: SourceConfig,
    /// Where the programs attach.
    pub kernel: KernelConfig,
    /// Directory of the writer's lock and of what is remembered over restarts.
    pub run_dir: PathBuf,
    /// While another daemon serves this node, wait for its end instead of refusing to start.
    pub standby: bool,
    /// What is routed.
    pub services: ServicesConfig,
    /// Where the daemon answers.
    pub admin: AdminConfig,
    /// What is logged.
    pub log: LogConfig,
    /// How DNS is answered; `None`: it is not.
    pub dns: Option<DnsConfig>,
    /// Are policies enforced?
    pub network_policy: bool,
    /// Are packets translated at the node's devices?
    pub packets: bool,
    /// Where Ingresses are served; `None`: they are not.
    pub ingress: Option<IngressConfig>,
}

impl Config {
    /// Reads the file that the flags name, lays the flags over it and checks the result.
    ///
    /// # Errors
    /// With every mistake found.
    pub fn load(args: &RunArgs, environment: &Environment) -> Result<Self, Faults> {
        let file = match &args.config {
            Some(path) => file::read(path).map_err(|fault| Faults(vec![fault]))?,
            None => file::File::default(),
        };
        resolve(args, &file, environment)
    }
}

fn resolve(args: &RunArgs, file: &file::File, environment: &Environment) -> Result<Config, Faults> {
    let layers = layers::Layers { args, file, environment };
    let mut faults = Vec::new();
    let run_dir = admin::run_dir(&layers);
    let node_name = node::resolve(&layers, &mut faults);
    let source = source::resolve(&layers, &mut faults);
    let kernel = kernel::resolve(&layers, &mut faults);
    let services = services::resolve(&layers, &mut faults);
    let admin = admin::resolve(&layers, &run_dir, &mut faults);
    let log = log::resolve(&layers, &mut faults);
    let dns = dns::resolve(&layers, &mut faults);
    let network_policy = features::network_policy(&layers, &mut faults);
    let packets = features::packets(&layers, &mut faults);
    let ingress = ingress::resolve(&layers, &mut faults);
    match (node_name, source, kernel, services, admin, log) {
        (Some(node_name), Some(source), Some(kernel), Some(services), Some(admin), Some(log))
            if faults.is_empty() =>
        {
            Ok(Config {
                node_name,
                source,
                kernel,
                run_dir,
                standby: args.standby,
                services,
                admin,
                log,
                dns,
                network_policy,
                packets,
                ingress,
            })
        }
        _ => Err(Faults(faults)),
    }
}

#[cfg(test)]
mod tests;
