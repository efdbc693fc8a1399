//! 10256 `/healthz` and `/livez`, 10249 `/metrics`, `/healthz` and `/proxyMode`: kube-proxy's
//! endpoints, because load balancers, probes and dashboards know them (services.md 2.1).

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use serde_json::json;

use super::{
    Admin,
    http::{Answer, Asked, json, not_found, text, typed},
};
use crate::timestamp;

/// A scrape that the loop holds up longer gets the values of before.
const GATHER_TIMEOUT: Duration = Duration::from_secs(3);

/// Port 10256.
pub(super) fn healthz(admin: &Admin, asked: &Asked) -> Answer {
    match asked.path.as_str() {
        "/healthz" => {
            let healthy = admin.vitals.healthy(admin.clock.now_ms());
            let response = body(admin, healthy, Some(admin.vitals.node_eligible()));
            admin.servers.metrics.healthz(response.status());
            response
        }
        "/livez" => {
            let healthy = admin.vitals.healthy(admin.clock.now_ms());
            let response = body(admin, healthy, None);
            admin.servers.metrics.livez(response.status());
            response
        }
        _ => not_found("/healthz and /livez"),
    }
}

/// Port 10249.
pub(super) async fn metrics(admin: Arc<Admin>, asked: Asked) -> Answer {
    match asked.path.as_str() {
        "/metrics" => {
            // On a thread of its own: waiting for the loop here would hold up /healthz.
            let asked = Arc::clone(&admin);
            let gather = tokio::task::spawn_blocking(move || (asked.gather)());
            if tokio::time::timeout(GATHER_TIMEOUT, gather).await.is_err() {
                tracing::debug!("the loop is busy: metrics are those of the last scrape");
            }
            typed(StatusCode::OK, prometheus::TEXT_FORMAT, admin.registry.text())
        }
        "/healthz" if admin.vitals.healthy(admin.clock.now_ms()) => text(StatusCode::OK, "ok"),
        "/healthz" => text(StatusCode::SERVICE_UNAVAILABLE, "not healthy"),
        "/proxyMode" => text(StatusCode::OK, "ebpf"),
        _ => not_found("/metrics, /healthz and /proxyMode"),
    }
}

/// kube-proxy's body. `eligible`: the node may take new connections; `None` for `/livez`, which does
/// not care (KEP-3836: probing /healthz would kill the pod while its node drains).
fn body(admin: &Admin, healthy: bool, eligible: Option<bool>) -> Answer {
    let now = SystemTime::now();
    let age_ms = admin.clock.now_ms().saturating_sub(admin.vitals.settled_ms());
    let updated = now.checked_sub(Duration::from_millis(age_ms)).unwrap_or(UNIX_EPOCH);
    let fine = healthy && eligible.unwrap_or(true);
    // "lastUpdated" is recent whenever all is well: that is what it meant when kube-proxy wrote its
    // rules every few seconds, and what scripts compare.
    let mut reply = json!({
        "lastUpdated": timestamp::written(if fine { now } else { updated }),
        "currentTime": timestamp::written(now),
        "healthy": fine,
        "status": { "IPv4": { "lastUpdated": timestamp::written(updated), "healthy": healthy },
                    "IPv6": { "lastUpdated": timestamp::written(updated), "healthy": healthy } },
    });
    if let Some(eligible) = eligible {
        reply["nodeEligible"] = eligible.into();
    }
    json(if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &reply)
}
