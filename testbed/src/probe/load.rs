//! A load: connections at a steady rate, in the background of whatever else the client is told.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    agent::{Load, Seen},
    client::{PATIENCE, seen, short},
};

/// Threads that connect.
const WORKERS: u32 = 8;

/// A load that goes on until it is ended.
pub(super) struct Running {
    ended: Arc<AtomicBool>,
    sum: JoinHandle<Load>,
}

impl Running {
    /// Connects so often, whether the earlier connections are answered or not, for `least` at least.
    pub(super) fn start(to: SocketAddr, per_second: u32, least: Duration) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (results, inbox) = mpsc::channel::<Seen>();
        let gap = Duration::from_secs(1) * WORKERS / per_second.max(1);
        let began = Instant::now();
        for worker in 0..WORKERS {
            let (results, ended) = (results.clone(), Arc::clone(&ended));
            thread::spawn(move || {
                let mut next = began + gap * worker / WORKERS;
                while next < began + least || !ended.load(Ordering::Relaxed) {
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += gap;
                    let one = seen(|| short(to, PATIENCE));
                    if results.send(one).is_err() {
                        return;
                    }
                }
            });
        }
        Self { ended, sum: thread::spawn(move || sum(&inbox)) }
    }

    /// Ends it when its time has come.
    pub(super) fn end(self) -> Load {
        self.ended.store(true, Ordering::Relaxed);
        // A thread that only adds has no reason to panic.
        self.sum.join().unwrap_or_default()
    }
}

fn sum(inbox: &mpsc::Receiver<Seen>) -> Load {
    let mut load = Load::default();
    for seen in inbox {
        if seen.outcome == "ok" {
            *load.answers.entry(seen.name).or_default() += 1;
        } else {
            *load.failures.entry(seen.outcome).or_default() += 1;
        }
    }
    load
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener};

    use super::*;

    /// A load that ended before what it was to prove would prove nothing.
    #[test]
    fn a_load_goes_on_until_it_is_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let running = Running::start(listener.local_addr().unwrap(), 1_000, Duration::ZERO);
        for stream in listener.incoming().take(100) {
            stream.unwrap().write_all(b"me 1.2.3.4:5\n").unwrap();
        }
        // From now on no answer comes.
        drop(listener);
        let load = running.end();
        assert!(load.answers["me"] > 0, "{load:?}");
        let all = load.answers.values().chain(load.failures.values()).sum::<u64>();
        assert!(all >= 100, "{load:?}");
    }
}
