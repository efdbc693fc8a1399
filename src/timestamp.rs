//! Moments as the API writes them: RFC 3339.

use std::time::SystemTime;

use jiff::Timestamp;

/// UTC, to the second. A moment that no calendar has is the first one.
#[must_use]
pub fn written(time: SystemTime) -> String {
    format!("{:.0}", Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// UTC, to the microsecond, as a Lease has its times.
#[must_use]
pub fn written_micros(time: SystemTime) -> String {
    format!("{:.6}", Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// With fractions and an offset, as Go writes them.
#[must_use]
pub fn read(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn moments_are_written_as_the_api_writes_them() {
        let at = |seconds| written(UNIX_EPOCH + Duration::from_secs_f64(seconds));
        assert_eq!(at(0.0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399.0), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400.0), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_567_817.9), "2026-11-25T00:50:17Z");
        let micros = UNIX_EPOCH + Duration::new(1_795_567_817, 5_000);
        assert_eq!(written_micros(micros), "2026-11-25T00:50:17.000005Z");
    }

    #[test]
    fn moments_are_read_as_the_api_writes_them() {
        let at = |seconds, nanos| Some(UNIX_EPOCH + Duration::new(seconds, nanos));
        for (text, expected) in [
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
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
