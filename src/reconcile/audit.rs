//! Audits: what is in force is what was written, and what was planned by increments is what a plan
//! from scratch has. At start and every few minutes (DESIGN section 2, step 8); each area says what
//! it compares.
//!
//! On a thread of its own. What is in force is read beside the loop, and compared with the loop's
//! books in portions (see [`super::AreaAsker::walk`]), so that an audit of the largest cluster holds
//! up no change. What is compared may therefore change meanwhile: only what two looks in a row find,
//! in the same words, is a difference; the words name what should be there, so that a place that
//! changed is not the same.

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::clock::{Clock, Millis};

/// Time between two audits of an area.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// Time until an audit that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Time between two looks of one audit.
const PAUSE: Duration = Duration::from_secs(1);
/// Differences that are spelled out at most.
pub const SPELLED_OUT: usize = 100;

/// What an audit found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Finding {
    /// The area's name.
    pub area: &'static str,
    /// When (milliseconds since the daemon started).
    pub at_ms: Millis,
    /// What differed; empty is how it should be.
    pub differences: Vec<String>,
}

/// How one area is audited.
pub trait Audit: Send {
    /// The area's name.
    fn area(&self) -> &'static str;
    /// Was it planned at least once? Before there is nothing to compare.
    fn is_planned(&self) -> bool;
    /// Everything that differs now, or only seems to because it changed meanwhile. `None`: it could
    /// not be made.
    fn look(&mut self) -> Option<BTreeSet<String>>;
}

/// Audits every area.
pub struct Auditor {
    audits: Vec<(Box<dyn Audit>, Instant)>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Auditor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auditor").finish_non_exhaustive()
    }
}

impl Auditor {
    /// Audits that are due at once.
    #[must_use]
    pub fn new(audits: Vec<Box<dyn Audit>>, clock: Arc<dyn Clock>) -> Self {
        let now = Instant::now();
        Self { audits: audits.into_iter().map(|audit| (audit, now)).collect(), clock }
    }

    /// Starts the thread; it ends within a second of the loop. `is_over`: the loop has ended;
    /// `report` takes findings.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        mut self,
        is_over: impl Fn() -> bool + Send + 'static,
        report: impl Fn(Finding) + Send + 'static,
    ) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("audit".into()).spawn(move || {
            while !is_over() {
                let clock = Arc::clone(&self.clock);
                for (area, next) in &mut self.audits {
                    if Instant::now() < *next || !area.is_planned() {
                        continue;
                    }
                    let finding = audit(area.as_mut(), &*clock, PAUSE);
                    *next = Instant::now() + if finding.is_some() { EVERY } else { AGAIN };
                    if let Some(finding) = finding {
                        report(finding);
                    }
                }
                thread::sleep(PAUSE);
            }
        })
    }
}

/// One audit of one area, with this time between its looks. `None`: it could not be made.
pub fn audit(area: &mut dyn Audit, clock: &dyn Clock, pause: Duration) -> Option<Finding> {
    let mut differences = area.look()?;
    if !differences.is_empty() {
        thread::sleep(pause);
        let again = area.look()?;
        differences.retain(|difference| again.contains(difference));
    }
    let differences = differences.into_iter().take(SPELLED_OUT).collect();
    Some(Finding { area: area.area(), at_ms: clock.now_ms(), differences })
}
