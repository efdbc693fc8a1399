//! The loop of a stream that panics is started again, and `status` says so (`src/panics.rs`: why).

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::{
    backoff::{Backoff, Next},
    panics,
    source::LoopEnded,
};

/// Runs `start` again and again until it ends by itself; after every panic `report` is called with
/// how many there were, and the reason. It stops together with its caller.
pub(super) async fn supervise<Run: Future<Output = LoopEnded>>(
    mut backoff: Backoff,
    mut start: impl FnMut() -> Run,
    mut report: impl FnMut(u64, &str),
) -> LoopEnded {
    let mut times = 0;
    loop {
        let began = Instant::now();
        // Safe: what panicked is dropped, and what it shares is behind locks.
        let panic = match AssertUnwindSafe(start()).catch_unwind().await {
            Ok(ended) => return ended,
            Err(panic) => panic,
        };
        times += 1;
        report(times, panics::said(&*panic));
        tokio::time::sleep(backoff.after_failure(began.elapsed(), Next::List)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_panics_is_started_again_with_growing_waits_and_each_time_is_told() {
        let starts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&starts);
        let mut told = Vec::new();
        let began = Instant::now();
        let backoff = Backoff::new(Duration::from_millis(800), Duration::from_secs(30));
        let LoopEnded = supervise(
            backoff,
            || {
                let start = counted.fetch_add(1, Ordering::Relaxed);
                async move {
                    match start {
                        0 => panic!("out of cheese"),
                        1..4 => panic!("again: {start}"),
                        _ => LoopEnded,
                    }
                }
            },
            |times, why| told.push(format!("{times} {why}")),
        )
        .await;
        assert_eq!(told, ["1 out of cheese", "2 again: 1", "3 again: 2", "4 again: 3"]);
        // Half of 0.8 + 1.6 + 3.2 + 6.4 s.
        assert!(began.elapsed() >= Duration::from_secs(6), "{:?}", began.elapsed());
        assert_eq!(starts.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn it_stops_with_its_caller() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
        let start = move || {
            let held = Arc::clone(&held);
            async move {
                std::future::pending::<()>().await;
                drop(held);
                LoopEnded
            }
        };
        let task = tokio::spawn(supervise(backoff, start, |_, _| ()));
        tokio::task::yield_now().await;
        task.abort();
        drop(task.await);
        // The task that was spawned for the watch is dropped by the runtime when it gets to it.
        let dropped = async {
            while Arc::strong_count(&alive) > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), dropped).await.expect("it runs on");
    }
}
