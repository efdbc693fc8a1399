//! Where the daemon answers.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{Fault, address::listen, layers::Layers};

/// Listeners and the control socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminConfig {
    /// `/healthz` and `/livez`; `None`: off.
    pub healthz: Option<SocketAddr>,
    /// `/metrics`, `/healthz` and `/proxyMode`; `None`: off.
    pub metrics: Option<SocketAddr>,
    /// The control socket's path.
    pub socket: PathBuf,
}

/// Where the daemon keeps its control socket unless the configuration says otherwise.
pub const RUN_DIR: &str = "/run/towpath";
/// kube-proxy's ports (services.md 2.1): load balancers and dashboards know them.
const HEALTHZ: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 10256);
const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10249);

/// The control socket of a control directory.
#[must_use]
pub fn control_socket(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

pub(super) fn run_dir(layers: &Layers<'_>) -> PathBuf {
    layers
        .path(layers.args.run_dir.as_ref(), "--run-dir", layers.file.run_dir.as_ref())
        .map_or_else(|| PathBuf::from(RUN_DIR), |given| given.value)
}

pub(super) fn resolve(
    layers: &Layers<'_>,
    run_dir: &Path,
    faults: &mut Vec<Fault>,
) -> Option<AdminConfig> {
    let (args, file) = (layers.args, layers.file);
    let before = faults.len();
    let given = layers.text(
        args.healthz_bind_address.as_ref(),
        "--healthz-bind-address",
        file.healthz_bind_address.as_ref(),
    );
    let healthz = listen(given.as_ref(), "healthzBindAddress", HEALTHZ, faults);
    let given = layers.text(
        args.metrics_bind_address.as_ref(),
        "--metrics-bind-address",
        file.metrics_bind_address.as_ref(),
    );
    let metrics = listen(given.as_ref(), "metricsBindAddress", METRICS, faults);
    let control_dir =
        layers.path(args.control_dir.as_ref(), "--control-dir", file.control_dir.as_ref());
    let socket = control_socket(control_dir.as_ref().map_or(run_dir, |given| &given.value));
    (faults.len() == before).then_some(AdminConfig { healthz, metrics, socket })
}
