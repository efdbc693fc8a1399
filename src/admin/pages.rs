//! What is served on kube-proxy's ports (services.md 2.1).

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::{
    Answers, HealthSnapshot, Metrics,
    http::{Answer, Asked, json, not_found, text, typed},
};

/// A scrape that the loop holds up longer gets the values of before.
const GATHER_TIMEOUT: Duration = Duration::from_secs(2);

/// `/healthz` and `/livez` of port 10256.
pub(super) fn health(asked: &Asked, answers: &dyn Answers, metrics: &Metrics) -> Answer {
    let snapshot = answers.health();
    match asked.path.as_str() {
        "/healthz" => {
            let healthy = snapshot.healthy();
            metrics.healthz(healthy);
            json(status(healthy), body(&snapshot, healthy, Some(snapshot.node_eligible)))
        }
        "/livez" => {
            let live = snapshot.live();
            metrics.livez(live);
            json(status(live), body(&snapshot, live, None))
        }
        _ => not_found(),
    }
}

/// `/metrics`, `/healthz` and `/proxyMode` of port 10249.
pub(super) async fn metrics(
    asked: Asked,
    answers: Arc<dyn Answers>,
    metrics: Arc<Metrics>,
) -> Answer {
    match asked.path.as_str() {
        "/metrics" => {
            let gather = tokio::task::spawn_blocking(move || answers.gather());
            if tokio::time::timeout(GATHER_TIMEOUT, gather).await.is_err() {
                tracing::debug!("the loop is busy; metrics are those of the last scrape");
            }
            match metrics.text() {
                Ok(body) => typed(StatusCode::OK, prometheus::TEXT_FORMAT, body),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }
        // kube-proxy's second /healthz is a plain "ok" that says that the process answers.
        "/healthz" => text(StatusCode::OK, "ok"),
        "/proxyMode" => text(StatusCode::OK, "towpath"),
        _ => not_found(),
    }
}

const fn status(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// kube-proxy's body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    status: std::collections::BTreeMap<&'static str, FamilyBody>,
    /// Ours: why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyBody {
    last_updated: String,
    healthy: bool,
}

fn body(snapshot: &HealthSnapshot, well: bool, node_eligible: Option<bool>) -> Vec<u8> {
    // "lastUpdated" is recent whenever the proxy is healthy: that is what it meant when kube-proxy
    // wrote its rules every few seconds, and what scripts compare.
    let last = if well { snapshot.now_ms } else { snapshot.last_updated_ms() };
    let families = snapshot.families.iter().map(|family| {
        let body =
            FamilyBody { last_updated: timestamp(family.last_updated_ms), healthy: family.healthy };
        (family.family.as_str(), body)
    });
    let body = Body {
        last_updated: timestamp(last),
        current_time: timestamp(snapshot.now_ms),
        node_eligible,
        healthy: well,
        status: families.collect(),
        failure: snapshot.failure.clone(),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// RFC 3339; Go's zero time for never, as kube-proxy says it.
fn timestamp(ms: u64) -> String {
    let at = i64::try_from(ms).ok().filter(|ms| *ms > 0);
    at.and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::HealthTracker;
    use towpath_model::Family;

    #[test]
    fn the_body_is_kube_proxys() {
        let mut tracker = HealthTracker::default();
        tracker.updated(Family::V4, 1_700_000_000_000);
        let snapshot = tracker.snapshot(1_700_000_001_500);
        assert_eq!(
            String::from_utf8(body(&snapshot, true, Some(true))).unwrap(),
            "{\"lastUpdated\":\"2023-11-14T22:13:21.5Z\",\"currentTime\":\"2023-11-14T22:13:21.5Z\",\
             \"nodeEligible\":true,\"healthy\":true,\"status\":{\"IPv4\":{\"lastUpdated\":\
             \"2023-11-14T22:13:20Z\",\"healthy\":true},\"IPv6\":{\"lastUpdated\":\
             \"0001-01-01T00:00:00Z\",\"healthy\":true}}}"
        );
        let unwell = String::from_utf8(body(&snapshot, false, None)).unwrap();
        assert!(unwell.starts_with("{\"lastUpdated\":\"2023-11-14T22:13:20Z\""), "{unwell}");
        assert!(!unwell.contains("nodeEligible"), "{unwell}");
    }
}
