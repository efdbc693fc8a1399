//! Where the API server is: configured, or its real endpoints, remembered over restarts.
//!
//! The daemon's own way to the API server must not depend on what the daemon serves
//! (operations.md 1.6): `KUBERNETES_SERVICE_HOST` is a clusterIP, and after a restart the pinned
//! backends behind it may be dead.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Uri;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use towpath_model::{EndpointSlice, Object};

use super::{KubeSettings, connect};
use crate::config::Access;

/// The configuration for reaching the API server is unusable.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}; {action}")]
pub struct ConnectError {
    what: String,
    cause: String,
    action: &'static str,
}

const REMEMBERED: &str = "api-endpoints";

/// One client per address, and which of them is in use.
pub(super) struct Api {
    config: Config,
    clients: Mutex<Vec<(Uri, Client)>>,
    current: AtomicUsize,
    remembered: PathBuf,
    /// Real endpoints come before the configured address (which is a clusterIP).
    prefer_real: bool,
}

impl Api {
    pub(super) async fn new(settings: &KubeSettings) -> Result<Self, ConnectError> {
        // A second provider in the tree would make the choice ambiguous; installing it twice is
        // harmless.
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = configuration(&settings.access).await?;
        // Silence is judged by the watch loop, which knows about bookmarks.
        config.read_timeout = None;
        config.connect_timeout = Some(std::time::Duration::from_secs(5));
        let api = Self {
            clients: Mutex::new(Vec::new()),
            current: AtomicUsize::new(0),
            remembered: settings.run_dir.join(REMEMBERED),
            prefer_real: matches!(settings.access, Access::InCluster)
                && settings.api_servers.is_empty(),
            config,
        };
        let mut addresses = settings.api_servers.clone();
        if addresses.is_empty() {
            addresses.push(api.config.cluster_url.clone());
        }
        let real = recall(&api.remembered, &api.config.cluster_url);
        if api.prefer_real {
            addresses.splice(0..0, real);
        } else {
            addresses.extend(real);
        }
        for address in addresses {
            api.add(address)?;
        }
        Ok(api)
    }

    /// The client in use, and its number for [`Api::failed`].
    pub(super) fn client(&self) -> Option<(usize, Client)> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.current.load(Ordering::Relaxed);
        let at = number.checked_rem(clients.len())?;
        Some((number, clients[at].1.clone()))
    }

    /// This client did not get through: the next one's turn, unless another loop said so already.
    pub(super) fn failed(&self, number: usize) {
        let next = number.wrapping_add(1);
        let _other_was_first =
            self.current.compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Looks at objects that go by: the slices of `default/kubernetes` say where the API server
    /// really is.
    pub(super) fn notice(&self, object: &Object) {
        let Object::EndpointSlice(slice) = object else { return };
        if &*slice.service.namespace != "default" || &*slice.service.name != "kubernetes" {
            return;
        }
        let real = endpoints(slice);
        if real.is_empty() {
            return;
        }
        if let Err(error) = remember(&self.remembered, &real) {
            let path = self.remembered.display();
            tracing::warn!(%error, %path, "the API server's endpoints cannot be remembered");
        }
        for endpoint in real {
            let scheme = self.config.cluster_url.scheme_str().unwrap_or("https");
            let uri = format!("{scheme}://{endpoint}").parse();
            if let Some(error) = uri.ok().and_then(|uri: Uri| self.add(uri).err()) {
                tracing::warn!(%error, "an endpoint of the API server cannot be used");
            }
        }
    }

    fn add(&self, address: Uri) -> Result<(), ConnectError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.iter().any(|(known, _)| known.authority() == address.authority()) {
            return Ok(());
        }
        let mut config = self.config.clone();
        if config.tls_server_name.is_none() {
            // The certificate is for the configured name, wherever it is reached.
            let configured = config.cluster_url.host().unwrap_or_default();
            let is_address = configured.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
            let name = if is_address { "kubernetes.default.svc" } else { configured };
            if address.authority() != config.cluster_url.authority() {
                config.tls_server_name = Some(name.to_owned());
            }
        }
        config.cluster_url = address.clone();
        let client = connect::client(&config).map_err(|error| ConnectError {
            what: format!("API server {address}"),
            cause: error.to_string(),
            action: "check its address and credentials",
        })?;
        clients.push((address, client));
        Ok(())
    }
}

async fn configuration(access: &Access) -> Result<Config, ConnectError> {
    match access {
        Access::InCluster => Config::incluster_env().map_err(|error| ConnectError {
            what: "the pod's service account".to_owned(),
            cause: error.to_string(),
            action: "mount it (automountServiceAccountToken), or give --kubeconfig",
        }),
        Access::Kubeconfig(path) => {
            let failed = |cause: String| ConnectError {
                what: format!("kubeconfig {}", path.display()),
                cause,
                action: "check the file given to --kubeconfig",
            };
            let file = Kubeconfig::read_from(path).map_err(|e| failed(e.to_string()))?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(file, &options).await;
            config.map_err(|e| failed(e.to_string()))
        }
    }
}

fn endpoints(slice: &EndpointSlice) -> Vec<SocketAddr> {
    let port =
        slice.ports.iter().find(|port| &*port.name == "https").or_else(|| slice.ports.first());
    let Some(port) = port else { return Vec::new() };
    let ready = slice.endpoints.iter().filter(|endpoint| endpoint.ready);
    ready.map(|endpoint| SocketAddr::new(endpoint.addr, port.port)).collect()
}

/// Written beside and renamed, so that a crash never leaves half a file.
fn remember(path: &Path, endpoints: &[SocketAddr]) -> io::Result<()> {
    let text: String = endpoints.iter().map(|endpoint| format!("{endpoint}\n")).collect();
    if fs::read_to_string(path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let fresh = path.with_extension("new");
    fs::write(&fresh, text)?;
    fs::rename(fresh, path)
}

/// What was remembered; a file that is missing or damaged is an empty one.
fn recall(path: &Path, configured: &Uri) -> Vec<Uri> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let scheme = configured.scheme_str().unwrap_or("https");
    text.lines()
        .take(64)
        .filter_map(|line| line.parse::<SocketAddr>().ok())
        .filter_map(|endpoint| format!("{scheme}://{endpoint}").parse().ok())
        .collect()
}

/// An error with its causes, in one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
