//! How long an object rests after a write.

use std::{collections::BTreeMap, time::Duration};

use towpath_model::ObjectName;

use super::ms;
use crate::clock::Millis;

/// After the first write: by then the watch has shown what became of it.
const FIRST: Duration = Duration::from_secs(1);
/// Two writers that do not agree meet no more often.
const LONGEST: Duration = Duration::from_secs(300);

/// Who wrote what, and is not written for a while. An object that is written again and again, because
/// another controller writes something else there or refuses it, rests longer each time.
#[derive(Debug, Default)]
pub(super) struct Rests {
    objects: BTreeMap<ObjectName, Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Millis,
    length: Millis,
}

impl Rests {
    /// It was written, or would not be, just now.
    pub(super) fn begin(&mut self, name: &ObjectName, now: Millis) {
        let before = self.objects.get(name).map_or(0, |rest| rest.length);
        let length = before.saturating_mul(2).clamp(ms(FIRST), ms(LONGEST));
        self.objects.insert(name.clone(), Rest { until: now + length, length });
    }

    pub(super) fn holds(&self, name: &ObjectName, now: Millis) -> bool {
        self.objects.get(name).is_some_and(|rest| now < rest.until)
    }

    /// Forgets those that were left in peace for long. Answers when the next one ends.
    pub(super) fn sweep(&mut self, now: Millis) -> Option<Millis> {
        self.objects.retain(|_, rest| now < rest.until.saturating_add(ms(LONGEST)));
        self.objects.values().map(|rest| rest.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_is_written_again_and_again_rests_longer_each_time() {
        let (mut rests, name) = (Rests::default(), ObjectName::new("n", "i"));
        let (mut now, mut lengths) = (1, Vec::new());
        for _ in 0..12 {
            rests.begin(&name, now);
            assert!(rests.holds(&name, now));
            let until = rests.sweep(now).unwrap();
            assert!(rests.holds(&name, until - 1) && !rests.holds(&name, until));
            lengths.push(until - now);
            now = until;
        }
        assert_eq!(lengths[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(lengths[9..], [300_000; 3]);
        // One that was at peace begins anew.
        assert_eq!(rests.sweep(now + 300_000), None);
        rests.begin(&name, now);
        assert_eq!(rests.sweep(now), Some(now + 1_000));
        assert!(!rests.holds(&ObjectName::new("n", "other"), now));
    }
}
