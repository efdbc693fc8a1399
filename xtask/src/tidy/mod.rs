//! `cargo xtask tidy`: rules that prose can not keep. Each rule reads text and answers findings, and
//! its tests plant a violation that it must find.

mod clocks;
mod imports;
mod layout;
mod lengths;
mod modules;
mod packages;
mod skips;
mod source;
mod unsafe_code;
mod words;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use self::source::Source;
use crate::{mutants, shell::root};

/// A rule: all Rust files in, findings out.
type Rule = fn(&[Source]) -> Vec<String>;

const RULES: [Rule; 7] = [
    clocks::check,
    layout::check,
    lengths::check,
    modules::check,
    skips::check,
    unsafe_code::check,
    words::check,
];

/// Checks everything; all findings are printed before it fails.
pub(crate) fn run() -> Result<()> {
    let sources = rust_files()?
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let name = file.strip_prefix(root()).unwrap_or(file).display().to_string();
            Ok(Source::new(&name, &text))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut findings = packages::check()?;
    findings.extend(mutants::check()?);
    let glossary = root().join("ARCHITECTURE.md");
    let glossary = fs::read_to_string(&glossary).with_context(|| glossary.display().to_string())?;
    findings.extend(words::names(&sources, &words::replaced(&glossary)));
    findings.extend(RULES.iter().flat_map(|rule| rule(&sources)));
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings of tidy", findings.len());
    }
    Ok(())
}

/// Every Rust file of the repository, also of what is no member of the workspace.
fn rust_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Rows of a table that allow what was not found: an exception ends with its reason.
fn unused<'a>(table: &str, rows: impl IntoIterator<Item = &'a str>, found: &[&str]) -> Vec<String> {
    let rows = rows.into_iter().filter(|row| !found.contains(row));
    rows.map(|row| format!("{row}: nothing there needs its row in tidy's {table}: remove it"))
        .collect()
}

/// Is a file at or below a path of a table (`src/a.rs`, or `src/a/` for a folder)?
fn is_below(name: &str, path: &str) -> bool {
    name == path || (path.ends_with('/') && Path::new(name).starts_with(path))
}
