//! Questions to the loop, from the admin thread.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{run::NOT_SERVED, stale_udp::StaleUdp};
use crate::{
    admin::{
        Answers, Metrics,
        api::{ServicesReply, SourceReply, StatusReply, StreamReply, VERSION},
    },
    reconcile::{self, Asker, Clock},
    source::Health,
};

/// What is needed to ask.
pub(super) struct LoopAnswers {
    pub(super) asker: Asker,
    pub(super) health: Health,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) node: String,
    pub(super) source: &'static str,
    pub(super) map_bytes: u64,
    pub(super) ports: Arc<crate::admin::Ports>,
    pub(super) stale_udp: Arc<StaleUdp>,
}

impl LoopAnswers {
    fn streams(&self) -> Vec<StreamReply> {
        let now = self.clock.now_ms();
        let stream =
            |(stream, health): (towpath_model::Stream, Arc<crate::source::StreamHealth>)| {
                let last = health.last_event_ms.load(Ordering::Relaxed);
                StreamReply {
                    kind: stream.to_string(),
                    connected: health.connected.load(Ordering::Relaxed),
                    last_event_age_ms: (last != 0).then(|| now.saturating_sub(last)),
                    lists: health.lists.load(Ordering::Relaxed),
                    errors: health.errors.load(Ordering::Relaxed),
                    bad_objects: health.bad_objects.load(Ordering::Relaxed),
                    restarts: health.restarts.load(Ordering::Relaxed),
                }
            };
        self.health.all().into_iter().map(stream).collect()
    }
}

impl Answers for LoopAnswers {
    fn status(&self) -> Option<StatusReply> {
        Some(StatusReply {
            api_version: VERSION.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            node: self.node.clone(),
            uptime_ms: self.clock.now_ms(),
            source: SourceReply { kind: self.source.to_owned(), streams: self.streams() },
            state: {
                let mut state = self.asker.ask(reconcile::status)?;
                let notes = self.health.notes();
                state.problems.extend(notes.iter().map(ToString::to_string));
                state
            },
            map_bytes: self.map_bytes,
            stale_udp: self.stale_udp.reply(),
            ports: self.ports.failures(),
            not_served: NOT_SERVED.iter().map(|text| (*text).to_owned()).collect(),
        })
    }

    fn services(&self, name: Option<String>) -> Option<ServicesReply> {
        reconcile::services(&self.asker, name.as_deref())
    }

    fn gather(&self) {
        let metrics = &self.metrics;
        // Streams end: what is shown of them goes with them.
        metrics.watch_age.reset();
        for gauge in [&metrics.watch_connected, &metrics.watch_bad_objects, &metrics.watch_restarts]
        {
            gauge.reset();
        }
        for stream in self.streams() {
            let kind = &[stream.kind.as_str()];
            metrics.watch_connected.with_label_values(kind).set(i64::from(stream.connected));
            let count = |number| i64::try_from(number).unwrap_or(i64::MAX);
            let bad = count(stream.bad_objects);
            metrics.watch_bad_objects.with_label_values(kind).set(bad);
            metrics.watch_restarts.with_label_values(kind).set(count(stream.restarts));
            if let Some(age_ms) = stream.last_event_age_ms {
                let age = Duration::from_millis(age_ms).as_secs_f64();
                metrics.watch_age.with_label_values(kind).set(age);
            }
        }
        if reconcile::gather(&self.asker, metrics, self.health.notes().len()).is_none() {
            tracing::warn!("the loop did not answer in time: metrics are stale");
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_model::Kind;

    use super::*;

    #[test]
    fn what_is_counted_of_a_stream_is_shown() {
        let (wakes, no_loop) = tokio::sync::mpsc::channel(1);
        drop(no_loop);
        let answers = LoopAnswers {
            asker: Asker::new(wakes),
            health: Health::default(),
            clock: Clock::start(),
            metrics: Arc::new(Metrics::new().unwrap()),
            node: "w1".into(),
            source: "kube",
            map_bytes: 0,
            ports: Arc::default(),
            stale_udp: Arc::default(),
        };
        let nodes = answers.health.of(Kind::Node);
        nodes.restarts.store(3, Ordering::Relaxed);
        nodes.bad_objects.store(2, Ordering::Relaxed);
        let streams = answers.streams();
        assert_eq!((streams[0].restarts, streams[0].bad_objects), (3, 2));
        answers.gather();
        let text = String::from_utf8(answers.metrics.text()).unwrap();
        for line in ["towpath_watch_restarts", "towpath_watch_bad_objects"] {
            assert!(text.contains(&format!("\n{line}{{kind=\"Node\"}} ")), "{text}");
        }
    }
}
