//! The metrics, as typed handles in a registry that is a value.
//!
//! kube-proxy's names where the meaning is the same (services.md 2.2), so that dashboards and alerts
//! go on working; `towpath_` for the rest. No label names a pod, an address or a Service
//! (operations.md 3.1). The list of names is a contract: `tests/contract/metrics.txt`.

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, Result, TextEncoder,
};
use towpath_image::MapName;
use towpath_model::Kind;

use super::registry::Registrar;

/// Every metric of the daemon. Handles are cheap to use from any thread.
#[derive(Debug)]
#[expect(missing_docs, reason = "the help text beside each name says what it is")]
pub struct Metrics {
    registry: Registry,
    pub sync_duration: Histogram,
    pub sync_last: Gauge,
    pub sync_last_queued: Gauge,
    pub programming_duration: Histogram,
    pub endpoint_changes_pending: IntGauge,
    pub endpoint_changes: IntCounter,
    pub service_changes_pending: IntGauge,
    pub service_changes: IntCounter,
    no_local_endpoints: IntGaugeVec,
    healthz: IntCounterVec,
    livez: IntCounterVec,
    watch_age: GaugeVec,
    watch_connected: IntGaugeVec,
    watch_bad_objects: IntCounterVec,
    map_entries: IntGaugeVec,
    map_capacity: IntGaugeVec,
    map_pressure: GaugeVec,
    pub problems: IntGauge,
    pub change_latency: Histogram,
    pub audit_divergence: IntCounter,
    pub kernel_write_errors: IntCounter,
    verdicts: IntCounterVec,
    flows_evicted: IntCounter,
    pub stale_udp_ended: IntCounter,
    pub stale_udp_seen: IntCounter,
    pub services: IntGauge,
    pub service_ports: IntGauge,
    pub endpoints: IntGauge,
    pub synced: IntGauge,
    pub(super) listen_failures: IntCounterVec,
    pub(super) listeners_down: IntGauge,
    pub(super) connections_refused: IntCounterVec,
}

/// Flows that the socket programs decided, since the maps were made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verdicts {
    /// Given an endpoint.
    pub translated: u64,
    /// Refused: no endpoint is usable, or no such port.
    pub refused: u64,
    /// Left alone: no local endpoint.
    pub no_local: u64,
    /// Left alone: source ranges.
    pub untranslated: u64,
}

impl Metrics {
    /// All of them, at zero, in a registry of their own.
    ///
    /// # Errors
    /// When two have one name; a test makes them all.
    pub fn new() -> Result<Self> {
        let r = Registrar::default();
        r.info("towpath_build_info", "Version of the daemon.", env!("CARGO_PKG_VERSION"))?;
        let metrics = Self {
            sync_duration: r.coarse(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                "Time to bring one round of changes into the kernel, both families.",
            )?,
            sync_last: r.real(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "When changes were last brought into the kernel.",
            )?,
            sync_last_queued: r.real(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                "When a change last came in.",
            )?,
            programming_duration: r.coarse(
                "kubeproxy_network_programming_duration_seconds",
                "From the trigger time that an EndpointSlice carries to the kernel.",
            )?,
            endpoint_changes_pending: r.gauge(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                "Endpoint changes that wait to be written.",
            )?,
            endpoint_changes: r
                .count("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Endpoint changes.")?,
            service_changes_pending: r.gauge(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                "Service changes that wait to be written.",
            )?,
            service_changes: r
                .count("kubeproxy_sync_proxy_rules_service_changes_total", "Service changes.")?,
            no_local_endpoints: r.gauges(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                "Services with a Local traffic policy and no endpoint on this node.",
                "traffic_policy",
            )?,
            healthz: r.counts("kubeproxy_proxy_healthz_total", "Answers of /healthz.", "code")?,
            livez: r.counts("kubeproxy_proxy_livez_total", "Answers of /livez.", "code")?,
            watch_age: r.reals(
                "towpath_watch_last_event_age_seconds",
                "Seconds since the last event or bookmark of a kind.",
                "kind",
            )?,
            watch_connected: r.gauges(
                "towpath_watch_connected",
                "1 while the stream of a kind is open.",
                "kind",
            )?,
            watch_bad_objects: r.counts(
                "towpath_watch_bad_objects_total",
                "Objects that could not be decoded.",
                "kind",
            )?,
            map_entries: r.gauges("towpath_bpf_map_entries", "Elements in use.", "map")?,
            map_capacity: r.gauges(
                "towpath_bpf_map_max_entries",
                "Elements it can hold.",
                "map",
            )?,
            map_pressure: r.reals("towpath_bpf_map_pressure", "Share in use, 0 to 1.", "map")?,
            problems: r.gauge("towpath_problems", "Problems that `towpath status` lists now.")?,
            change_latency: r.fine(
                "towpath_change_latency_seconds",
                "From receiving an event to the kernel acting on it.",
            )?,
            audit_divergence: r.count(
                "towpath_audit_divergence_total",
                "Kernel elements that an audit found different from what is wanted.",
            )?,
            kernel_write_errors: r
                .count("towpath_kernel_write_errors_total", "Writes that the kernel refused.")?,
            verdicts: r.counts(
                "towpath_socket_verdicts_total",
                "Flows of sockets to Services, by what was decided.",
                "verdict",
            )?,
            flows_evicted: r.count(
                "towpath_flows_evicted_total",
                "Flow entries of live sockets that made room for others.",
            )?,
            stale_udp_ended: r.count(
                "towpath_stale_udp_sockets_ended_total",
                "Connected UDP sockets ended because their endpoint is gone.",
            )?,
            stale_udp_seen: r.count(
                "towpath_stale_udp_sockets_seen_total",
                "Connected UDP sockets inside pods whose endpoint is gone.",
            )?,
            services: r.gauge("towpath_services", "Services known.")?,
            service_ports: r.gauge("towpath_service_ports", "Service ports routed.")?,
            endpoints: r.gauge("towpath_endpoints", "Endpoints known.")?,
            synced: r.gauge("towpath_synced", "1 once every kind was listed and written.")?,
            listen_failures: r.counts(
                "towpath_listen_failures_total",
                "Attempts to listen on a port that failed.",
                "listener",
            )?,
            listeners_down: r.gauge("towpath_listeners_down", "Ports wanted and not open.")?,
            connections_refused: r.counts(
                "towpath_admin_connections_refused_total",
                "Connections closed because too many were open.",
                "listener",
            )?,
            registry: r.into_registry(),
        };
        metrics.show_zeros();
        Ok(metrics)
    }

