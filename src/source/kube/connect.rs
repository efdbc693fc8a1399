//! The connection: HTTP/2 where the server speaks it, one for all watches, with pings.
//!
//! `kube`'s own client speaks HTTP/1.1, one connection for each watch: on 5,000 nodes the difference
//! between 5,000 connections and many times as many (operations.md 1.1). Pings find a dead peer
//! within seconds, where a silent watch takes minutes.

use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{Client, Config, client::ConfigExt as _};
use rustls::pki_types::ServerName;
use tower::{BoxError, ServiceBuilder};

/// A ping after so much silence on the connection, idle or not.
const PING: Duration = Duration::from_secs(10);
/// The answer to a ping, or the connection is dead.
const PONG: Duration = Duration::from_secs(5);

/// A client for this configuration; it connects when it is first used.
pub(super) fn client(config: &Config) -> Result<Client, BoxError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(config.connect_timeout);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(PING));
    let mut https = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = ServerName::try_from(name.clone())?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let http = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PONG)
        .http2_keep_alive_while_idle(true)
        .http2_adaptive_window(true)
        .build(https.enable_all_versions().wrap_connector(tcp));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}
