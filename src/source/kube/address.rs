//! The clients: one for each address of the API server, and which of them is in use.
//!
//! The daemon's own way to the API server must not depend on what the daemon serves
//! (operations.md 1.6): `KUBERNETES_SERVICE_HOST` is a clusterIP, and after a restart the pinned
//! backends behind it may be dead. So the real endpoints are addresses too.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::Uri;
use kube::{Client, Config};
use towpath_model::{Event, Problem};

use super::{
    KubeSettings,
    configuration::{ConnectError, configuration},
    connect,
    ended::causes,
    endpoints::{Endpoints, recall, remember},
};
use crate::{config::Access, source::Health};

const REMEMBERED: &str = "api-endpoints";
/// Origins of notes.
const NOTE_FILE: &str = "api-endpoints";
const NOTE_CREDENTIALS: &str = "api-credentials";

/// One client per address.
pub(super) struct Api {
    access: Access,
    /// Instead of the address in the configuration.
    configured: Vec<Uri>,
    remembered: PathBuf,
    health: Health,
    state: Mutex<State>,
}

struct State {
    config: Config,
    endpoints: Endpoints,
    /// Never empty.
    clients: Vec<(Uri, Client)>,
    at: usize,
    /// Counts changes of what is in use, so that each is blamed once.
    number: u64,
}

