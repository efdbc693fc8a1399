//! The admin servers' own numbers.

use http::StatusCode;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use crate::metrics::{Error, Registry};

/// What the admin servers count.
#[derive(Debug)]
pub struct AdminMetrics {
    healthz: IntCounterVec,
    livez: IntCounterVec,
    listen_failures: IntCounterVec,
    connections_refused: IntCounterVec,
}

impl AdminMetrics {
    /// All of them, at zero; and the version, as a label.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let build = Opts::new("towpath_build_info", "Version, as a label");
        let build = registry.add(IntGaugeVec::new(build, &["version"])?)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let by_code = |name, help| registry.counters(name, help, "code");
        let by_listener = |name, help| registry.counters(name, help, "listener");
        Ok(Self {
            healthz: by_code("kubeproxy_proxy_healthz_total", "Answers of /healthz")?,
            livez: by_code("kubeproxy_proxy_livez_total", "Answers of /livez")?,
            listen_failures: by_listener(
                "towpath_listen_failures_total",
                "Attempts to listen that failed",
            )?,
            connections_refused: by_listener(
                "towpath_admin_connections_refused_total",
                "Connections closed because too many were open",
            )?,
        })
    }

    /// A port or the control socket could not be opened.
    pub(super) fn listen_failed(&self, listener: &str) {
        self.listen_failures.with_label_values(&[listener]).inc();
    }

    /// Too many connections were open.
    pub(super) fn connection_refused(&self, listener: &str) {
        self.connections_refused.with_label_values(&[listener]).inc();
    }

    pub(super) fn healthz(&self, status: StatusCode) {
        self.healthz.with_label_values(&[status.as_str()]).inc();
    }

    pub(super) fn livez(&self, status: StatusCode) {
        self.livez.with_label_values(&[status.as_str()]).inc();
    }
}
