//! The scratch worktree that mutants are applied to: the developer's own files are never touched.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{Context, Result, bail};

use super::{
    Outcome,
    patch::{APPLY, Patch},
};
use crate::{shell::root, suite::Count};

/// How long a command may take, after its build. A mutant may well never end.
const SECONDS_MAX: &str = "900";
/// What `timeout` answers when it had to end something.
const TIMED_OUT: i32 = 124;

pub(super) struct Tree {
    dir: PathBuf,
    /// Where its programs go. What is between, dependencies above all, is shared with the other
    /// builds of this repository.
    out: PathBuf,
    shared: PathBuf,
}

impl Tree {
    /// The code as it is, with what git knows of changes, in a worktree below `target`. It stays
    /// there, so that the next run builds what changed since.
    pub(super) fn prepare() -> Result<Self> {
        let shared = root().join("target");
        let dir = shared.join("mutants/tree");
        let tree = Self { out: shared.join("mutants/out"), shared, dir };
        let commit = commit()?;
        tree.forget_members()?;
        if tree.dir.join(".git").exists() {
            tree.git(&["checkout", "--quiet", "--force", "--detach", &commit])?;
            tree.restore()?;
            return Ok(tree);
        }
        fs::create_dir_all(&tree.shared)?;
        git_in(&root(), &["worktree", "prune"])?;
        let dir = tree.dir.display().to_string();
        git_in(&root(), &["worktree", "add", "--quiet", "--force", "--detach", &dir, &commit])?;
        Ok(tree)
    }

    /// Cargo tells a member of this tree from one of the developer's by nothing: either would be taken
    /// for the other where only the dates of files are compared, a mutant for the real thing above all.
    fn forget_members(&self) -> Result<()> {
        let prints = self.shared.join("release/.fingerprint");
        // Without a build there is nothing to forget.
        for entry in fs::read_dir(&prints).into_iter().flatten() {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("towpath") || name.starts_with("xtask") {
                fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    /// `Err`: it does not apply, and why.
    pub(super) fn apply(&self, patch: &Patch) -> Result<Result<(), String>> {
        let output = Command::new("git")
            .current_dir(&self.dir)
            .args(APPLY)
            .arg(&patch.path)
            .output()
            .context("can not start git")?;
        Ok(if output.status.success() { Ok(()) } else { Err(said(&output)) })
    }

    /// The tree without mutants.
    pub(super) fn restore(&self) -> Result<()> {
        self.git(&["checkout", "--quiet", "--force", "."])?;
        self.git(&["clean", "--quiet", "--force", "-d"])
    }

    /// Builds and runs a command in the tree.
    pub(super) fn run(&self, red: &[String]) -> Result<Outcome> {
        // Before `--`: what follows is for the tests.
        let own = red.iter().take_while(|arg| *arg != "--");
        let build =
            self.cargo().args(own).arg("--no-run").output().context("can not start cargo")?;
        if !build.status.success() {
            return Ok(Outcome::Broken(format!("it does not build: {}", last_error(&build))));
        }
        let ran = self.cargo().args(red).output().context("can not start cargo")?;
        Ok(outcome(&ran))
    }

    fn cargo(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", SECONDS_MAX])
            .arg(cargo)
            .current_dir(&self.dir)
            .env("CARGO_BUILD_BUILD_DIR", &self.shared)
            .env("CARGO_TARGET_DIR", &self.out)
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_TERM_COLOR", "never")
            .env("RUST_BACKTRACE", "0");
        command
    }

    fn git(&self, args: &[&str]) -> Result<()> {
        git_in(&self.dir, args).map(drop)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Err(error) = self.forget_members() {
            eprintln!("what was built for mutants is still there: {error:#}");
        }
    }
}

/// HEAD, or a commit of what git knows of changes since.
fn commit() -> Result<String> {
    let left = git_in(&root(), &["ls-files", "--others", "--exclude-standard", "*.rs"])?;
    for file in left.lines() {
        eprintln!("not in the tree of mutants: {file} (git add)");
    }
    let changed = git_in(&root(), &["stash", "create"])?;
    match changed.trim() {
        "" => Ok(git_in(&root(), &["rev-parse", "HEAD"])?.trim().to_owned()),
        commit => Ok(commit.to_owned()),
    }
}

fn git_in(dir: &PathBuf, args: &[&str]) -> Result<String> {
    let output =
        Command::new("git").current_dir(dir).args(args).output().context("can not start git")?;
    if !output.status.success() {
        bail!("git {}: {}", args.join(" "), said(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().next().unwrap_or("it says nothing").to_owned()
}

fn last_error(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let errors = text.lines().filter(|line| line.starts_with("error"));
    errors.map(str::to_owned).next().unwrap_or_else(|| output.status.to_string())
}

/// What a run of tests came to.
fn outcome(ran: &Output) -> Outcome {
    let text = String::from_utf8_lossy(&ran.stdout);
    let mut count = Count::default();
    let results = text.lines().filter_map(|line| line.trim_start().strip_prefix("test result: "));
    results.for_each(|result| count.add(Count::read(result)));
    let failed = text.lines().find_map(|line| {
        line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"))
    });
    match (ran.status.success(), failed) {
        (true, _) if count.passed > 0 => Outcome::Green(count.passed),
        (true, _) => Outcome::Broken("no test has the name that `Red:` gives".to_owned()),
        (false, Some(test)) => Outcome::Red(test.to_owned()),
        (false, None) if ran.status.code() == Some(TIMED_OUT) => {
            Outcome::Red(format!("the tests do not end within {SECONDS_MAX} s"))
        }
        (false, None) => Outcome::Red(format!("the tests die: {}", last_error(ran))),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

    use super::*;

    fn ran(code: i32, stdout: &str) -> Outcome {
        let status = ExitStatus::from_raw(code << 8);
        outcome(&Output { status, stdout: stdout.into(), stderr: Vec::new() })
    }

    #[test]
    fn a_run_that_ran_nothing_is_not_green() {
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored\n";
        assert!(matches!(ran(0, none), Outcome::Broken(_)));
        let some = "test result: ok. 2 passed; 0 failed\n\ntest result: ok. 1 passed; 0 failed\n";
        assert_eq!(ran(0, some), Outcome::Green(3));
        let failed =
            "test a::b ... ok\ntest a::c ... FAILED\ntest result: FAILED. 1 passed; 1 failed\n";
        assert_eq!(ran(101, failed), Outcome::Red("a::c".to_owned()));
        assert!(matches!(ran(124, ""), Outcome::Red(_)), "a mutant that never ends is found");
    }
}
