//! healthCheckNodePort servers (services.md 1.6): a load balancer asks each node whether the Service
//! has ready endpoints there.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tokio::{sync::watch, task::JoinHandle};
use towpath_model::ObjectName;

use super::{
    Answers,
    http::{Answer, Asked, json, not_found},
    ports::{Ports, keep_open},
};

/// One health check port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodePortCheck {
    /// The Service that asks for it.
    pub service: ObjectName,
    /// Distinct local endpoint addresses that are ready (terminating ones do not count, so that
    /// load balancers leave before the pod does).
    pub ready_local: usize,
}

/// All of them, by port.
pub type NodePortChecks = BTreeMap<u16, NodePortCheck>;

const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// Opens and closes listeners as the snapshots say, until the sender is gone.
pub(super) async fn run(
    mut checks: watch::Receiver<Arc<NodePortChecks>>,
    ports: Arc<Ports>,
    answers: Arc<dyn Answers>,
) {
    let mut open: HashMap<u16, JoinHandle<()>> = HashMap::new();
    loop {
        let wanted = Arc::clone(&checks.borrow_and_update());
        open.retain(|port, task| {
            let keep = wanted.contains_key(port);
            if !keep {
                task.abort();
                ports.closed(&listener(*port));
            }
            keep
        });
        for port in wanted.keys().copied() {
            open.entry(port).or_insert_with(|| {
                tokio::spawn(serve(port, checks.clone(), Arc::clone(&ports), Arc::clone(&answers)))
            });
        }
        if checks.changed().await.is_err() {
            break;
        }
    }
    open.values().for_each(JoinHandle::abort);
}

/// What `status` calls it.
pub(super) fn listener(port: u16) -> String {
    format!("healthCheckNodePort {port}")
}

async fn serve(
    port: u16,
    checks: watch::Receiver<Arc<NodePortChecks>>,
    ports: Arc<Ports>,
    answers: Arc<dyn Answers>,
) {
    let handler = move |_any_path: Asked| {
        let check = checks.borrow().get(&port).cloned();
        let live = answers.health().live();
        async move { check.map_or_else(not_found, |check| answer(&check, live)) }
    };
    let address = SocketAddr::new(any_address(), port);
    keep_open(ports, listener(port), "health_check_node_port", address, Arc::new(handler)).await;
}

/// Both families, where the machine has IPv6.
fn any_address() -> IpAddr {
    let has_v6 = std::path::Path::new("/proc/net/if_inet6").exists();
    if has_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    service: Name<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct Name<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// 200 while there is a ready endpoint and the proxy works; a node on its way out still answers 200.
fn answer(check: &NodePortCheck, live: bool) -> Answer {
    let body = Body {
        service: Name { namespace: &check.service.namespace, name: &check.service.name },
        local_endpoints: check.ready_local,
        service_proxy_healthy: live,
    };
    let status = match check.ready_local > 0 && live {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut answer = json(status, serde_json::to_vec(&body).unwrap_or_default());
    answer.headers_mut().insert(WEIGHT, HeaderValue::from(check.ready_local));
    answer
}
