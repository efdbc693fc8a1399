//! When the changes that are on their way to the kernel were made: the annotation that the
//! EndpointSlice controller writes, for `kubeproxy_network_programming_duration_seconds`
//! (services.md 2.2), the field's service level indicator.
//!
//! As kube-proxy counts: only where the annotation itself is new, not on deletion (it is that of the
//! change before), and only for changes made while this daemon ran (a restart would count the age of
//! the whole cluster).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use towpath_model::Changes;

/// Changes that wait at most: a kernel that takes nothing must not cost memory.
const WAITING_MAX: usize = 10_000;

/// Changes that are not in the kernel yet.
#[derive(Debug)]
pub(super) struct Triggers {
    started: SystemTime,
    waiting: Vec<SystemTime>,
}

impl Triggers {
    pub(super) const fn since(started: SystemTime) -> Self {
        Self { started, waiting: Vec::new() }
    }

    /// What changed.
    pub(super) fn heard(&mut self, changes: &Changes) {
        for change in &changes.slices {
            let Some(new) = change.new.as_ref().and_then(|slice| slice.triggered.as_deref()) else {
                continue;
            };
            let old = change.old.as_ref().and_then(|slice| slice.triggered.as_deref());
            let at = (old != Some(new)).then(|| parse(new)).flatten();
            let at = at.filter(|at| *at > self.started && self.waiting.len() < WAITING_MAX);
            self.waiting.extend(at);
        }
    }

    /// Everything heard is in the kernel: how long each change took, in seconds.
    pub(super) fn done(&mut self, now: SystemTime) -> impl Iterator<Item = f64> {
        // A clock that differs from the controller's shows as zero, not as an error.
        let age = move |at| now.duration_since(at).unwrap_or_default().as_secs_f64();
        std::mem::take(&mut self.waiting).into_iter().map(age)
    }
}

/// RFC 3339, as Go writes it: `2026-11-25T09:30:00.123456789Z`, or with an offset.
fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let offset = match zone.as_bytes().first()? {
        b'Z' | b'z' => 0,
        sign => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let seconds = hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let sane = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !sane || fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{:0<9}", &fraction[..fraction.len().min(9)]).parse().ok()?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// Days since 1970-01-01 (days-from-civil; no calendar crate for one line).
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year - era * 400;
    let month_index = (month + 9) % 12;
    let day_of_year = (153 * month_index + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
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
            ("2026-11-25 00:50:17Z", None),
            ("2026-13-25T00:50:17Z", None),
            ("2026-11-25T00:50:17", None),
            ("2026-11-25T00:50:17.Z", None),
            ("2026-11-25T00:50Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("", None),
            ("T", None),
            ("9999999999999999999-1-1T0:0:0Z", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
