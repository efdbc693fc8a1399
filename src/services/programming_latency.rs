//! When the changes that are on their way to the kernel were made: the annotation that the
//! EndpointSlice controller writes, for `kubeproxy_network_programming_duration_seconds`
//! (services.md 2.2), the field's service level indicator.
//!
//! As kube-proxy counts: only where the annotation itself is new, not on deletion (it is that of the
//! change before), and only for changes made while this daemon ran (a restart would count the age of
//! the whole cluster).

use std::time::SystemTime;

use towpath_model::{Changes, EndpointSlice};

/// Changes that wait at most: a kernel that takes nothing must not cost memory.
const WAITING_MAX: usize = 10_000;

/// Changes that are not in the kernel yet.
#[derive(Debug)]
pub(super) struct ProgrammingLatency {
    started: SystemTime,
    waiting: Vec<SystemTime>,
}

impl ProgrammingLatency {
    pub(super) const fn since(started: SystemTime) -> Self {
        Self { started, waiting: Vec::new() }
    }

    /// A slice that was not known before.
    pub(super) fn appeared(&mut self, slice: &EndpointSlice) {
        let at = slice.triggered.as_deref().and_then(parse);
        let at = at.filter(|at| *at > self.started && self.waiting.len() < WAITING_MAX);
        self.waiting.extend(at);
    }

    /// What changed.
    pub(super) fn changed(&mut self, changes: &Changes) {
        for change in &changes.slices {
            let triggered = |slice: &Option<std::sync::Arc<EndpointSlice>>| {
                slice.as_ref().and_then(|slice| slice.triggered.clone())
            };
            if let Some(new) = &change.new
                && triggered(&change.old) != new.triggered
            {
                self.appeared(new);
            }
        }
    }

    /// Everything received is in the kernel: how long each change took, in seconds.
    pub(super) fn done(&mut self, now: SystemTime) -> impl Iterator<Item = f64> {
        // A clock that differs from the controller's shows as zero, not as an error.
        let age = move |at| now.duration_since(at).unwrap_or_default().as_secs_f64();
        std::mem::take(&mut self.waiting).into_iter().map(age)
    }
}

/// RFC 3339, as Go writes it: `2026-11-25T09:30:00.123456789Z`, or with an offset.
fn parse(text: &str) -> Option<SystemTime> {
    text.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_read_as_the_api_writes_them() {
        let at = |seconds, nanos| Some(UNIX_EPOCH + Duration::new(seconds, nanos));
        let rows = [
            ("1970-01-01T00:00:00Z", at(0, 0)),
            ("2000-02-29T00:00:00Z", at(951_782_400, 0)),
            ("2026-11-25T00:50:17Z", at(1_795_567_817, 0)),
            ("2026-11-25T00:50:17.5Z", at(1_795_567_817, 500_000_000)),
            ("2026-11-25T00:50:17.000000001Z", at(1_795_567_817, 1)),
            ("2026-11-25T02:50:17+02:00", at(1_795_567_817, 0)),
            ("2026-11-24T19:20:17-05:30", at(1_795_567_817, 0)),
            ("2026-13-25T00:50:17Z", None),
            ("2026-11-25T00:50:17", None),
            ("2026-11-25T00:50:17.Z", None),
            ("", None),
            ("T", None),
            ("9999999999999999999-1-1T0:0:0Z", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
