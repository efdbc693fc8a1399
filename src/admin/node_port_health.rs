//! healthCheckNodePort servers (services.md 1.6): a load balancer asks each node whether the Service
//! has ready endpoints there. Terminating ones do not count, so that load balancers leave first.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use tokio::task::JoinHandle;
use towpath_proxy::HealthCheck;

use super::{
    Admin,
    http::{Answer, Asked, json, not_found},
    ports,
};

const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// Opens and closes listeners as the plan says, until the loop ends.
pub(super) async fn serve(admin: Arc<Admin>) {
    let mut wanted = admin.health_checks.clone();
    let mut open: BTreeMap<u16, JoinHandle<()>> = BTreeMap::new();
    loop {
        let ports: Vec<u16> = wanted.borrow_and_update().iter().map(|check| check.port).collect();
        open.retain(|port, server| {
            // One that ended by itself (it never should) is opened anew.
            let keep = ports.contains(port) && !server.is_finished();
            if !keep {
                server.abort();
                admin.ports.closed(&listener(*port));
            }
            keep
        });
        for port in ports {
            open.entry(port).or_insert_with(|| tokio::spawn(answer_on(port, Arc::clone(&admin))));
        }
        if wanted.changed().await.is_err() {
            break;
        }
    }
    open.values().for_each(JoinHandle::abort);
}

/// What `status` calls it.
fn listener(port: u16) -> String {
    format!("healthCheckNodePort {port}")
}

async fn answer_on(port: u16, admin: Arc<Admin>) {
    let asked = Arc::clone(&admin);
    let handler = move |_any_path: Asked| {
        let healthy = asked.vitals.healthy(asked.clock.now_ms());
        let checks = asked.health_checks.borrow();
        let check = checks.iter().find(|check| check.port == port);
        std::future::ready(match check {
            Some(check) => answer(check, healthy),
            None => not_found("nothing: the Service is gone"),
        })
    };
    let address = SocketAddr::new(any_address(), port);
    ports::serve(admin, listener(port), "health_check_node_port", address, handler).await;
}

/// Both families, where the machine has IPv6.
fn any_address() -> IpAddr {
    let has_v6 = std::path::Path::new("/proc/net/if_inet6").exists();
    if has_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// 200 while there is a ready endpoint and the proxy works; a node on its way out still answers 200.
fn answer(check: &HealthCheck, healthy: bool) -> Answer {
    let body = json!({
        "service": { "namespace": &*check.service.namespace, "name": &*check.service.name },
        "localEndpoints": check.ready_local,
        "serviceProxyHealthy": healthy,
    });
    let fine = healthy && check.ready_local > 0;
    let mut answer =
        json(if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body);
    answer.headers_mut().insert(WEIGHT, HeaderValue::from(check.ready_local));
    answer
}
