//! Threads that must not end before the daemon does: each holds what nothing else holds
//! (`src/panics.rs`). When one ends, by a panic or otherwise, the daemon ends with it and names it.

use std::{thread, time::Duration};

use crate::panics;

/// Time between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// A thread ended that must not.
#[derive(Debug, thiserror::Error)]
#[error(
    "the {name} thread ended ({why}): the daemon stops, and what is in the kernel stays in force \
     until the next one takes over; please report this with the log"
)]
pub(super) struct ThreadEnded {
    name: &'static str,
    why: String,
}

/// The threads.
#[derive(Default)]
pub(super) struct Threads {
    running: Vec<(&'static str, Box<dyn Joins>)>,
}

/// A thread, whatever it answers.
trait Joins {
    fn is_over(&self) -> bool;
    /// What its panic said, if it was one.
    fn panic(self: Box<Self>) -> Option<String>;
}

impl<T> Joins for thread::JoinHandle<T> {
    fn is_over(&self) -> bool {
        self.is_finished()
    }
    fn panic(self: Box<Self>) -> Option<String> {
        self.join().err().map(|panic| format!("panic: {}", panics::said(panic.as_ref())))
    }
}

impl Threads {
    /// One more.
    pub(super) fn add<T: 'static>(&mut self, name: &'static str, thread: thread::JoinHandle<T>) {
        self.running.push((name, Box::new(thread)));
    }

    /// A thread that has ended; of several, one that panicked: the others ended because of it.
    pub(super) fn ended(&mut self) -> Option<ThreadEnded> {
        let (over, running): (Vec<_>, _) =
            std::mem::take(&mut self.running).into_iter().partition(|(_, thread)| thread.is_over());
        self.running = running;
        let mut found = None;
        for (name, thread) in over {
            match thread.panic() {
                Some(why) => return Some(ThreadEnded { name, why }),
                None => found.get_or_insert_with(|| ThreadEnded {
                    name,
                    why: "without a reason".to_owned(),
                }),
            };
        }
        found
    }

    /// Waits until one has ended.
    pub(super) async fn first_end(&mut self) -> ThreadEnded {
        loop {
            let over = self.running.iter().any(|(_, thread)| thread.is_over());
            // Also when one is over: what it dropped may end others before itself.
            tokio::time::sleep(LOOK).await;
            if over && let Some(ended) = self.ended() {
                return ended;
            }
        }
    }

    /// Waits until this one has ended, as it was told to, and lets go of what it answers; false: not
    /// within `patience`.
    pub(super) async fn join(&mut self, name: &str, patience: Duration) -> bool {
        let over = async {
            let runs = || self.running.iter().any(|(n, thread)| *n == name && !thread.is_over());
            while runs() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(patience, over).await.is_err() {
            return false;
        }
        let named = |(n, _): &mut (&str, _)| *n == name;
        for (_, thread) in self.running.extract_if(.., named) {
            // It was told to end: a panic on its way out is in the log already.
            let _panic = thread.panic();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_ends_is_named_with_the_reason() {
        let mut threads = Threads::default();
        let (keep, kept) = std::sync::mpsc::channel::<()>();
        threads.add("patient", thread::spawn(move || kept.recv()));
        assert!(threads.ended().is_none());
        threads.add("hasty", thread::spawn(|| panic!("no {}", "way")));
        let ended = threads.first_end().await.to_string();
        assert!(ended.starts_with("the hasty thread ended (panic: no way): "), "{ended}");
        assert!(threads.ended().is_none(), "the other one runs");
        assert!(!threads.join("patient", Duration::from_millis(20)).await);
        drop(keep);
        assert!(threads.join("patient", Duration::from_secs(60)).await);
        assert!(threads.ended().is_none(), "it ended in order");
    }

    #[tokio::test]
    async fn of_several_the_one_that_panicked_is_the_reason() {
        let mut threads = Threads::default();
        let (held, follows) = std::sync::mpsc::channel::<()>();
        threads.add("follower", thread::spawn(move || follows.recv().is_err()));
        threads.add(
            "first",
            thread::spawn(move || {
                // Let go while it unwinds: the follower may well be over before it is.
                let _held = held;
                panic!("it was me");
            }),
        );
        let ended = threads.first_end().await.to_string();
        assert!(ended.starts_with("the first thread ended (panic: it was me)"), "{ended}");
    }
}
