//! Grace periods, off the publishing thread.
//!
//! Retired extents may be reused when no program that began before their retirement still runs.
//! `membarrier(GLOBAL)` waits for that (8 ms, ebpf-spike.md 12), too long for the loop: one thread
//! does it on request and answers with the time at which the wait began. Requests that arrive while
//! it waits share the next one.

use std::{sync::mpsc as std_mpsc, thread};

use tokio::sync::mpsc;

use super::{Clock, Wake};

/// Asks for grace periods.
#[derive(Clone, Debug)]
pub struct Graces {
    requests: std_mpsc::SyncSender<()>,
}

impl Graces {
    /// Starts the thread; it ends when the last `Graces` or the loop is gone, and must not before.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        clock: Clock,
        wait: fn() -> std::io::Result<()>,
        wakes: mpsc::Sender<Wake>,
    ) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (requests, inbox) = std_mpsc::sync_channel(1);
        let waiting = thread::Builder::new().name("grace".into()).spawn(move || {
            while inbox.recv().is_ok() {
                let began = clock.now_ms();
                if let Err(error) = wait() {
                    // Nothing is reused until a later request succeeds: safe, only wasteful.
                    tracing::warn!(%error, "waiting for an RCU grace period failed");
                    continue;
                }
                if wakes.blocking_send(Wake::Graced(began)).is_err() {
                    return;
                }
            }
        })?;
        Ok((Self { requests }, waiting))
    }

    /// One more grace period, please. A full queue means that one is about to begin anyway.
    pub fn request(&self) {
        match self.requests.try_send(()) {
            Ok(()) | Err(std_mpsc::TrySendError::Full(())) => {}
            Err(std_mpsc::TrySendError::Disconnected(())) => {
                tracing::warn!("the thread that waits for grace periods has ended");
            }
        }
    }
}
