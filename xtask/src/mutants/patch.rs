//! Patches of tests/mutants: what each breaks, and which command must find it.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::shell::root;

/// One patch.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Patch {
    /// Its file's name, without ending.
    pub(super) name: String,
    /// What is wrong with it in force: the first line of the header.
    pub(super) what: String,
    /// The arguments of cargo that must turn red.
    pub(super) red: Vec<String>,
    pub(super) path: PathBuf,
}

/// What begins the line of the header with the command.
const RED: &str = "Red: cargo ";

impl Patch {
    fn read(name: &str, path: PathBuf, text: &str) -> Result<Self> {
        let (header, diff) = text.split_once("\ndiff --git ").context("it changes nothing")?;
        let what = header.lines().next().unwrap_or_default().trim();
        ensure!(!what.is_empty(), "its first line does not say what is wrong with it");
        let command = header.lines().find_map(|line| line.strip_prefix(RED));
        let command = command.context("no line of its header begins with `Red: cargo test`")?;
        let red: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        ensure!(red.first().is_some_and(|task| task == "test"), "`Red:` names no `cargo test`");
        let one = red.iter().any(|arg| ["-p", "--package"].contains(&arg.as_str()));
        ensure!(one, "`Red:` names no package: a mutant is found by one suite, not by all");
        let tests = diff.lines().filter(|line| line.starts_with("+++ b/"));
        let tests = tests.filter(|line| line.contains("/tests/") || line.contains("/tests.rs"));
        ensure!(tests.count() == 0, "it changes a test");
        Ok(Self { name: name.to_owned(), what: what.to_owned(), red, path })
    }

    pub(super) fn needs_root(&self) -> bool {
        self.red.iter().any(|arg| arg == "--ignored" || arg == "--include-ignored")
    }
}

/// Every patch, by name.
pub(super) fn all() -> Result<Vec<Patch>> {
    read_all()?
        .into_iter()
        .map(|(name, path, text)| {
            Patch::read(&name, path, &text).with_context(|| format!("tests/mutants/{name}.patch"))
        })
        .collect()
}

/// Name, path and text of every patch.
fn read_all() -> Result<Vec<(String, PathBuf, String)>> {
    let folder = root().join("tests/mutants");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "patch") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            found.push((name, path, text));
        }
    }
    found.sort();
    Ok(found)
}

/// For tidy: every patch has its header and applies to the code as it is.
pub(crate) fn check() -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for (name, path, text) in read_all()? {
        let wrong = match Patch::read(&name, path.clone(), &text) {
            Ok(_) => applies(&path)?.err(),
            Err(error) => Some(format!("{error:#}")),
        };
        findings.extend(wrong.map(|why| format!("tests/mutants/{name}.patch: {why}")));
    }
    Ok(findings)
}

/// `git apply` with one line of context: code around a mutant may change.
pub(super) const APPLY: [&str; 2] = ["apply", "-C1"];

fn applies(path: &PathBuf) -> Result<Result<(), String>> {
    let output = Command::new("git")
        .current_dir(root())
        .args(APPLY)
        .arg("--check")
        .arg(path)
        .output()
        .context("can not start git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().next().unwrap_or("git apply fails").to_owned();
    Ok(if output.status.success() { Ok(()) } else { Err(format!("it does not apply: {why}")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "It does harm.\n\nRed: cargo test --release -p a --lib x\n\n\
                        diff --git a/a.rs b/a.rs\n--- a/a.rs\n+++ b/a.rs\n@@ -1 +1 @@\n-a\n+b\n";

    fn read(text: &str) -> Result<Patch> {
        Patch::read("a", PathBuf::new(), text)
    }

    #[test]
    fn a_header_says_what_is_wrong_and_what_finds_it() {
        let patch = read(GOOD).unwrap();
        assert_eq!(patch.what, "It does harm.");
        assert_eq!(patch.red, ["test", "--release", "-p", "a", "--lib", "x"]);
        assert!(!patch.needs_root());
        let root = read(&GOOD.replace("--lib x", "--lib x -- --ignored")).unwrap();
        assert!(root.needs_root());
    }

    #[test]
    fn a_patch_that_says_nothing_is_found() {
        for (planted, why) in [
            (GOOD.replace("Red:", "Green:"), "no line of its header"),
            (GOOD.replace("cargo test", "cargo build"), "names no `cargo test`"),
            (GOOD.replace("-p a", "--workspace"), "names no package"),
            (GOOD.replace("It does harm.", ""), "does not say what"),
            (GOOD.replace("+++ b/a.rs", "+++ b/tests/a/tests/b.rs"), "changes a test"),
            ("It does harm.\n\nRed: cargo test -p a\n".to_owned(), "changes nothing"),
        ] {
            let said = read(&planted).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_patch_that_does_not_apply_is_found() {
        let path =
            std::env::temp_dir().join(format!("towpath-mutant-{}.patch", std::process::id()));
        fs::write(&path, GOOD).unwrap();
        let result = applies(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let why = result.unwrap_err();
        assert!(why.contains("a.rs"), "{why}");
    }
}
