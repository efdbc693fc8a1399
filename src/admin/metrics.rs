//! Numbers for Prometheus. kube-proxy's names where the meaning is the same, so that dashboards and
//! alerts go on working; ours begin with `towpath_`. No label ever holds a pod, an address or a
//! Service.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use towpath_image::{Batch, Image};
use towpath_model::Changes;
use towpath_proxy::PlanDelta;

/// Every metric, with its own registry.
pub struct Metrics {
    registry: Registry,
    sync_duration: Histogram,
    last_sync: Gauge,
    endpoint_changes: IntCounter,
    service_changes: IntCounter,
    pub(crate) no_local: IntGaugeVec,
    healthz: IntCounterVec,
    livez: IntCounterVec,
    change_latency: Histogram,
    kernel_writes: IntCounter,
    kernel_write_errors: IntCounter,
    audits: IntCounter,
    audit_divergence: IntCounter,
    pub(crate) services: IntGauge,
    pub(crate) problems: IntGauge,
    pub(crate) map_entries: IntGaugeVec,
    pub(crate) map_max_entries: IntGaugeVec,
    pub(crate) watch_connected: IntGaugeVec,
    pub(crate) watch_age: prometheus::GaugeVec,
    pub(crate) watch_bad_objects: IntGaugeVec,
    pub(crate) watch_restarts: IntGaugeVec,
    pub(crate) verdicts: IntGaugeVec,
    pub(crate) flows_evicted: IntGauge,
    stale_udp_ended: IntCounter,
    listen_failures: IntCounterVec,
    connections_refused: IntCounterVec,
}

