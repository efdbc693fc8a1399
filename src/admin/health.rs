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
        "lastUpdated": rfc3339(if fine { now } else { updated }),
        "currentTime": rfc3339(now),
        "healthy": fine,
        "status": { "IPv4": { "lastUpdated": rfc3339(updated), "healthy": healthy },
                    "IPv6": { "lastUpdated": rfc3339(updated), "healthy": healthy } },
    });
    if let Some(eligible) = eligible {
        reply["nodeEligible"] = eligible.into();
    }
    json(if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &reply)
}

/// UTC, to the second (civil-from-days; no calendar crate for one line).
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_api_writes_them() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_567_817), "2026-11-25T00:50:17Z");
    }
}
