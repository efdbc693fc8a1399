//! The way to the API server: which addresses there are, and a client for the one in use.
//!
//! The daemon's own way to the API server must not depend on what the daemon serves
//! (operations.md 1.6): `KUBERNETES_SERVICE_HOST` is a clusterIP, and after a restart the pinned
//! backends behind it may be dead. So the real endpoints are addresses too.
//!
//! They are read out of objects, which others may write. So they are used with TLS only, where the
//! certificate proves who answers before anything is said: with http or without verification, the
//! first who writes a slice would be told the token. `failover.rs` is what they cannot do otherwise.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::Uri;
use kube::{Client, Config};
use towpath_image::chain;
use towpath_model::{Code, Event, Problem};

use super::{
    KubeSettings,
    configuration::{ConnectError, configuration},
    connect::Dialer,
    endpoints::{Endpoints, recall, remember},
    failover::Addresses,
};
use crate::{config::Access, source::Health, state_file::API_ENDPOINTS};

/// Origins of notes.
const NOTE_FILE: &str = "api-endpoints";
const NOTE_CUT: &str = "api-endpoints-cut";
const NOTE_CREDENTIALS: &str = "api-credentials";

/// The addresses, and a client.
pub(super) struct Api {
    access: Access,
    /// Instead of the address in the configuration.
    given: Vec<Uri>,
    remembered: PathBuf,
    health: Health,
    state: Mutex<State>,
}

struct State {
    dialer: Dialer,
    endpoints: Endpoints,
    addresses: Addresses,
    /// Learned addresses are used.
    learns: bool,
    /// For the address in use.
    client: Client,
    /// Counts changes of what is in use, so that each is blamed once.
    number: u64,
}