    /// An alert on a series that does not exist yet never fires: every known label is there at once.
    fn show_zeros(&self) {
        for code in ["200", "503"] {
            self.healthz.with_label_values(&[code]).inc_by(0);
            self.livez.with_label_values(&[code]).inc_by(0);
        }
        for external in [false, true] {
            self.no_local_endpoints(external).set(0);
        }
        self.set_verdicts(Verdicts::default());
    }

    /// Services with a Local policy and no local endpoint: of the external policy, or the internal.
    #[must_use]
    pub fn no_local_endpoints(&self, external: bool) -> IntGauge {
        let policy = if external { "external" } else { "internal" };
        self.no_local_endpoints.with_label_values(&[policy])
    }

    /// One answer of `/healthz`.
    pub(super) fn healthz(&self, healthy: bool) {
        self.healthz.with_label_values(&[code(healthy)]).inc();
    }

    /// One answer of `/livez`.
    pub(super) fn livez(&self, healthy: bool) {
        self.livez.with_label_values(&[code(healthy)]).inc();
    }

    /// How well a kind is heard. `age_seconds` is `None` while nothing was heard.
    pub fn set_watch(&self, kind: Kind, connected: bool, age_seconds: Option<f64>, bad: u64) {
        let label = &[kind.as_str()];
        self.watch_connected.with_label_values(label).set(i64::from(connected));
        if let Some(age) = age_seconds {
            self.watch_age.with_label_values(label).set(age);
        }
        raise(&self.watch_bad_objects.with_label_values(label), bad);
    }

    /// How full a map is.
    pub fn set_map(&self, map: MapName, entries: u32, capacity: u32) {
        let label = &[map.as_str()];
        self.map_entries.with_label_values(label).set(i64::from(entries));
        self.map_capacity.with_label_values(label).set(i64::from(capacity));
        let pressure = f64::from(entries) / f64::from(capacity.max(1));
        self.map_pressure.with_label_values(label).set(pressure);
    }

    /// Totals of the kernel's counters.
    pub fn set_verdicts(&self, totals: Verdicts) {
        for (verdict, total) in [
            ("translated", totals.translated),
            ("refused", totals.refused),
            ("no_local", totals.no_local),
            ("untranslated", totals.untranslated),
        ] {
            raise(&self.verdicts.with_label_values(&[verdict]), total);
        }
    }

    /// Total of the kernel's counter of evicted flow entries.
    pub fn set_flows_evicted(&self, total: u64) {
        raise(&self.flows_evicted, total);
    }

    /// Everything, in the text format.
    ///
    /// # Errors
    /// When a metric can not be written as text.
    pub fn text(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// Names of all metrics, sorted: those with labels too, which show only with a series.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn names() -> Result<Vec<String>> {
        let all = Self::new()?;
        for kind in Kind::ALL {
            all.set_watch(kind, false, Some(0.0), 0);
        }
        all.set_map(MapName::Frontends, 0, 1);
        all.listen_failures.with_label_values(&["healthz"]).inc_by(0);
        all.connections_refused.with_label_values(&["healthz"]).inc_by(0);
        let mut names: Vec<_> =
            all.registry.gather().iter().map(|family| family.name().to_owned()).collect();
        names.sort();
        Ok(names)
    }
}

/// Brings a counter to a total that was counted elsewhere; a counter never goes back.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

const fn code(healthy: bool) -> &'static str {
    if healthy { "200" } else { "503" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_raises_its_counter_and_never_lowers_it() {
        let metrics = Metrics::new().unwrap();
        metrics.set_verdicts(Verdicts { translated: 7, ..Verdicts::default() });
        metrics.set_verdicts(Verdicts { translated: 5, ..Verdicts::default() });
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        assert!(
            text.contains("towpath_socket_verdicts_total{verdict=\"translated\"} 7\n"),
            "{text}"
        );
        assert!(text.contains("towpath_socket_verdicts_total{verdict=\"refused\"} 0\n"), "{text}");
        assert!(text.contains("towpath_build_info{version=\""), "{text}");
    }

    #[test]
    fn map_pressure_is_a_share() {
        let metrics = Metrics::new().unwrap();
        metrics.set_map(MapName::Backends, 1, 4);
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        assert!(text.contains("towpath_bpf_map_pressure{map=\"BACKENDS\"} 0.25\n"), "{text}");
    }
}
