//! Makes metrics and registers them, one line each.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, Result, core::Collector,
};

/// A registry under construction.
#[derive(Default)]
pub(super) struct Registrar {
    registry: Registry,
}

impl Registrar {
    fn add<C: Collector + Clone + 'static>(&self, made: C) -> Result<C> {
        self.registry.register(Box::new(made.clone()))?;
        Ok(made)
    }

    /// A counter.
    pub(super) fn count(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    /// Counters with one label.
    pub(super) fn counts(&self, name: &str, help: &str, label: &str) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), &[label])?)
    }

    /// A whole number that goes up and down.
    pub(super) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    /// Whole numbers with one label.
    pub(super) fn gauges(&self, name: &str, help: &str, label: &str) -> Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), &[label])?)
    }

    /// A number with a fraction.
    pub(super) fn real(&self, name: &str, help: &str) -> Result<Gauge> {
        self.add(Gauge::new(name, help)?)
    }

    /// Numbers with a fraction and one label.
    pub(super) fn reals(&self, name: &str, help: &str, label: &str) -> Result<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), &[label])?)
    }

    /// A constant 1 with the version as label.
    pub(super) fn info(&self, name: &str, help: &str, version: &str) -> Result<()> {
        let info = self.gauges(name, help, "version")?;
        info.with_label_values(&[version]).set(1);
        Ok(())
    }

    /// A histogram with kube-proxy's buckets and finer ones below a quarter of a second.
    pub(super) fn coarse(&self, name: &str, help: &str) -> Result<Histogram> {
        let mut buckets = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5];
        buckets.extend((1..60).map(f64::from));
        buckets.extend((60..120).step_by(5).map(f64::from));
        buckets.extend((120..=300).step_by(30).map(f64::from));
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
    }

    /// A histogram from 50 microseconds to 10 seconds.
    pub(super) fn fine(&self, name: &str, help: &str) -> Result<Histogram> {
        let steps = [1.0, 2.0, 5.0];
        let mut buckets = vec![0.000_05];
        for decade in [0.000_1, 0.001, 0.01, 0.1, 1.0] {
            buckets.extend(steps.map(|step| step * decade));
        }
        buckets.push(10.0);
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
    }

    /// The finished registry.
    pub(super) fn into_registry(self) -> Registry {
        self.registry
    }
}
