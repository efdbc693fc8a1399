//! What a kubelet asks: does the daemon serve its node, and does it live?

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use towpath_model::Stream;

use crate::{
    api::{ProbeReply, VERSION},
    clock::{Millis, SystemClock},
    reconcile::{Areas, Asker},
    vitals::Vitals,
};

/// Answers `towpath probe`.
pub(super) struct Probes<A: Areas> {
    pub(super) asker: Asker<A>,
    pub(super) vitals: Arc<Vitals>,
    pub(super) clock: SystemClock,
    /// Once ready, always: a node without its API server is served as well as before, and a rollout or
    /// a load balancer that heard otherwise would take away what works.
    pub(super) was_ready: AtomicBool,
}

impl<A: Areas> Probes<A> {
    pub(super) fn new(asker: Asker<A>, vitals: Arc<Vitals>, clock: SystemClock) -> Self {
        Self { asker, vitals, clock, was_ready: AtomicBool::new(false) }
    }

    /// Every area has listed what it needs, and the kernel has it. `None`: the loop did not answer.
    pub(super) fn ready(&self) -> Option<ProbeReply> {
        if self.was_ready.load(Ordering::Relaxed) {
            return Some(reply(String::new()));
        }
        let missing = self.asker.ask(|state| {
            let areas = state.area_states();
            let unlisted: Vec<Stream> = areas.iter().flat_map(|a| a.unlisted.clone()).collect();
            // A Service that finds no room waits for it, and is a problem of its own: the node serves.
            let unwritten = areas.iter().filter(|area| !area.settled || area.failing);
            let pending = unwritten.map(|area| area.name).collect();
            missing(unlisted, pending)
        })?;
        if missing.is_empty() {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        Some(reply(missing))
    }

    /// The loop turns: told by its last sign of life, without waiting for it.
    pub(super) fn live(&self) -> ProbeReply {
        live(&self.vitals, self.clock.now_ms())
    }
}

/// What the last sign of life says.
pub(super) fn live(vitals: &Vitals, now: Millis) -> ProbeReply {
    let alive = vitals.alive(now);
    reply(if alive { String::new() } else { "the control loop does not turn".to_owned() })
}

/// What is waited for, in words; empty: nothing.
fn missing(mut unlisted: Vec<Stream>, pending: Vec<&str>) -> String {
    unlisted.sort();
    unlisted.dedup();
    let mut missing = Vec::new();
    if !unlisted.is_empty() {
        let streams: Vec<_> = unlisted.iter().map(ToString::to_string).collect();
        missing.push(format!("not listed yet: {}", streams.join(", ")));
    }
    if !pending.is_empty() {
        missing.push(format!("not written to the kernel yet: {}", pending.join(", ")));
    }
    missing.join("; ")
}

pub(super) fn reply(why: String) -> ProbeReply {
    ProbeReply { api_version: VERSION.to_owned(), well: why.is_empty(), why }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        reconcile::{self, Wake},
        services::fixture::{Fixture, lists, service},
    };

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_ready_when_everything_was_listed_and_stays_so() {
        let Fixture { state, wakes, inbox, kernel, clock: of_loop, .. } = Fixture::new();
        let clock = SystemClock::start();
        let thread = reconcile::start(state, inbox).unwrap();
        let probes = Probes::new(Asker::new(wakes.clone()), Arc::default(), clock);
        let first = probes.ready().unwrap();
        assert!(!first.well && first.why.starts_with("not listed yet: "), "{first:?}");
        // The first write fails: a rollout must not go on to the next node.
        kernel.fail_after(0);
        wakes.send(Wake::Events(lists(vec![service("a", 1)]))).await.unwrap();
        let refused = probes.ready().unwrap();
        assert_eq!(refused.why, "not written to the kernel yet: services");
        of_loop.advance(Duration::from_secs(1));
        wakes.send(Wake::Tick).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !probes.ready().is_some_and(|reply| reply.well) {
            assert!(Instant::now() < deadline, "{:?}", probes.ready());
        }
        wakes.send(Wake::Stop).await.unwrap();
        thread.join().unwrap();
        assert!(probes.ready().unwrap().well, "also without a loop: the kernel goes on routing");
    }

    #[test]
    fn it_lives_as_long_as_its_loop_turns() {
        let Fixture { wakes, .. } = Fixture::new();
        let vitals = Arc::new(Vitals::default());
        let probes = Probes::new(Asker::new(wakes), Arc::clone(&vitals), SystemClock::start());
        assert!(probes.live().well);
        vitals.died();
        let dead = probes.live();
        assert_eq!((dead.well, dead.why.as_str()), (false, "the control loop does not turn"));
    }

    #[test]
    fn what_is_waited_for_is_named() {
        assert_eq!(missing(Vec::new(), Vec::new()), "");
        assert_eq!(
            missing(Vec::new(), vec!["services"]),
            "not written to the kernel yet: services"
        );
    }
}
