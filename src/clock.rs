//! Time as an argument: the loop, the areas and everything that stamps or compares times get a
//! [`Clock`]. The daemon's is [`SystemClock`]; tests and the simulation have clocks of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

pub use towpath_image::Millis;

/// One reading of a clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Microseconds since the daemon started; never goes back.
    pub us: u64,
    /// Wall-clock time, for what is compared with times that others wrote.
    pub wall: SystemTime,
}

impl Now {
    /// Milliseconds since the daemon started, from 1, so that 0 can mean "never".
    #[must_use]
    pub const fn ms(&self) -> Millis {
        self.us / 1_000 + 1
    }

    /// Time since an earlier reading; zero when that was later.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Duration {
        Duration::from_micros(self.us.saturating_sub(earlier.us))
    }
}

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Now;

    /// Milliseconds since the daemon started, from 1.
    fn now_ms(&self) -> Millis {
        self.now().ms()
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose time begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// As [`Clock::now_ms`], for code that has no clock but the machine's.
    #[must_use]
    pub fn now_ms(&self) -> Millis {
        self.now().ms()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { us, wall: SystemTime::now() }
    }
}

/// A clock that is moved by hand: time is what a test or the simulation says it is. Clones show the
/// same time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    us: Arc<AtomicU64>,
}

impl ManualClock {
    /// Time goes on by this much.
    pub fn advance(&self, by: Duration) {
        let us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.us.fetch_add(us, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        let us = self.us.load(Ordering::Relaxed);
        Now { us, wall: SystemTime::UNIX_EPOCH + MANUAL_START + Duration::from_micros(us) }
    }
}

/// Wall-clock time of a [`ManualClock`] at its start: 2026-01-01T00:00:00Z.
const MANUAL_START: Duration = Duration::from_secs(1_767_225_600);
