//! `cargo xtask test`: every suite, and the sum of what they counted.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context, Result, bail};

use crate::{shell::cargo, tidy};

/// What can be run alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Suite {
    /// rustfmt, clippy, rustdoc: no warning
    Lint,
    /// Dependency edges, lengths, no silent skips
    Tidy,
    /// Tests that need no privileges
    Plain,
    /// Tests with a real kernel, namespaces and packets: needs root
    Root,
}

const ALL: [Suite; 4] = [Suite::Lint, Suite::Tidy, Suite::Plain, Suite::Root];

/// What a suite counted.
#[derive(Clone, Copy, Default)]
struct Count {
    passed: u64,
    failed: u64,
    /// Left for the root suite.
    ignored: u64,
}

/// Runs the suites and prints the sum as the last line.
pub(crate) fn run(only: &[Suite]) -> Result<()> {
    let suites = if only.is_empty() { &ALL[..] } else { only };
    if suites.contains(&Suite::Root) && !is_root()? {
        bail!(
            "the root suite makes network namespaces and loads kernel programs: run it as root \
             (`sudo -E cargo xtask test`), or run `cargo xtask test lint tidy plain`"
        );
    }
    let mut lines = Vec::new();
    let mut sum = Count::default();
    for suite in suites {
        let count = match suite {
            Suite::Lint => lint()?,
            Suite::Tidy => tidy::run().map(|()| Count { passed: 1, ..Count::default() })?,
            Suite::Plain => tests(&[])?,
            Suite::Root => tests(&["--ignored", "--test-threads=2"])?,
        };
        sum.passed += count.passed;
        sum.failed += count.failed;
        let left = if *suite == Suite::Plain && count.ignored > 0 {
            format!(", {} left for the root suite", count.ignored)
        } else {
            String::new()
        };
        let name = format!("{suite:?}").to_lowercase();
        lines.push(format!("{name:>6}: {} passed, {} failed{left}", count.passed, count.failed));
    }
    println!();
    for line in lines {
        println!("{line}");
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    if sum.failed > 0 {
        bail!("{} tests failed", sum.failed);
    }
    Ok(())
}

fn is_root() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    Ok(uid.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0"))
}

fn lint() -> Result<Count> {
    cargo(&["fmt", "--all", "--check"]).run()?;
    cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"])
        .run()?;
    cargo(&["doc", "--release", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links")
        .run()?;
    Ok(Count { passed: 3, ..Count::default() })
}

/// `cargo test` over the workspace; reads what each binary counted.
fn tests(harness: &[&str]) -> Result<Count> {
    let mut command = cargo(&["test", "--release", "--workspace", "--no-fail-fast", "--"])
        .args(harness)
        .into_command();
    let mut child = command.stdout(Stdio::piped()).spawn().context("can not start cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut count = Count::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("output of cargo test")?;
        println!("{line}");
        if let Some(result) = line.trim_start().strip_prefix("test result: ") {
            count.passed += number(result, "passed");
            count.failed += number(result, "failed");
            count.ignored += number(result, "ignored");
        }
    }
    let status = child.wait().context("cargo test")?;
    if !status.success() && count.failed == 0 {
        bail!("cargo test ended with {status}: it did not build, or a test binary died");
    }
    Ok(count)
}

/// The number before a word, as in `3 passed; 0 failed; 1 ignored`.
fn number(result: &str, word: &str) -> u64 {
    let mut last = 0;
    for part in result.split([' ', ';', '.']).filter(|part| !part.is_empty()) {
        if part == word {
            return last;
        }
        last = part.parse().unwrap_or(0);
    }
    0
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_result_line_is_counted() {
        let line = "FAILED. 12 passed; 3 failed; 4 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            [number(line, "passed"), number(line, "failed"), number(line, "ignored")],
            [12, 3, 4]
        );
    }
}
