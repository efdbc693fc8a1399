//! Are our programs in force? Somebody may detach a link, remove its pin or make the cgroup anew; the
//! node would lose its Services without a word.

use towpath_image::Kernel;

/// Milliseconds between two looks; one takes some 50 microseconds.
const EVERY_MS: u64 = 10_000;

/// Looks, and remembers what it found.
#[derive(Debug, Default)]
pub(super) struct Guard {
    next_ms: u64,
    reattached: u64,
    problem: Option<String>,
}

impl Guard {
    /// Looks when it is time; answers how many programs were brought back.
    pub(super) fn tick(&mut self, kernel: &mut dyn Kernel, now: u64) -> usize {
        if now < self.next_ms {
            return 0;
        }
        self.look(kernel, now)
    }

    /// Looks now.
    pub(super) fn look(&mut self, kernel: &mut dyn Kernel, now: u64) -> usize {
        self.next_ms = now.saturating_add(EVERY_MS);
        let problem = match kernel.heal() {
            Ok(programs) => {
                for program in &programs {
                    tracing::error!(program, "was detached from outside: it is back in force");
                }
                self.reattached += programs.len() as u64;
                self.problem = None;
                return programs.len();
            }
            Err(error) => error.to_string(),
        };
        if self.problem.as_ref() != Some(&problem) {
            tracing::error!("{problem}");
        }
        self.problem = Some(problem);
        0
    }

    /// How many programs were brought back since the start.
    pub(super) const fn reattached(&self) -> u64 {
        self.reattached
    }

    /// Why a program is not in force.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}
