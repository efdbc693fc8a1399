//! Who leads, as client-go elects: by a Lease whose age each daemon measures with its own clock, from the
//! moment at which it saw the record change. Times in the record are for people: clocks of nodes differ.
//!
//! In one point it differs: there are as many candidates as nodes. Each asks the rarer the more there are,
//! so that the API server is asked a few times a second in all; one that suspects that the leader is gone
//! looks again when its Lease would be over.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Pace, ms};
use crate::{clock::Millis, timestamp};

/// Candidates that may all ask with every retry; more of them ask in turn.
const CANDIDATES: u32 = 4;
/// client-go's jitter: a candidate waits up to so much longer.
const JITTER: f64 = 1.2;

/// The request that is due, with the whole object.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Step {
    /// A Lease is to be made (POST).
    Create(Value),
    /// It is to be taken or renewed (PUT).
    Update(Value),
}

/// What was read.
#[derive(Debug)]
struct Seen {
    object: Value,
    /// When the record was first seen as it is.
    since: Millis,
    /// When it was last looked at.
    last: Millis,
    /// By the times in it, it was over when it was last looked at.
    old: bool,
}

impl Seen {
    fn holder(&self) -> &str {
        holder(&self.object)
    }

    fn over_at(&self) -> Millis {
        self.since.saturating_add(lasts(&self.object))
    }
}

fn holder(object: &Value) -> &str {
    object["spec"]["holderIdentity"].as_str().unwrap_or_default()
}

fn lasts(object: &Value) -> Millis {
    object["spec"]["leaseDurationSeconds"].as_u64().unwrap_or_default().saturating_mul(1_000)
}

/// One candidate.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    pace: Pace,
    seen: Option<Seen>,
    /// When the request began by which this one became or stayed the leader.
    renewed: Option<Millis>,
    /// A record that was old by its times was renewed after all: the holder's clock is behind ours.
    behind: bool,
}

impl Election {
    pub(super) const fn new(identity: String, pace: Pace) -> Self {
        Self { identity, pace, seen: None, renewed: None, behind: false }
    }

    /// The Lease was read; `None`: there is none.
    pub(super) fn observe(&mut self, object: Option<Value>, now: Millis, wall: SystemTime) {
        let Some(object) = object else {
            (self.seen, self.renewed) = (None, None);
            return;
        };
        if holder(&object) != self.identity {
            self.renewed = None;
        }
        let mut since = now;
        if let Some(seen) = &self.seen {
            if seen.object["spec"] == object["spec"] {
                since = seen.since;
            } else if seen.old && seen.holder() == holder(&object) {
                self.behind = true;
            }
        }
        let renewed = object["spec"]["renewTime"].as_str().and_then(timestamp::read);
        let end = renewed.and_then(|at| at.checked_add(Duration::from_millis(lasts(&object))));
        let old = end.is_some_and(|end| end < wall);
        // One that is not old by our clock: the clocks agree.
        self.behind &= old;
        self.seen = Some(Seen { object, since, last: now, old });
    }

    /// What was sent at `began` was taken, and is this now.
    pub(super) fn taken(&mut self, object: Value, began: Millis) {
        self.renewed = (holder(&object) == self.identity).then_some(began);
        self.seen = Some(Seen { object, since: began, last: began, old: false });
    }

    /// Does this one lead? Not when it could not renew in time: another may lead before long.
    pub(super) fn leads(&self, now: Millis) -> bool {
        let end = |renewed: Millis| renewed.saturating_add(ms(self.pace.deadline));
        self.renewed.is_some_and(|renewed| now < end(renewed))
    }

    /// The request that is due now; `None`: another one holds the Lease.
    pub(super) fn step(&self, name: &str, now: Millis, wall: SystemTime) -> Option<Step> {
        let Some(seen) = &self.seen else {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": { "name": name },
                "spec": { "leaseTransitions": 0 },
            });
            return Some(Step::Create(self.held(lease, wall, true)));
        };
        let own = seen.holder() == self.identity;
        if !own && !seen.holder().is_empty() && now < seen.over_at() {
            return None;
        }
        let mut object = seen.object.clone();
        if !own {
            let times = object["spec"]["leaseTransitions"].as_u64().unwrap_or_default();
            object["spec"]["leaseTransitions"] = times.saturating_add(1).into();
        }
        Some(Step::Update(self.held(object, wall, !own)))
    }

    fn held(&self, mut object: Value, wall: SystemTime, acquires: bool) -> Value {
        let now = timestamp::written_micros(wall);
        let spec = &mut object["spec"];
        spec["holderIdentity"] = self.identity.as_str().into();
        // The API counts whole seconds, at least one.
        spec["leaseDurationSeconds"] = self.pace.lease.as_secs().max(1).into();
        if acquires {
            spec["acquireTime"] = now.as_str().into();
        }
        spec["renewTime"] = now.into();
        object
    }

    /// What lets go of a Lease that this one holds, for the next one to take at once.
    pub(super) fn released(&self, wall: SystemTime) -> Option<Value> {
        let seen = self.seen.as_ref().filter(|seen| seen.holder() == self.identity)?;
        let mut object = seen.object.clone();
        let now = timestamp::written_micros(wall);
        let spec = &mut object["spec"];
        spec["holderIdentity"] = "".into();
        spec["leaseDurationSeconds"] = 1.into();
        spec["renewTime"] = now.into();
        Some(object)
    }

    /// Until the next look, with as many candidates as `nodes`. `share`: a random number from 0 to 1.
    pub(super) fn wait(&self, now: Millis, nodes: usize, share: f64) -> Duration {
        let retry = self.pace.retry;
        if self.leads(now) {
            return retry;
        }
        let turns = u32::try_from(nodes).unwrap_or(u32::MAX).div_ceil(CANDIDATES).max(1);
        let usual = retry.saturating_mul(turns).mul_f64(1.0 + JITTER * share);
        let Some(seen) = &self.seen else { return usual };
        let is_suspect = seen.since < seen.last || (seen.old && !self.behind);
        if !is_suspect {
            return usual;
        }
        let left = Duration::from_millis(seen.over_at().saturating_sub(now));
        usual.min(left.max(retry))
    }
}

#[cfg(test)]
#[path = "election/tests.rs"]
mod tests;
