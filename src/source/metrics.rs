//! How well the sources hear, as numbers.

use prometheus::{GaugeVec, IntGaugeVec};

use crate::{
    api::StreamReply,
    metrics::{Error, Registry, number},
};

/// What is shown of each stream.
#[derive(Debug)]
pub struct SourceMetrics {
    connected: IntGaugeVec,
    age: GaugeVec,
    bad_objects: IntGaugeVec,
    restarts: IntGaugeVec,
}

impl SourceMetrics {
    /// All of them, without a stream.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            connected: registry.gauges("towpath_watch_connected", "Stream is open", "kind")?,
            age: registry.seconds_by(
                "towpath_watch_last_event_age_seconds",
                "Since the last event or bookmark",
                "kind",
            )?,
            bad_objects: registry.gauges(
                "towpath_watch_bad_objects",
                "Objects that could not be understood since the start",
                "kind",
            )?,
            restarts: registry.gauges(
                "towpath_watch_restarts",
                "Times since the start that a watch broke down and was started again, must stay 0",
                "kind",
            )?,
        })
    }

    /// Brings them up to date.
    pub fn gather(&self, streams: &[StreamReply]) {
        // Streams end: what is shown of them goes with them.
        self.age.reset();
        for gauge in [&self.connected, &self.bad_objects, &self.restarts] {
            gauge.reset();
        }
        for stream in streams {
            let kind = &[stream.kind.as_str()];
            self.connected.with_label_values(kind).set(i64::from(stream.connected));
            self.bad_objects.with_label_values(kind).set(number(stream.bad_objects));
            self.restarts.with_label_values(kind).set(number(stream.restarts));
            if let Some(age_ms) = stream.last_event_age_ms {
                let age = std::time::Duration::from_millis(age_ms).as_secs_f64();
                self.age.with_label_values(kind).set(age);
            }
        }
    }
}
