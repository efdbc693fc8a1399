//! The connection: HTTP/2 where the server speaks it, one for all watches, with pings.
//!
//! `kube`'s own client speaks HTTP/1.1, one connection for each watch: on 5,000 nodes the difference
//! between 5,000 connections and many times as many (operations.md 1.1). Pings find a dead peer
//! within seconds, where a silent watch takes minutes.

use std::{
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Uri, uri::Authority};
use hyper::body::Incoming;
use hyper_rustls::{
    DefaultServerNameResolver, HttpsConnector, HttpsConnectorBuilder, ResolveServerName,
};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _, middleware::BaseUriLayer},
};
use rustls::pki_types::ServerName;
use tower::{BoxError, Layer as _, Service, ServiceBuilder, util::BoxCloneService};

/// A ping after so much silence on the connection, idle or not.
const PING: Duration = Duration::from_secs(10);
/// The answer to a ping, or the connection is dead.
const PONG: Duration = Duration::from_secs(5);
/// To be connected, TLS included, to a configured address.
const CONFIGURED_LIMIT: Duration = Duration::from_secs(10);
/// The same for an address out of a slice, which may lead to any host or to none: it must not hold
/// up the next try.
const LEARNED_LIMIT: Duration = Duration::from_secs(2);

/// Connects to every address of the API server: one TLS configuration, one set of credentials, one
/// pool.
pub(super) struct Dialer {
    http: BoxCloneService<Request<Body>, Response<Incoming>, BoxError>,
    namespace: String,
}

impl Dialer {
    /// Runs the credential plugin, if there is one.
    pub(super) fn new(config: &Config, configured: &[Uri]) -> Result<Self, BoxError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(config.connect_timeout);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(PING));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(config.rustls_client_config()?)
            .https_or_http()
            .with_server_name_resolver(Names::of(config)?)
            .enable_all_versions()
            .wrap_connector(tcp);
        let configured = configured.iter().filter_map(|uri| uri.authority().cloned()).collect();
        let http = HttpClient::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PONG)
            .http2_keep_alive_while_idle(true)
            .http2_adaptive_window(true)
            .build(Bounded { https, configured });
        let http = ServiceBuilder::new()
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(http);
        Ok(Self { http: BoxCloneService::new(http), namespace: config.default_namespace.clone() })
    }

    /// A client for this address; it connects when it is first used.
    pub(super) fn client(&self, address: &Uri) -> Client {
        let service = BaseUriLayer::new(address.clone()).layer(self.http.clone());
        Client::new(service, self.namespace.clone())
    }
}

/// Connects in time, and to addresses that are not configured with TLS only: there a
/// server without a certificate never sees the credentials.
#[derive(Clone)]
struct Bounded {
    https: HttpsConnector<HttpConnector>,
    configured: Arc<[Authority]>,
}

impl Service<Uri> for Bounded {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_configured =
            self.configured.iter().any(|authority| uri.authority() == Some(authority));
        if !is_configured && uri.scheme_str() != Some("https") {
            let error = io::Error::other(format!("{uri} is not configured and not https"));
            return Box::pin(std::future::ready(Err(error.into())));
        }
        let limit = if is_configured { CONFIGURED_LIMIT } else { LEARNED_LIMIT };
        let connecting = self.https.call(uri);
        Box::pin(async move {
            let Ok(connected) = tokio::time::timeout(limit, connecting).await else {
                let why = format!("no connection within {} s", limit.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, why).into());
            };
            connected
        })
    }
}

/// The name that a certificate must have.
struct Names {
    /// The address of the configuration: by its own name.
    own: Option<Authority>,
    /// The certificate is for the configured name, wherever it is reached.
    others: ServerName<'static>,
}

impl Names {
    fn of(config: &Config) -> Result<Self, BoxError> {
        let host = config.cluster_url.host().unwrap_or_default();
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let (own, name) = match &config.tls_server_name {
            Some(name) => (None, name.as_str()),
            None => {
                let name = if is_address { "kubernetes.default.svc" } else { host };
                (config.cluster_url.authority().cloned(), name)
            }
        };
        Ok(Self { own, others: ServerName::try_from(name.to_owned())? })
    }
}

impl ResolveServerName for Names {
    fn resolve(&self, uri: &Uri) -> Result<ServerName<'static>, BoxError> {
        if self.own.is_some() && uri.authority() == self.own.as_ref() {
            return DefaultServerNameResolver::default().resolve(uri);
        }
        Ok(self.others.clone())
    }
}
