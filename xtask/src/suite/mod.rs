//! `cargo xtask test`: suites, or one area's tests; what they counted, and what they took.

mod areas;
mod binaries;
mod report;

use std::time::Instant;

use anyhow::{Context, Result, bail};

pub(crate) use self::report::Count;
use self::{
    areas::Area,
    binaries::{Binaries, Harness},
    report::Report,
};
use crate::{shell::cargo, tidy};

/// What can be run alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Suite {
    /// rustfmt, clippy, rustdoc: no warning.
    Lint,
    /// Dependency edges, lengths, no silent skips.
    Tidy,
    /// Tests that need no privileges.
    Plain,
    /// Tests with a real kernel, namespaces and packets: needs root.
    Root,
}

impl Suite {
    const ALL: [Self; 4] = [Self::Lint, Self::Tidy, Self::Plain, Self::Root];

    const fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Tidy => "tidy",
            Self::Plain => "plain",
            Self::Root => "root",
        }
    }
}

/// A word of the command line.
enum Wanted {
    Suite(Suite),
    Area(&'static Area),
}

/// The words that `run` takes.
pub(crate) fn names() -> Vec<&'static str> {
    let suites = Suite::ALL.iter().map(|suite| suite.name());
    suites.chain(areas::AREAS.iter().map(|area| area.name)).collect()
}

fn wanted(name: &str) -> Result<Wanted> {
    if let Some(suite) = Suite::ALL.into_iter().find(|suite| suite.name() == name) {
        return Ok(Wanted::Suite(suite));
    }
    let area = areas::AREAS.iter().find(|area| area.name == name);
    area.map(Wanted::Area)
        .with_context(|| format!("no suite and no area is named {name}: {}", names().join(", ")))
}

/// Runs what is named (nothing: every suite, in order) and prints the sum as the last line.
pub(crate) fn run(names: &[String]) -> Result<()> {
    let mut chosen = names.iter().map(|name| wanted(name)).collect::<Result<Vec<_>>>()?;
    if chosen.is_empty() {
        chosen = Suite::ALL.into_iter().map(Wanted::Suite).collect();
    }
    let root = |one: &Wanted| matches!(one, Wanted::Suite(Suite::Root) | Wanted::Area(_));
    if chosen.iter().any(root) && !is_root()? {
        bail!(
            "tests of areas and the root suite make network namespaces and load kernel programs: \
             run them as root (`sudo -E cargo xtask test`), or run `cargo xtask test lint tidy plain`"
        );
    }
    let mut report = Report::default();
    let mut built = None;
    for one in chosen {
        let began = Instant::now();
        match one {
            Wanted::Suite(Suite::Lint) => report.suite("lint", began, lint()?),
            Wanted::Suite(Suite::Tidy) => {
                tidy::run()?;
                report.suite("tidy", began, Count { passed: 1, ..Count::default() });
            }
            Wanted::Suite(suite) => {
                let binaries = built_once(&mut built, &mut report)?;
                let harness = if suite == Suite::Root { Harness::Root } else { Harness::Plain };
                let began = Instant::now();
                let counts = binaries.run_all(harness)?;
                report.binaries(suite.name(), began, counts);
            }
            Wanted::Area(area) => {
                let binaries = built_once(&mut built, &mut report)?;
                let began = Instant::now();
                let counts = area.run(binaries)?;
                report.binaries(area.name, began, counts);
            }
        }
    }
    report.finish()
}

/// Everything is built once, whatever is run of it.
fn built_once<'a>(built: &'a mut Option<Binaries>, report: &mut Report) -> Result<&'a Binaries> {
    if built.is_none() {
        let began = Instant::now();
        *built = Some(Binaries::build()?);
        report.suite("build", began, Count::default());
    }
    built.as_ref().context("nothing was built")
}

pub(crate) fn is_root() -> Result<bool> {
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