impl Metrics {
    /// All of them, at zero.
    ///
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            sync_duration: histogram(
                r,
                "kubeproxy_sync_proxy_rules_duration_seconds",
                "Time to bring the kernel up to date",
            )?,
            last_sync: register(
                r,
                Gauge::new(
                    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                    "When the kernel last was brought up to date",
                )?,
            )?,
            endpoint_changes: register(
                r,
                IntCounter::new(
                    "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                    "Changes of EndpointSlices",
                )?,
            )?,
            service_changes: register(
                r,
                IntCounter::new(
                    "kubeproxy_sync_proxy_rules_service_changes_total",
                    "Changes of Services",
                )?,
            )?,
            no_local: gauges(
                r,
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                "Services with a Local policy and no local endpoint",
                "traffic_policy",
            )?,
            healthz: counters(r, "kubeproxy_proxy_healthz_total", "Answers of /healthz", "code")?,
            livez: counters(r, "kubeproxy_proxy_livez_total", "Answers of /livez", "code")?,
            change_latency: histogram(
                r,
                "towpath_change_latency_seconds",
                "From the receipt of a change to the kernel",
            )?,
            kernel_writes: register(
                r,
                IntCounter::new("towpath_kernel_writes_total", "Operations on kernel maps")?,
            )?,
            kernel_write_errors: register(
                r,
                IntCounter::new("towpath_kernel_write_errors_total", "Batches that stopped early")?,
            )?,
            audits: register(r, IntCounter::new("towpath_audits_total", "Audits made")?)?,
            audit_divergence: register(
                r,
                IntCounter::new(
                    "towpath_audit_divergence_total",
                    "Differences found by audits, must stay 0",
                )?,
            )?,
            services: register(r, IntGauge::new("towpath_services", "Services routed")?)?,
            problems: register(r, IntGauge::new("towpath_problems", "Problems of objects")?)?,
            map_entries: gauges(r, "towpath_bpf_map_entries", "Elements in use", "map")?,
            map_max_entries: gauges(r, "towpath_bpf_map_max_entries", "Elements at most", "map")?,
            watch_connected: gauges(r, "towpath_watch_connected", "Stream is open", "kind")?,
            watch_age: register(
                r,
                prometheus::GaugeVec::new(
                    Opts::new(
                        "towpath_watch_last_event_age_seconds",
                        "Since the last event or bookmark",
                    ),
                    &["kind"],
                )?,
            )?,
            watch_bad_objects: gauges(
                r,
                "towpath_watch_bad_objects",
                "Objects that could not be understood since the start",
                "kind",
            )?,
            watch_restarts: gauges(
                r,
                "towpath_watch_restarts",
                "Times since the start that a watch broke down and was started again, must stay 0",
                "kind",
            )?,
            verdicts: gauges(
                r,
                "towpath_socket_verdicts",
                "Flows by what became of them, over the Services that exist",
                "verdict",
            )?,
            stale_udp_ended: register(
                r,
                IntCounter::new(
                    "towpath_stale_udp_sockets_ended_total",
                    "Connected UDP sockets of the host ended because their endpoint is gone",
                )?,
            )?,
            flows_evicted: register(
                r,
                IntGauge::new("towpath_flows_evicted", "Flow entries of live sockets pushed out")?,
            )?,
            listen_failures: counters(
                r,
                "towpath_listen_failures_total",
                "Attempts to listen that failed",
                "listener",
            )?,
            connections_refused: counters(
                r,
                "towpath_admin_connections_refused_total",
                "Connections closed because too many were open",
                "listener",
            )?,
            registry,
        };
        let build =
            IntGaugeVec::new(Opts::new("towpath_build_info", "Version, as a label"), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.registry.register(Box::new(build))?;
        Ok(metrics)
    }

    /// The exposition format.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "writing metrics");
        }
        text
    }

    /// Names of all metrics, sorted: those with labels too, which show only with a series.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn names() -> Result<Vec<String>, prometheus::Error> {
        let all = Self::new()?;
        for one in [&all.healthz, &all.livez, &all.listen_failures, &all.connections_refused] {
            one.with_label_values(&["x"]);
        }
        let gauges = [&all.no_local, &all.map_entries, &all.map_max_entries, &all.verdicts];
        let watches = [&all.watch_connected, &all.watch_bad_objects, &all.watch_restarts];
        for one in gauges.into_iter().chain(watches) {
            one.with_label_values(&["x"]);
        }
        all.watch_age.with_label_values(&["x"]);
        let mut names: Vec<_> =
            all.registry.gather().iter().map(|family| family.name().to_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// A port or the control socket could not be opened.
    pub(super) fn listen_failed(&self, listener: &str) {
        self.listen_failures.with_label_values(&[listener]).inc();
    }

    /// Too many connections were open.
    pub(super) fn connection_refused(&self, listener: &str) {
        self.connections_refused.with_label_values(&[listener]).inc();
    }

    pub(crate) fn adopted(&self, image: &Image) {
        tracing::info!(
            services = image.services.len(),
            frontends = image.frontends.len(),
            "what the kernel holds was adopted"
        );
    }

    pub(crate) fn wrote(&self, batch: &Batch, took: Duration) {
        self.sync_duration.observe(took.as_secs_f64());
        self.kernel_writes.inc_by(batch.ops.len() as u64);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_sync.set(now.as_secs_f64());
    }

    pub(crate) fn stale_udp_ended(&self, sockets: u64) {
        self.stale_udp_ended.inc_by(sockets);
    }

    pub(crate) fn write_failed(&self) {
        self.kernel_write_errors.inc();
    }

    pub(crate) fn changed(&self, changes: &Changes, delta: &PlanDelta, took: Duration) {
        self.service_changes.inc_by(changes.services.len() as u64);
        self.endpoint_changes.inc_by(changes.slices.len() as u64);
        if !delta.is_empty() {
            self.change_latency.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn audited(&self, differences: usize) {
        self.audits.inc();
        self.audit_divergence.inc_by(differences as u64);
    }

    pub(crate) fn healthz(&self, status: StatusCode) {
        self.healthz.with_label_values(&[status.as_str()]).inc();
    }

    pub(crate) fn livez(&self, status: StatusCode) {
        self.livez.with_label_values(&[status.as_str()]).inc();
    }
}

fn register<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    metric: M,
) -> Result<M, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// From 50 microseconds, where our changes are, to a minute, where kube-proxy's are.
fn histogram(registry: &Registry, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let buckets = vec![
        0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
        0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
    ];
    let options = HistogramOpts::new(name, help).buckets(buckets);
    register(registry, Histogram::with_opts(options)?)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<IntGaugeVec, prometheus::Error> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), &[label])?)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(Opts::new(name, help), &[label])?)
}
