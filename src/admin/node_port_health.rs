//! healthCheckNodePort servers (services.md 1.6): 200 while a ready endpoint is on this node.

use std::{
    collections::BTreeMap,
    net::{Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use http::StatusCode;
use serde_json::json;
use tokio::task::AbortHandle;
use towpath_proxy::HealthCheck;

use super::{
    Admin,
    http::{Handler, json, serve_tcp},
};

/// Opens and closes listeners as the plan says, until the loop ends.
pub(super) async fn serve(admin: Arc<Admin>) {
    let mut wanted = admin.health_checks.clone();
    let current: Arc<Mutex<BTreeMap<u16, HealthCheck>>> = Arc::default();
    let mut servers: BTreeMap<u16, AbortHandle> = BTreeMap::new();
    loop {
        let checks: BTreeMap<u16, HealthCheck> =
            wanted.borrow_and_update().iter().map(|check| (check.port, check.clone())).collect();
        servers.retain(|port, server| {
            let kept = checks.contains_key(port);
            if !kept {
                server.abort();
                admin.ports.bound(SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port)));
            }
            kept
        });
        for port in checks.keys() {
            servers.entry(*port).or_insert_with(|| {
                // `[::]` takes IPv4 as well.
                let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
                let handler = handler(*port, Arc::clone(&admin), Arc::clone(&current));
                tokio::spawn(serve_tcp(address, handler, Arc::clone(&admin.ports))).abort_handle()
            });
        }
        *current.lock().unwrap_or_else(PoisonError::into_inner) = checks;
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

fn handler(
    port: u16,
    admin: Arc<Admin>,
    current: Arc<Mutex<BTreeMap<u16, HealthCheck>>>,
) -> Handler {
    Arc::new(move |_request| {
        let check = current.lock().unwrap_or_else(PoisonError::into_inner).get(&port).cloned();
        let healthy = admin.vitals.healthy(admin.clock.now_ms());
        let count = check.as_ref().map_or(0, |check| check.ready_local);
        let (namespace, name) = check
            .as_ref()
            .map_or(("", ""), |check| (&*check.service.namespace, &*check.service.name));
        let body = json!({
            "service": { "namespace": namespace, "name": name },
            "localEndpoints": count,
            "serviceProxyHealthy": healthy,
        });
        let fine = healthy && count > 0;
        let status = if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut response = json(status, &body);
        response.headers_mut().insert("X-Load-Balancing-Endpoint-Weight", count.into());
        response
    })
}
