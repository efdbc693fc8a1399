//! Numbers, under CoreDNS's names where CoreDNS has them.

use std::{net::SocketAddr, time::Duration};

use prometheus::{
    Error, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    core::Collector,
};

/// CoreDNS's label `server`.
pub(crate) const SERVER: &str = "dns://:53";

/// What the server counts.
#[derive(Debug)]
pub struct DnsMetrics {
    pub(crate) requests: IntCounterVec,
    pub(crate) responses: IntCounterVec,
    cache_requests: IntCounter,
    cache_hits: IntCounter,
    cache_misses: IntCounter,
    cache_evictions: IntCounter,
    cache_stale: IntCounter,
    cache_entries: IntGauge,
    zone_stale: IntGauge,
    upstream: HistogramVec,
    refused: IntCounterVec,
}

/// What takes metrics in.
pub trait Register {
    /// Takes one in.
    ///
    /// # Errors
    /// When its name is taken.
    fn add<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, Error>;
}

impl Register for Registry {
    fn add<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, Error> {
        self.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

impl DnsMetrics {
    /// All of them, at zero.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(registry: &impl Register) -> Result<Self, Error> {
        let counter = |name, help| IntCounter::new(name, help).and_then(|c| registry.add(c));
        let counters = |name, help, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).and_then(|c| registry.add(c))
        };
        let upstream = HistogramOpts::new(
            "coredns_proxy_request_duration_seconds",
            "Time that an upstream took to answer",
        );
        let labels = ["proxy_name", "to", "rcode"];
        Ok(Self {
            requests: counters(
                "coredns_dns_requests_total",
                "Questions",
                &["server", "zone", "view", "proto", "family", "type"],
            )?,
            responses: counters(
                "coredns_dns_responses_total",
                "Answers",
                &["server", "zone", "view", "rcode", "plugin"],
            )?,
            cache_requests: counter("coredns_cache_requests_total", "Questions to the cache")?,
            cache_hits: counter("coredns_cache_hits_total", "Answers from the cache")?,
            cache_misses: counter("coredns_cache_misses_total", "Questions it could not answer")?,
            cache_evictions: counter(
                "coredns_cache_evictions_total",
                "Answers that went for room",
            )?,
            cache_stale: counter(
                "coredns_cache_served_stale_total",
                "Answers given after their time, because no upstream answered",
            )?,
            cache_entries: registry
                .add(IntGauge::new("coredns_cache_entries", "Answers in the cache")?)?,
            zone_stale: registry.add(IntGauge::new(
                "towpath_dns_zone_stale",
                "1 while names of the cluster are answered as an earlier daemon knew them",
            )?)?,
            upstream: registry.add(HistogramVec::new(upstream, &labels)?)?,
            refused: counters(
                "towpath_dns_limits_total",
                "Questions and connections turned away at a limit",
                &["limit"],
            )?,
        })
    }

    /// Whether names of the cluster are answered as an earlier daemon knew them.
    pub fn zone_stale(&self, stale: bool) {
        self.zone_stale.set(stale.into());
    }

    pub(crate) fn cache_asked(&self, hit: bool) {
        self.cache_requests.inc();
        if hit { self.cache_hits.inc() } else { self.cache_misses.inc() }
    }

    pub(crate) fn cached(&self, entries: usize, evicted: u64) {
        self.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.cache_evictions.inc_by(evicted);
    }

    pub(crate) fn served_stale(&self) {
        self.cache_stale.inc();
    }

    pub(crate) fn exchanged(&self, to: SocketAddr, code: &str, took: Duration) {
        let labels = ["forward", &to.to_string(), code];
        self.upstream.with_label_values(&labels).observe(took.as_secs_f64());
    }

    pub(crate) fn limited(&self, limit: &str) {
        self.refused.with_label_values(&[limit]).inc();
    }
}
