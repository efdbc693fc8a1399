//! healthCheckNodePort servers (services.md 1.6): a load balancer asks each node whether the Service
//! has ready endpoints there. Terminating ones do not count, so that load balancers leave first.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};
use towpath_proxy::HealthCheck;

use crate::{
    admin::{Answer, Asked, Places, Servers, json, not_found, serve_port},
    clock::SystemClock,
    vitals::Vitals,
};

const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// Connections of one port at a time: the clients are load balancers, whose requests are short.
const PLACES: Places = Places { all: 16, each: 8 };
/// One descriptor in so many is for the listener of a port: with all their connections they leave half
/// of the descriptors to everything else. A right to write Services must not reach those.
const DESCRIPTORS: u64 = 32;
/// What `status` calls the ports for which there are no descriptors.
const LEFT_OUT: &str = "healthCheckNodePorts";

/// What the listeners answer from.
#[derive(Clone, Debug)]
pub struct HealthChecks {
    /// healthCheckNodePorts to serve.
    pub wanted: watch::Receiver<Vec<HealthCheck>>,
    /// Is the proxy healthy?
    pub vitals: Arc<Vitals>,
    /// The daemon's clock.
    pub clock: SystemClock,
}

/// Opens and closes listeners as the plan says, until the loop ends.
pub async fn serve(servers: Arc<Servers>, checks: HealthChecks) {
    let mut wanted = checks.wanted.clone();
    let mut open: BTreeMap<u16, JoinHandle<()>> = BTreeMap::new();
    loop {
        let most = usize::try_from(servers.descriptors / DESCRIPTORS).unwrap_or(usize::MAX);
        let mut ports: BTreeSet<u16> =
            wanted.borrow_and_update().iter().map(|check| check.port).collect();
        let all = ports.len();
        // What is open stays open, whatever came since.
        let (open_now, fresh): (Vec<u16>, Vec<u16>) =
            ports.iter().partition(|port| open.contains_key(*port));
        ports = open_now.into_iter().chain(fresh).take(most).collect();
        let why = (all > ports.len()).then(|| too_many(all, most, servers.descriptors));
        servers.ports.left_out(LEFT_OUT, why);
        open.retain(|port, server| {
            // One that ended by itself (it never should) is opened anew.
            let keep = ports.contains(port) && !server.is_finished();
            if !keep {
                server.abort();
                servers.ports.closed(&listener(*port));
            }
            keep
        });
        for port in ports {
            let answers = || tokio::spawn(answer_on(port, Arc::clone(&servers), checks.clone()));
            open.entry(port).or_insert_with(answers);
        }
        if wanted.changed().await.is_err() {
            break;
        }
    }
    open.values().for_each(JoinHandle::abort);
}

fn too_many(all: usize, most: usize, descriptors: u64) -> String {
    format!(
        "{most} of {all} are served: this process may have {descriptors} open files, and more would \
         leave none to the rest of it; raise the limit (LimitNOFILE, ulimit -n) and restart"
    )
}

/// What `status` calls it.
fn listener(port: u16) -> String {
    format!("healthCheckNodePort {port}")
}

async fn answer_on(port: u16, servers: Arc<Servers>, checks: HealthChecks) {
    let handler = move |_any_path: Asked| {
        let healthy = checks.vitals.healthy(checks.clock.now_ms());
        let all = checks.wanted.borrow();
        let check = all.iter().find(|check| check.port == port);
        std::future::ready(match check {
            Some(check) => answer(check, healthy),
            None => not_found("nothing: the Service is gone"),
        })
    };
    let address = SocketAddr::new(any_address(), port);
    let group = "health_check_node_port";
    serve_port(servers, listener(port), group, address, PLACES, handler).await;
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

#[cfg(test)]
mod tests {
    use towpath_model::ObjectName;

    use super::*;

    #[test]
    fn a_node_whose_proxy_is_not_healthy_takes_no_new_connections() {
        let check = |ready_local| HealthCheck {
            service: ObjectName::new("shop", "cart"),
            port: 30_100,
            ready_local,
        };
        let status = |ready_local, healthy| answer(&check(ready_local), healthy).status();
        assert_eq!(status(2, true), StatusCode::OK);
        assert_eq!(status(0, true), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(2, false), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(0, false), StatusCode::SERVICE_UNAVAILABLE);
    }
}
