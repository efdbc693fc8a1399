//! `cargo xtask tidy`: rules that prose can not keep.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{cargo, root};

/// Who may depend on whom: package, workspace packages, other packages. `None`: anything.
type Edge = (&'static str, &'static [&'static str], Option<&'static [&'static str]>);

const EDGES: &[Edge] = &[
    ("towpath-datapath", &[], Some(&[])),
    ("towpath-image", &["towpath-datapath"], Some(&["thiserror"])),
    ("towpath-model", &[], Some(&["serde", "serde_json", "thiserror"])),
    ("towpath-proxy", &["towpath-model", "towpath-image"], Some(&["thiserror", "sha2"])),
    ("towpath-ebpf", &["towpath-datapath", "towpath-image"], None),
    ("towpath-testbed", &[], None),
    ("xtask", &[], None),
];

/// Longest allowed source file, in lines (tests excluded).
const FILE_LINES: usize = 600;
/// Longest allowed `lib.rs` and `main.rs`.
const LIB_LINES: usize = 120;
const MAIN_LINES: usize = 60;

/// Checks everything; all findings are printed before it fails.
pub(crate) fn run() -> Result<()> {
    let mut findings = edges()?;
    for file in rust_files()? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        findings.extend(lengths(&name, &text));
        findings.extend(skips(&name, &text));
        findings.extend(unsafe_code(&name, &text));
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings of tidy", findings.len());
    }
    Ok(())
}

fn edges() -> Result<Vec<String>> {
    let output = cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"])
        .into_command()
        .output()
        .context("cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut findings = Vec::new();
    for (package, inside, outside) in EDGES {
        let found = packages.iter().find(|p| p["name"] == **package);
        let Some(found) = found else {
            findings.push(format!("package {package} is named in tidy but does not exist"));
            continue;
        };
        let normal = found["dependencies"].as_array().into_iter().flatten();
        for dependency in normal.filter(|d| d["kind"].is_null()).filter_map(|d| d["name"].as_str())
        {
            let allowed = if ours.contains(dependency) {
                inside.contains(&dependency)
            } else {
                outside.is_none_or(|names| names.contains(&dependency))
            };
            if !allowed {
                findings.push(format!(
                    "{package} must not depend on {dependency} (DESIGN: pure crates and edges)"
                ));
            }
        }
    }
    Ok(findings)
}

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

fn is_test_file(name: &str) -> bool {
    name.starts_with("tests/") || name.contains("/tests/") || name.ends_with("/tests.rs")
}

fn lengths(name: &str, text: &str) -> Option<String> {
    if is_test_file(name) {
        return None;
    }
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let limit = match Path::new(name).file_name()?.to_str()? {
        "lib.rs" => LIB_LINES,
        "main.rs" if name == "src/main.rs" => MAIN_LINES,
        _ => FILE_LINES,
    };
    (lines > limit).then(|| format!("{name}: {lines} lines, limit {limit}: are there two ideas?"))
}

/// A test is run, or says that it needs root; nothing passes by not running.
fn skips(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("#[ignore") && !code.starts_with("#[ignore = \"needs root\"]") {
            findings.push(format!(
                "{name}:{}: the only accepted reason to ignore a test is \"needs root\"",
                number + 1
            ));
        }
    }
    findings
}

/// `unsafe` lives in `ebpf/` only.
fn unsafe_code(name: &str, text: &str) -> Option<String> {
    if name.starts_with("ebpf/") || name.starts_with("xtask/") {
        return None;
    }
    let opens = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
    let line = text.lines().position(|line| {
        let code = line.split("//").next().unwrap_or_default();
        opens.iter().any(|open| code.contains(open))
    })?;
    Some(format!("{name}:{}: unsafe outside ebpf/", line + 1))
}
