//! The registry of metrics. Each part of the daemon makes its own in it; `agent` puts the parts
//! together and `admin` serves the text.
//!
//! kube-proxy's names where the meaning is the same, so that dashboards and alerts go on working;
//! others begin with `towpath_`. No label ever holds a pod, an address or a Service.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, TextEncoder,
    core::{Collector, Desc},
};

pub use prometheus::Error;

/// From 50 microseconds, where a change of ours is in force, to a minute, where kube-proxy's is.
const BUCKETS: [f64; 19] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
];

/// Every metric of the process.
#[derive(Debug, Default)]
pub struct Registry {
    registry: prometheus::Registry,
    names: Mutex<BTreeSet<String>>,
}

impl Registry {
    /// Without any metric.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
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

    /// Names of all metrics, sorted: also of those that have labels and no series yet.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Takes a metric in.
    ///
    /// # Errors
    /// When another one has its name.
    pub fn add<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, Error> {
        let names: Vec<String> =
            metric.desc().into_iter().map(|desc: &Desc| desc.fq_name.clone()).collect();
        self.registry.register(Box::new(metric.clone()))?;
        self.names.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        Ok(metric)
    }

    /// A histogram of seconds.
    ///
    /// # Errors
    /// As [`Self::add`]; so for the others.
    pub fn histogram(&self, name: &str, help: &str) -> Result<Histogram, Error> {
        self.histogram_in(name, help, &BUCKETS)
    }

    /// A histogram with buckets of its own.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn histogram_in(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(options)?)
    }

    /// A count.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.add(IntCounter::new(name, help)?)
    }

    /// A number.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.add(IntGauge::new(name, help)?)
    }

    /// A number with a fraction: seconds, or a time.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn seconds(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        self.add(Gauge::new(name, help)?)
    }

    /// Counts by a label.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn counters(&self, name: &str, help: &str, label: &str) -> Result<IntCounterVec, Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), &[label])?)
    }

    /// Numbers by a label.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn gauges(&self, name: &str, help: &str, label: &str) -> Result<IntGaugeVec, Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), &[label])?)
    }

    /// Seconds by a label.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn seconds_by(&self, name: &str, help: &str, label: &str) -> Result<GaugeVec, Error> {
        self.add(GaugeVec::new(Opts::new(name, help), &[label])?)
    }
}

/// A count as gauges take it.
#[must_use]
pub fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
