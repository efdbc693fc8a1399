//! Numbers for Prometheus. kube-proxy's names where the meaning is the same, so that dashboards and
//! alerts go on working; ours begin with `towpath_`. No label ever holds a pod, an address or a
//! Service.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use towpath_image::{Batch, ServiceImage, ServiceOp};
use towpath_model::Changes;

/// Every metric, with its own registry.
pub struct Metrics {
    registry: Registry,
    sync_duration: Histogram,
    programming: Histogram,
    last_sync: Gauge,
    last_queued: Gauge,
    endpoint_changes: IntCounter,
    endpoint_changes_pending: IntGauge,
    service_changes: IntCounter,
    service_changes_pending: IntGauge,
    pub(crate) no_local: IntGaugeVec,
    healthz: IntCounterVec,
    livez: IntCounterVec,
    change_latency: Histogram,
    kernel_writes: IntCounter,
    kernel_write_errors: IntCounter,
    audits: IntCounter,
    audit_divergence: IntCounter,
    reattached: IntCounter,
    pub(crate) services: IntGauge,
    pub(crate) services_failed: IntGauge,
    pub(crate) problems: IntGauge,
    pub(crate) map_entries: IntGaugeVec,
    pub(crate) map_max_entries: IntGaugeVec,
    pub(crate) watch_connected: IntGaugeVec,
    pub(crate) watch_age: prometheus::GaugeVec,
    pub(crate) watch_bad_objects: IntGaugeVec,
    pub(crate) watch_restarts: IntGaugeVec,
    pub(crate) verdicts: IntGaugeVec,
    pub(crate) flows_evicted: IntGauge,
    pub(crate) unknown_port: IntGauge,
    pub(crate) untracked: IntGauge,
    stale_udp_ended: IntCounter,
    pub(crate) stale_udp: IntGauge,
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
            programming: register(
                r,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "kubeproxy_network_programming_duration_seconds",
                        "From the change of a Pod or Service that the slice's annotation names to \
                         the kernel",
                    )
                    .buckets(PROGRAMMING_BUCKETS.to_vec()),
                )?,
            )?,
            last_sync: time(
                r,
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "When the kernel last was brought up to date",
            )?,
            last_queued: time(
                r,
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                "When a change was last heard of",
            )?,
            endpoint_changes_pending: gauge(
                r,
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                "Changes of EndpointSlices heard of and not yet in the kernel",
            )?,
            service_changes_pending: gauge(
                r,
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                "Changes of Services heard of and not yet in the kernel",
            )?,
            endpoint_changes: counter(
                r,
                "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                "Changes of EndpointSlices",
            )?,
            service_changes: counter(
                r,
                "kubeproxy_sync_proxy_rules_service_changes_total",
                "Changes of Services",
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
            kernel_writes: counter(r, "towpath_kernel_writes_total", "Operations on kernel maps")?,
            kernel_write_errors: counter(
                r,
                "towpath_kernel_write_errors_total",
                "Batches that stopped early",
            )?,
            audits: counter(r, "towpath_audits_total", "Audits made")?,
            audit_divergence: counter(
                r,
                "towpath_audit_divergence_total",
                "Differences found by audits, must stay 0",
            )?,
            reattached: counter(
                r,
                "towpath_programs_reattached_total",
                "Programs found detached or pins found removed from outside and brought back, must stay 0",
            )?,
            services: gauge(r, "towpath_services", "Services routed")?,
            services_failed: gauge(
                r,
                "towpath_services_failed",
                "Services whose last change is not in the kernel",
            )?,
            problems: gauge(r, "towpath_problems", "Problems of objects")?,
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
            stale_udp_ended: counter(
                r,
                "towpath_stale_udp_sockets_ended_total",
                "Connected UDP sockets of the host ended because their endpoint is gone",
            )?,
            stale_udp: gauge(
                r,
                "towpath_stale_udp_sockets",
                "Connected UDP sockets inside pods whose endpoint is gone, at most: a socket \
                     that was closed since counts until its record is displaced",
            )?,
            flows_evicted: gauge(
                r,
                "towpath_flows_evicted",
                "Flow entries of live sockets pushed out",
            )?,
            unknown_port: gauge(
                r,
                "towpath_unknown_port_refusals",
                "Connections and datagrams refused because a clusterIP has no such port",
            )?,
            untracked: gauge(
                r,
                "towpath_untracked_sockets",
                "Sockets that were translated but see the endpoint's address: no memory for a record",
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

    pub(crate) fn adopted(&self, image: &ServiceImage) {
        tracing::info!(
            services = image.services.len(),
            frontends = image.frontends.len(),
            "what the kernel holds was adopted"
        );
    }

    pub(crate) fn wrote(&self, batch: &Batch<ServiceOp>, took: Duration) {
        self.sync_duration.observe(took.as_secs_f64());
        self.kernel_writes.inc_by(batch.ops.len() as u64);
        self.last_sync.set(now_seconds());
    }

    pub(crate) fn stale_udp_ended(&self, sockets: u64) {
        self.stale_udp_ended.inc_by(sockets);
    }

    pub(crate) fn write_failed(&self) {
        self.kernel_write_errors.inc();
    }

    /// Events came in.
    pub(crate) fn heard(&self, services: usize, slices: usize) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.service_changes_pending.add(number(services));
        self.endpoint_changes_pending.add(number(slices));
        self.last_queued.set(now_seconds());
    }

    /// What came in was planned.
    pub(crate) fn changed(&self, changes: &Changes) {
        self.service_changes.inc_by(changes.services.len() as u64);
        self.endpoint_changes.inc_by(changes.slices.len() as u64);
    }

    /// Everything that came in is in the kernel.
    pub(crate) fn nothing_waits(&self) {
        self.service_changes_pending.set(0);
        self.endpoint_changes_pending.set(0);
    }

    /// A change is in the kernel, so long after it was received.
    pub(crate) fn in_force(&self, took: Duration) {
        self.change_latency.observe(took.as_secs_f64());
    }

    /// A change is in the kernel, so many seconds after it was made.
    pub(crate) fn programmed(&self, seconds: f64) {
        self.programming.observe(seconds);
    }

    pub(crate) fn reattached(&self, programs: usize) {
        self.reattached.inc_by(programs as u64);
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

/// kube-proxy's range, which ends at five minutes, and what is below its smallest bucket.
const PROGRAMMING_BUCKETS: [f64; 20] = [
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0,
    60.0, 120.0, 180.0, 300.0,
];

fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
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

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    register(registry, IntCounter::new(name, help)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::new(name, help)?)
}

fn time(registry: &Registry, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
    register(registry, Gauge::new(name, help)?)
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
