//! What ran, what it counted and what it took.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a binary or a suite counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Left for the root suite.
    pub(crate) ignored: u64,
}

impl Count {
    /// From what follows `test result: `, as in `ok. 3 passed; 0 failed; 1 ignored`.
    pub(crate) fn read(result: &str) -> Self {
        let number = |word| {
            let mut last = 0;
            for part in result.split([' ', ';', '.']).filter(|part| !part.is_empty()) {
                if part == word {
                    return last;
                }
                last = part.parse().unwrap_or(0);
            }
            0
        };
        Self { passed: number("passed"), failed: number("failed"), ignored: number("ignored") }
    }

    pub(crate) const fn ran(&self) -> u64 {
        self.passed + self.failed
    }

    pub(crate) const fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// A binary that ran.
pub(super) struct Timed {
    pub(super) name: String,
    pub(super) count: Count,
    pub(super) took: Duration,
    /// Names of its tests that failed.
    pub(super) failed: Vec<String>,
}

/// Everything that ran.
#[derive(Default)]
pub(super) struct Report {
    lines: Vec<String>,
    failed: Vec<String>,
    sum: Count,
    took: Duration,
}

impl Report {
    /// A suite came to its end.
    pub(super) fn suite(&mut self, name: &str, began: Instant, count: Count) {
        self.line(name, began.elapsed(), count);
    }

    /// A suite of test binaries came to its end.
    pub(super) fn binaries(&mut self, name: &str, began: Instant, ran: Vec<Timed>) {
        let mut count = Count::default();
        ran.iter().for_each(|one| count.add(one.count));
        // Left in an area's binaries is what was then run with root.
        count.ignored = if name == "plain" { count.ignored } else { 0 };
        self.line(name, began.elapsed(), count);
        let mut slow: Vec<_> = ran.iter().filter(|one| one.took >= SLOW).collect();
        slow.sort_by_key(|one| std::cmp::Reverse(one.took));
        for one in slow {
            let tests = format!("{} ({} tests)", one.name, one.count.ran());
            self.lines.push(format!("{}   of it {tests}", minutes(one.took)));
        }
        for one in ran {
            self.failed.extend(one.failed.iter().map(|test| format!("{}: {test}", one.name)));
        }
    }

    fn line(&mut self, name: &str, took: Duration, count: Count) {
        let left = match count.ignored {
            0 => String::new(),
            left => format!(", {left} left for the root suite"),
        };
        let counted = match count.ran() {
            0 => String::new(),
            _ => format!(": {} passed, {} failed{left}", count.passed, count.failed),
        };
        self.lines.push(format!("{} {name}{counted}", minutes(took)));
        self.sum.add(count);
        self.took += took;
    }

    /// Prints everything; the last line is the sum.
    pub(super) fn finish(self) -> Result<()> {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        println!("{} in all", minutes(self.took));
        for test in &self.failed {
            println!("failed: {test}");
        }
        println!("{} passed, {} failed", self.sum.passed, self.sum.failed);
        if self.sum.failed > 0 {
            bail!("{} tests failed", self.sum.failed);
        }
        if self.sum.passed == 0 {
            bail!("no test ran");
        }
        Ok(())
    }
}

/// Binaries that take less are not worth a line.
const SLOW: Duration = Duration::from_secs(3);

fn minutes(took: Duration) -> String {
    format!("{:>5.1} min", took.as_secs_f64() / 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(passed: u64, failed: u64, ignored: u64) -> Count {
        Count { passed, failed, ignored }
    }

    #[test]
    fn a_result_line_is_counted() {
        let line = "FAILED. 12 passed; 3 failed; 4 ignored; 0 measured; 0 filtered out";
        assert_eq!(Count::read(line), count(12, 3, 4));
    }

    #[test]
    fn what_failed_is_named_and_fails_the_run() {
        let timed = |name: &str, count, seconds, failed: &[&str]| Timed {
            name: name.to_owned(),
            count,
            took: Duration::from_secs(seconds),
            failed: failed.iter().map(|test| (*test).to_owned()).collect(),
        };
        let mut report = Report::default();
        let ran = vec![
            timed("a unit tests", count(2, 0, 1), 1, &[]),
            timed("a netns", count(1, 1, 0), 90, &["hostile::x"]),
        ];
        report.binaries("plain", Instant::now(), ran);
        assert_eq!(report.sum, count(3, 1, 1));
        assert_eq!(report.failed, ["a netns: hostile::x"]);
        let lines = [
            "  0.0 min plain: 3 passed, 1 failed, 1 left for the root suite",
            "  1.5 min   of it a netns (2 tests)",
        ];
        assert_eq!(report.lines, lines);
        assert_eq!(report.finish().unwrap_err().to_string(), "1 tests failed");
        assert!(Report::default().finish().is_err(), "nothing ran");
    }
}
