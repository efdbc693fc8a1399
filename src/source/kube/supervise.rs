//! A loop that breaks down is started again, and it is said.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Instant};

use futures_util::FutureExt as _;

use super::backoff::{Backoff, Next};
use crate::source::LoopEnded;

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
        report(times, reason(&*panic));
        tokio::time::sleep(backoff.after_failure(began.elapsed(), Next::List)).await;
    }
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message")
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
        let began = tokio::time::Instant::now();
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
        for _ in 0..100 {
            if Arc::strong_count(&alive) == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it runs on");
    }
}
