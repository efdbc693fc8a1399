//! Are our programs in force, and our maps pinned? Somebody may detach a link, remove pins or make the
//! cgroup anew; the node, or the next daemon, would lose its Services without a word.

use towpath_image::Programs;

/// Milliseconds between two looks; one opens a pin for each program and map.
const EVERY_MS: u64 = 10_000;

/// Looks, and remembers what it found.
#[derive(Debug, Default)]
pub(super) struct Guard {
    next_ms: u64,
    reattached: u64,
    problem: Option<String>,
}

impl Guard {
    /// Looks when it is time; answers how many programs and pins were brought back.
    pub(super) fn tick(&mut self, kernel: &mut dyn Programs, now: u64) -> usize {
        if now < self.next_ms {
            return 0;
        }
        self.look(kernel, now)
    }

    /// Looks now.
    pub(super) fn look(&mut self, kernel: &mut dyn Programs, now: u64) -> usize {
        self.next_ms = now.saturating_add(EVERY_MS);
        let problem = match kernel.heal() {
            Ok(healed) => {
                for what in &healed {
                    tracing::error!(what, "was detached or removed from outside: it is back");
                }
                self.reattached += healed.len() as u64;
                self.problem = None;
                return healed.len();
            }
            Err(error) => error.to_string(),
        };
        if self.problem.as_ref() != Some(&problem) {
            tracing::error!("{problem}");
        }
        self.problem = Some(problem);
        0
    }

    /// How many programs and pins were brought back since the start.
    pub(super) const fn reattached(&self) -> u64 {
        self.reattached
    }

    /// Why a program is not in force, or a pin not ours.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}
