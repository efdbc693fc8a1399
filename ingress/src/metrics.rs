//! What the engine counts. No label holds a host, a path, a Service or an address: their number is up to
//! what is served, or to who asks.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector};

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

/// A limit at which something is turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Limit {
    /// Open connections of a worker.
    Connections,
    /// Time for a TLS handshake.
    HandshakeTime,
    /// Time for the head of a request.
    HeadTime,
    /// Time in which a client takes nothing of an answer.
    WriteTime,
}

/// The engine's numbers.
#[derive(Debug)]
pub struct IngressMetrics {
    /// 1xx to 5xx, looked up once: each request counts in one.
    classes: [IntCounter; 5],
    refused: IntCounterVec,
    limits: [IntCounter; 4],
    pub(crate) malformed: IntCounter,
    pub(crate) handshake_failures: IntCounter,
    pub(crate) accepted: IntCounter,
    pub(crate) open: IntGauge,
    pub(crate) tunnels: IntGauge,
    pub(crate) upstream_connections: IntCounter,
    pub(crate) retries: IntCounter,
}

impl IngressMetrics {
    /// All of them, at zero.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(registry: &impl Register) -> Result<Self, Error> {
        let counter = |name, help| IntCounter::new(name, help).and_then(|c| registry.add(c));
        let gauge = |name, help| IntGauge::new(name, help).and_then(|g| registry.add(g));
        let counters = |name, help, label| {
            IntCounterVec::new(Opts::new(name, help), &[label]).and_then(|c| registry.add(c))
        };
        let answers = counters("towpath_ingress_requests_total", "Requests by status", "status")?;
        let limits = counters(
            "towpath_ingress_limits_total",
            "Connections turned away or ended at a limit",
            "limit",
        )?;
        let limit = |name: &str| limits.with_label_values(&[name]);
        Ok(Self {
            classes: ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|class| answers.with_label_values(&[class])),
            refused: counters(
                "towpath_ingress_own_answers_total",
                "Answers of the proxy itself, by reason",
                "reason",
            )?,
            limits: ["connections", "handshake_time", "head_time", "write_time"].map(limit),
            malformed: counter(
                "towpath_ingress_malformed_total",
                "Heads and chunks of HTTP/1 that are no HTTP, or ambiguous",
            )?,
            handshake_failures: counter(
                "towpath_ingress_handshake_failures_total",
                "TLS handshakes that failed",
            )?,
            accepted: counter("towpath_ingress_accepted_total", "Connections of clients")?,
            open: gauge("towpath_ingress_open_connections", "Connections of clients, open now")?,
            tunnels: gauge(
                "towpath_ingress_open_tunnels",
                "Connections that have left HTTP, such as WebSockets, open now",
            )?,
            upstream_connections: counter(
                "towpath_ingress_upstream_connections_total",
                "Connections made to endpoints",
            )?,
            retries: counter(
                "towpath_ingress_retries_total",
                "Requests sent again, to another connection or endpoint",
            )?,
        })
    }

    pub(crate) fn answered(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        self.classes.get(class).iter().for_each(|counter| counter.inc());
    }

    /// An answer of the proxy's own. `reason` is one of the words of `fail.rs` and its callers.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    pub(crate) fn limited(&self, limit: Limit) {
        self.limits.get(limit as usize).iter().for_each(|counter| counter.inc());
    }
}
