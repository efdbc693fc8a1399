//! Grace periods, off the loop's thread.
//!
//! What is retired may be used again when no program that began before still runs. Waiting for that
//! (`towpath_ebpf::grace`) takes 8 to 20 ms, too long for the loop: one thread does it on request and
//! answers with the time at which the wait began. Requests that arrive while it waits share the next
//! one. While waiting fails nothing is used again, and there is a problem to show.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use towpath_model::{Code, Problem};

use crate::clock::{Clock, Millis};

/// Asks for grace periods.
#[derive(Clone, Debug)]
pub struct Graces {
    requests: mpsc::SyncSender<()>,
    failure: Arc<Mutex<Option<String>>>,
}

/// The other end: what waits for grace periods.
#[derive(Debug)]
pub struct GraceRequests {
    inbox: mpsc::Receiver<()>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Graces {
    /// Both ends.
    #[must_use]
    pub fn channel() -> (Self, GraceRequests) {
        let (requests, inbox) = mpsc::sync_channel(1);
        let failure = Arc::new(Mutex::new(None));
        (Self { requests, failure: Arc::clone(&failure) }, GraceRequests { inbox, failure })
    }

    /// Why nothing that is retired can be used again, as long as that is so.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let cause = lock(&self.failure).clone()?;
        let why = format!(
            "waiting for an RCU grace period fails ({cause}), so retired elements of the kernel's \
             maps are not used again and the maps fill up"
        );
        let action = "let the daemon call membarrier(2) and bpf(2) (seccomp profile, CAP_BPF)";
        Some(Problem::new(Code::NoGracePeriod, None, "kernel", &why, action))
    }

    /// Asks for one more grace period. A full queue means that one is about to begin anyway.
    pub fn request(&self) {
        match self.requests.try_send(()) {
            Ok(()) | Err(mpsc::TrySendError::Full(())) => {}
            Err(mpsc::TrySendError::Disconnected(())) => {
                tracing::warn!("the thread that waits for grace periods has ended");
            }
        }
    }
}

impl GraceRequests {
    /// Was one asked for since the last call?
    #[must_use]
    pub fn take(&self) -> bool {
        self.inbox.try_recv().is_ok()
    }

    /// Starts the thread; it ends when the last [`Graces`] is gone or `over` answers false, and must
    /// not before. `wait` waits for one grace period, `over` is told when it began.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn serve(
        self,
        clock: Arc<dyn Clock>,
        wait: fn() -> std::io::Result<()>,
        over: impl Fn(Millis) -> bool + Send + 'static,
    ) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("grace".into()).spawn(move || {
            while self.inbox.recv().is_ok() {
                let began = clock.now_ms();
                let failed = wait().err().map(|error| error.to_string());
                let succeeded = failed.is_none();
                let before = std::mem::replace(&mut *lock(&self.failure), failed.clone());
                if let Some(error) = failed.filter(|_| before.is_none()) {
                    tracing::error!(error, "waiting for an RCU grace period failed");
                }
                if succeeded && !over(began) {
                    return;
                }
            }
        })
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
    use crate::clock::SystemClock;

    static BROKEN: AtomicBool = AtomicBool::new(true);

    fn wait() -> io::Result<()> {
        if BROKEN.load(Ordering::SeqCst) { Err(io::Error::other("on order")) } else { Ok(()) }
    }

    #[test]
    fn a_wait_that_fails_is_a_problem_until_one_succeeds() {
        let (over, inbox) = mpsc::channel();
        let (graces, requests) = Graces::channel();
        let clock = Arc::new(SystemClock::start());
        let _waiting = requests.serve(clock, wait, move |began| over.send(began).is_ok()).unwrap();
        assert_eq!(graces.problem(), None);
        graces.request();
        let patience = std::time::Instant::now() + Duration::from_secs(10);
        while graces.problem().is_none() {
            assert!(std::time::Instant::now() < patience, "no problem is shown");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(graces.problem().is_some_and(|problem| problem.why.contains("on order")));
        assert!(inbox.try_recv().is_err(), "nothing is over");
        BROKEN.store(false, Ordering::SeqCst);
        graces.request();
        assert!(inbox.recv_timeout(Duration::from_secs(10)).is_ok());
        assert_eq!(graces.problem(), None);
    }
}
