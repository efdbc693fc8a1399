//! The store's request for a list of a quorum: it outlives every failure, and the loop itself.
//!
//! The brake holds back a suspicious list until a second one agrees (DESIGN section 2). A second
//! list out of the same stale cache would agree too; so the request is fulfilled by a list of a quorum
//! that was begun after it and delivered to its end, and by nothing else.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::Notify;

/// A list this soon after another may be the one that releases the brake before its request is heard.
const SOON: Duration = Duration::from_secs(30);

/// What one kind's loop has to remember, even when it is started anew.
#[derive(Debug, Default)]
pub(super) struct RelistRequest {
    requested: AtomicU64,
    settled: AtomicU64,
    news: Notify,
    /// When the last list was complete, in the daemon's milliseconds; 0: never.
    listed_ms: AtomicU64,
    /// A list is doubted because the loop that made the last one broke down.
    broken: AtomicBool,
}

/// Requests up to this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Generation(u64);

impl RelistRequest {
    /// Asks for a list of a quorum.
    pub(super) fn request(&self) {
        self.requested.fetch_add(1, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// The loop broke down: what it knew of lists is not relied upon.
    pub(super) fn distrust(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Taken before a list: which requests it can fulfil.
    pub(super) fn generation(&self) -> Generation {
        Generation(self.requested.load(Ordering::Relaxed))
    }

    /// Whether the next list has to be one of a quorum.
    pub(super) fn wants_quorum(&self, now_ms: u64) -> bool {
        let listed = self.listed_ms.load(Ordering::Relaxed);
        let soon = listed != 0 && u128::from(now_ms.saturating_sub(listed)) < SOON.as_millis();
        let open = self.requested.load(Ordering::Relaxed) != self.settled.load(Ordering::Relaxed);
        open || soon || self.broken.load(Ordering::Relaxed)
    }

    /// A list was delivered to its end.
    pub(super) fn delivered(&self, quorum: Option<Generation>, now_ms: u64) {
        self.listed_ms.store(now_ms.max(1), Ordering::Relaxed);
        if let Some(Generation(generation)) = quorum {
            self.settled.store(generation, Ordering::Relaxed);
            self.broken.store(false, Ordering::Relaxed);
        }
    }

    /// A list was complete before.
    pub(super) fn was_listed(&self) -> bool {
        self.listed_ms.load(Ordering::Relaxed) != 0
    }

    /// How long ago that was; none: no time at all.
    pub(super) fn since_listed(&self, now_ms: u64) -> Duration {
        match self.listed_ms.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            listed => Duration::from_millis(now_ms.saturating_sub(listed)),
        }
    }

    /// Returns as soon as a request is open.
    pub(super) async fn requested(&self) {
        while self.requested.load(Ordering::Relaxed) == self.settled.load(Ordering::Relaxed) {
            self.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: u64 = 100_000;

    #[test]
    fn a_request_is_fulfilled_by_a_quorum_list_that_began_after_it() {
        let relist = RelistRequest::default();
        assert!(!relist.wants_quorum(LATER));
        let before = relist.generation();
        relist.request();
        relist.delivered(None, 1);
        assert!(relist.wants_quorum(LATER), "a cached list is no answer");
        relist.delivered(Some(before), 1);
        assert!(relist.wants_quorum(LATER), "it was begun before the request");
        relist.delivered(Some(relist.generation()), 1);
        assert!(!relist.wants_quorum(LATER));
    }

    #[test]
    fn a_list_soon_after_another_is_one_of_a_quorum() {
        let relist = RelistRequest::default();
        relist.delivered(None, 1000);
        assert!(relist.wants_quorum(30_000) && !relist.wants_quorum(31_000));
    }

    #[test]
    fn after_a_break_down_a_quorum_is_asked() {
        let relist = RelistRequest::default();
        relist.distrust();
        relist.delivered(None, 1);
        assert!(relist.wants_quorum(LATER));
        relist.delivered(Some(relist.generation()), 1);
        assert!(!relist.wants_quorum(LATER));
    }

    #[tokio::test]
    async fn a_request_wakes_who_waits_for_one() {
        let relist = std::sync::Arc::new(RelistRequest::default());
        let waiting = std::sync::Arc::clone(&relist);
        let waiter = tokio::spawn(async move { waiting.requested().await });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        relist.request();
        waiter.await.unwrap();
    }
}
