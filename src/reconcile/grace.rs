//! Grace periods, off the publishing thread.
//!
//! What is retired may be used again when no program that began before still runs. Waiting for that
//! (`towpath_ebpf::grace`) takes 8 to 20 ms, too long for the loop: one thread does it on request and
//! answers with the time at which the wait began. Requests that arrive while it waits share the next
//! one. While waiting fails nothing is used again, and there is a problem to show.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc},
    thread,
};

use tokio::sync::mpsc;

use super::{Clock, Wake};

/// Asks for grace periods.
#[derive(Clone, Debug)]
pub struct Graces {
    requests: std_mpsc::SyncSender<()>,
    failure: Arc<Mutex<Option<String>>>,
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
        let failure = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&failure);
        let waiting = thread::Builder::new().name("grace".into()).spawn(move || {
            while inbox.recv().is_ok() {
                let began = clock.now_ms();
                let failed = wait().err().map(|error| error.to_string());
                let over = failed.is_none();
                let before = std::mem::replace(&mut *lock(&noted), failed.clone());
                if let Some(error) = failed.filter(|_| before.is_none()) {
                    tracing::error!(error, "waiting for an RCU grace period failed");
                }
                if over && wakes.blocking_send(Wake::Graced(began)).is_err() {
                    return;
                }
            }
        })?;
        Ok((Self { requests, failure }, waiting))
    }

    /// Why nothing that is retired can be used again, as long as that is so.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let cause = lock(&self.failure).clone()?;
        Some(format!(
            "kernel: waiting for an RCU grace period fails ({cause}), so what Services leave behind \
             in SERVICES and BACKENDS is not used again and the maps fill up; let the daemon call \
             membarrier(2) and bpf(2) (seccomp profile, capability CAP_BPF)"
        ))
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

fn lock(failure: &Mutex<Option<String>>) -> std::sync::MutexGuard<'_, Option<String>> {
    failure.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use super::*;

    static BROKEN: AtomicBool = AtomicBool::new(true);

    fn wait() -> io::Result<()> {
        if BROKEN.load(Ordering::SeqCst) { Err(io::Error::other("on order")) } else { Ok(()) }
    }

    #[test]
    fn a_wait_that_fails_is_a_problem_until_one_succeeds() {
        let (wakes, mut inbox) = mpsc::channel(4);
        let (graces, _waiting) = Graces::start(Clock::start(), wait, wakes).expect("a thread");
        assert_eq!(graces.problem(), None);
        graces.request();
        let patience = std::time::Instant::now() + Duration::from_secs(10);
        while graces.problem().is_none() {
            assert!(std::time::Instant::now() < patience, "no problem is shown");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(graces.problem().is_some_and(|why| why.contains("on order")));
        assert!(inbox.try_recv().is_err(), "nothing is over");
        BROKEN.store(false, Ordering::SeqCst);
        graces.request();
        assert!(matches!(inbox.blocking_recv(), Some(Wake::Graced(_))));
        assert_eq!(graces.problem(), None);
    }
}