impl Api {
    pub(super) async fn new(settings: &KubeSettings, health: Health) -> Result<Self, ConnectError> {
        // A second provider in the tree would make the choice ambiguous; installing it twice is
        // harmless.
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let remembered = settings.run_dir.join(API_ENDPOINTS);
        let access = settings.access.clone();
        let given = settings.api_servers.clone();
        let (dialer, mut addresses, learns) = dial(&access, &given).await?;
        let mut known = Vec::new();
        if learns {
            let (recalled, problem) = recall(&remembered);
            known = recalled;
            health.note(NOTE_FILE, problem.into_iter().collect());
        } else {
            tracing::info!(
                "the real endpoints of the API server are not used: that needs https, and \
                 certificates that are verified"
            );
        }
        let endpoints = Endpoints::new(known);
        addresses.learn(learned(&endpoints, learns));
        let client = dialer.client(addresses.current());
        let state = Mutex::new(State { dialer, endpoints, addresses, learns, client, number: 0 });
        Ok(Self { access, given, remembered, health, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client in use, and its number for [`Api::failed`].
    pub(super) fn client(&self) -> (u64, Client) {
        let state = self.state();
        (state.number, state.client.clone())
    }

    /// This client did not get through: the next one's turn. Answers the new number; `None`:
    /// another loop said so already.
    pub(super) fn failed(&self, number: u64) -> Option<u64> {
        let mut state = self.state();
        if state.number != number {
            return None;
        }
        state.addresses.fail();
        Some(state.use_another())
    }

    /// The credentials or certificates of this client are refused: they are read again, unless
    /// that was done since.
    pub(super) async fn renew(&self, number: u64) {
        if self.state().number != number {
            return;
        }
        match dial(&self.access, &self.given).await {
            Ok((dialer, addresses, learns)) => {
                self.health.note(NOTE_CREDENTIALS, Vec::new());
                let mut state = self.state();
                state.dialer = dialer;
                state.learns = learns;
                if state.addresses.configured() != addresses.configured() {
                    state.addresses = addresses;
                }
                let learned = learned(&state.endpoints, learns);
                state.addresses.learn(learned);
                state.use_another();
            }
            Err(error) => {
                let action = "the credentials that were read before stay in use";
                let problem = Problem::new(
                    Code::Credentials,
                    None,
                    "credentials",
                    &error.to_string(),
                    action,
                );
                self.health.note(NOTE_CREDENTIALS, vec![problem]);
            }
        }
    }

    /// Listens to what goes by: the slices of `default/kubernetes` say where the API server is.
    pub(super) fn notice(&self, events: &[Event]) {
        let mut state = self.state();
        // Each is heard, whatever the others changed.
        let changed = events.iter().filter(|event| state.endpoints.ingest(event)).count() > 0;
        if !changed || !state.learns {
            return;
        }
        let real = state.endpoints.addresses();
        self.note_cut(state.endpoints.count(), real.len());
        let before = state.addresses.current().clone();
        let learned = uris(&real);
        state.addresses.learn(learned);
        if *state.addresses.current() != before {
            state.use_another();
        }
        drop(state);
        let problem = remember(&self.remembered, &real).err().map(|error| {
            let path = self.remembered.display().to_string();
            let action = "after a restart the API server is looked for at its configured address \
                          only; make the directory writable";
            Problem::new(
                Code::AddressFile,
                None,
                &path,
                &format!("cannot be written: {error}"),
                action,
            )
        });
        self.health.note(NOTE_FILE, problem.into_iter().collect());
    }

    fn note_cut(&self, all: usize, used: usize) {
        let problem = (all > used).then(|| {
            let why = format!("the API server has {all} endpoints; only {used} are ever asked");
            let action = "see who writes the EndpointSlices of this Service: it has one endpoint \
                          for each API server";
            Problem::new(Code::ApiAddressesCut, None, "Service default/kubernetes", &why, action)
        });
        self.health.note(NOTE_CUT, problem.into_iter().collect());
    }
}

impl State {
    /// A client for the address whose turn it is; answers its number.
    fn use_another(&mut self) -> u64 {
        self.client = self.dialer.client(self.addresses.current());
        self.number += 1;
        self.number
    }
}

/// What is learned, if anything is.
fn learned(endpoints: &Endpoints, learns: bool) -> Vec<Uri> {
    if learns { uris(&endpoints.addresses()) } else { Vec::new() }
}

fn uris(real: &[SocketAddr]) -> Vec<Uri> {
    real.iter().filter_map(|endpoint| format!("https://{endpoint}").parse().ok()).collect()
}

/// Reads the configuration and makes of it what can connect, the configured addresses, and whether
/// learned ones may be used beside them.
async fn dial(access: &Access, given: &[Uri]) -> Result<(Dialer, Addresses, bool), ConnectError> {
    let config = configuration(access).await?;
    let first = given.first().unwrap_or(&config.cluster_url).clone();
    let in_cluster = matches!(access, Access::InCluster);
    let addresses = Addresses::new(first, given, in_cluster && given.is_empty());
    let secure = |uri: &Uri| uri.scheme_str() == Some("https");
    let learns = !config.accept_invalid_certs && addresses.configured().iter().all(secure);
    let dialer = dialer(config, addresses.configured().to_vec()).await?;
    Ok((dialer, addresses, learns))
}

/// A credential plugin may take its time, on a thread of its own.
async fn dialer(config: Config, configured: Vec<Uri>) -> Result<Dialer, ConnectError> {
    let runtime = tokio::runtime::Handle::current();
    let built = tokio::task::spawn_blocking(move || {
        let _entered = runtime.enter();
        Dialer::new(&config, &configured).map_err(|error| {
            let address = configured.first().unwrap_or(&config.cluster_url);
            unusable(&config, address, &*error)
        })
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

fn unusable(
    config: &Config,
    address: &Uri,
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> ConnectError {
    let exec = config.auth_info.exec.as_ref();
    let plugin = exec.and_then(|exec| exec.command.as_deref());
    let hint = exec.and_then(|exec| exec.install_hint.as_deref()).unwrap_or_default();
    let action = plugin.map_or_else(
        || "check its address and credentials".to_owned(),
        |plugin| {
            format!(
                "the kubeconfig takes credentials from the plugin {plugin:?}, which has to be on \
                 this machine and to work without a person; or use a token, a tokenFile or a \
                 client certificate. {hint}"
            )
        },
    );
    ConnectError::new(format!("API server {address}"), chain(error), action.trim())
}