impl Api {
    pub(super) async fn new(settings: &KubeSettings, health: Health) -> Result<Self, ConnectError> {
        // A second provider in the tree would make the choice ambiguous; installing it twice is
        // harmless.
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = configuration(&settings.access).await?;
        let remembered = settings.run_dir.join(REMEMBERED);
        let (known, problem) = recall(&remembered);
        health.note(NOTE_FILE, problem.into_iter().collect());
        let endpoints = Endpoints::new(known);
        let configured = settings.api_servers.clone();
        let access = settings.access.clone();
        let addresses = addresses(&access, &configured, &config, &endpoints.addresses());
        let clients = clients(config.clone(), addresses).await?;
        let state = Mutex::new(State { config, endpoints, clients, at: 0, number: 0 });
        Ok(Self { access, configured, remembered, health, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client in use, and its number for [`Api::failed`].
    pub(super) fn client(&self) -> (u64, Client) {
        let state = self.state();
        (state.number, state.clients[state.at].1.clone())
    }

    /// This client did not get through: the next one's turn. Answers the new number; `None`:
    /// another loop said so already.
    pub(super) fn failed(&self, number: u64) -> Option<u64> {
        let mut state = self.state();
        if state.number != number {
            return None;
        }
        state.number += 1;
        state.at = (state.at + 1) % state.clients.len();
        Some(state.number)
    }

    /// The credentials or certificates of this client are refused: they are read again, unless
    /// that was done since.
    pub(super) async fn renew(&self, number: u64) {
        if self.state().number != number {
            return;
        }
        let renewed = async {
            let config = configuration(&self.access).await?;
            let endpoints = self.state().endpoints.addresses();
            let addresses = addresses(&self.access, &self.configured, &config, &endpoints);
            Ok::<_, ConnectError>((clients(config.clone(), addresses).await?, config))
        };
        match renewed.await {
            Ok((clients, config)) => {
                self.health.note(NOTE_CREDENTIALS, Vec::new());
                let mut state = self.state();
                state.config = config;
                state.replace(clients);
            }
            Err(error) => {
                let action = "the credentials that were read before stay in use";
                let problem = Problem::new(None, "credentials", &error.to_string(), action);
                self.health.note(NOTE_CREDENTIALS, vec![problem]);
            }
        }
    }

    /// Listens to what goes by: the slices of `default/kubernetes` say where the API server is.
    pub(super) async fn notice(&self, events: &[Event]) {
        let real = {
            let mut state = self.state();
            // Each is heard, whatever the others changed.
            let changed = events.iter().filter(|event| state.endpoints.hear(event)).count() > 0;
            changed.then(|| state.endpoints.addresses())
        };
        let Some(real) = real else { return };
        let problem = remember(&self.remembered, &real).err().map(|error| {
            let path = self.remembered.display().to_string();
            let action = "after a restart the API server is looked for at its configured address \
                          only; make the directory writable";
            Problem::new(None, &path, &format!("cannot be written: {error}"), action)
        });
        self.health.note(NOTE_FILE, problem.into_iter().collect());
        if let Err(error) = self.follow(&real).await {
            tracing::warn!(%error, "the endpoints of the API server are not used");
        }
    }

    /// Clients for these endpoints; those that are there already stay.
    async fn follow(&self, real: &[SocketAddr]) -> Result<(), ConnectError> {
        let (config, mut known) = {
            let state = self.state();
            (state.config.clone(), state.clients.clone())
        };
        let wanted = addresses(&self.access, &self.configured, &config, real);
        let same = |one: &Uri, other: &Uri| one.authority() == other.authority();
        let missing = wanted.iter().filter(|uri| !known.iter().any(|(k, _)| same(k, uri)));
        known.extend(clients(config, missing.cloned().collect()).await?);
        let client = |uri: Uri| {
            let at = known.iter().position(|(known, _)| same(known, &uri))?;
            Some((uri, known[at].1.clone()))
        };
        let fresh = wanted.into_iter().filter_map(client).collect();
        self.state().replace(fresh);
        Ok(())
    }
}

impl State {
    /// Other clients. The address in use stays in use while it is among them, unless it is only
    /// the last resort.
    fn replace(&mut self, clients: Vec<(Uri, Client)>) {
        if clients.is_empty() {
            return;
        }
        let now = self.clients[self.at].0.authority();
        let at = clients.iter().position(|(uri, _)| uri.authority() == now);
        let last_resort = clients.len() > 1 && at == Some(clients.len() - 1);
        self.at = if last_resort { 0 } else { at.unwrap_or(0) };
        self.clients = clients;
        self.number += 1;
    }
}

/// All addresses, the preferred first, each once. In a pod the configured one is a clusterIP and
/// comes last.
fn addresses(access: &Access, given: &[Uri], config: &Config, real: &[SocketAddr]) -> Vec<Uri> {
    let scheme = config.cluster_url.scheme_str().unwrap_or("https");
    let real = real.iter().filter_map(|endpoint| format!("{scheme}://{endpoint}").parse().ok());
    let mut all = given.to_vec();
    if all.is_empty() {
        all.push(config.cluster_url.clone());
    }
    if matches!(access, Access::InCluster) && given.is_empty() {
        all.splice(0..0, real);
    } else {
        all.extend(real);
    }
    let mut each: Vec<Uri> = Vec::with_capacity(all.len());
    for uri in all {
        if !each.iter().any(|known| known.authority() == uri.authority()) {
            each.push(uri);
        }
    }
    each
}

/// A client for each; a credential plugin may take its time, on a thread of its own.
async fn clients(config: Config, addresses: Vec<Uri>) -> Result<Vec<(Uri, Client)>, ConnectError> {
    let build = move || {
        let one = |address: Uri| client(&config, &address).map(|client| (address, client));
        addresses.into_iter().map(one).collect()
    };
    // `Client` starts a task, for which the runtime has to be entered there too.
    let runtime = tokio::runtime::Handle::current();
    let built = tokio::task::spawn_blocking(move || {
        let _entered = runtime.enter();
        build()
    });
    let patience = std::time::Duration::from_secs(60);
    let cause = match tokio::time::timeout(patience, built).await {
        Ok(Ok(result)) => return result,
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("no answer within {} s", patience.as_secs()),
    };
    let action = "check the credential plugin of the kubeconfig";
    Err(ConnectError::new("credentials".to_owned(), cause, action))
}

fn client(config: &Config, address: &Uri) -> Result<Client, ConnectError> {
    let mut config = config.clone();
    if config.tls_server_name.is_none() && address.authority() != config.cluster_url.authority() {
        // The certificate is for the configured name, wherever it is reached.
        let configured = config.cluster_url.host().unwrap_or_default();
        let is_address = configured.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let name = if is_address { "kubernetes.default.svc" } else { configured };
        config.tls_server_name = Some(name.to_owned());
    }
    config.cluster_url = address.clone();
    connect::client(&config).map_err(|error| {
        let exec = config.auth_info.exec.as_ref();
        let plugin = exec.and_then(|exec| exec.command.as_deref());
        let hint = exec.and_then(|exec| exec.install_hint.as_deref()).unwrap_or_default();
        let action = plugin.map_or_else(
            || "check its address and credentials".to_owned(),
            |plugin| {
                format!(
                    "the kubeconfig takes credentials from the plugin {plugin:?}, which has to be \
                     on this machine and to work without a person; or use a token, a tokenFile or \
                     a client certificate. {hint}"
                )
            },
        );
        ConnectError::new(format!("API server {address}"), causes(&*error), action.trim())
    })
}
