//! Programs and pins that were removed from outside come back: a detached link or a removed pin would
//! cost the node, or the next daemon, its traffic without a word.

use towpath_image::Programs;

use crate::clock::Millis;

/// Milliseconds between two looks; one opens a pin for each program and map.
const EVERY_MS: Millis = 10_000;

/// Looks, and remembers what it found.
#[derive(Debug, Default)]
pub(super) struct SelfHeal {
    next_ms: Millis,
    reattached: u64,
    problem: Option<String>,
}

impl SelfHeal {
    /// Looks when it is time; answers how many programs and pins were brought back.
    pub(super) fn tick(&mut self, programs: &mut dyn Programs, now: Millis) -> usize {
        if now < self.next_ms {
            return 0;
        }
        self.look(programs, now)
    }

    /// Looks now.
    pub(super) fn look(&mut self, programs: &mut dyn Programs, now: Millis) -> usize {
        self.next_ms = now.saturating_add(EVERY_MS);
        let problem = match programs.heal() {
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

    /// Why a program is not in force, or a pin is another's.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}
