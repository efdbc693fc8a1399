//! `cargo xtask tidy`: rules that prose can not keep.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{cargo, root};

/// Who may depend on whom: package, workspace packages, other packages. `None`: anything.
type Edge = (&'static str, &'static [&'static str], Option<&'static [&'static str]>);

const DAEMON: &[&str] =
    &["towpath-model", "towpath-proxy", "towpath-image", "towpath-ebpf", "towpath-testbed"];

const EDGES: &[Edge] = &[
    ("towpath", DAEMON, None),
    ("towpath-bench", &["towpath-ebpf", "towpath-testbed"], None),
    ("towpath-datapath", &[], Some(&[])),
    ("towpath-image", &["towpath-datapath"], Some(&["thiserror"])),
    ("towpath-model", &[], Some(&["serde", "serde_json", "thiserror"])),
    ("towpath-proxy", &["towpath-model", "towpath-image"], Some(&["thiserror", "sha2"])),
    ("towpath-ebpf", &["towpath-datapath", "towpath-image"], None),
    ("towpath-testbed", &["towpath-model"], None),
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
        .stderr(Stdio::inherit())
        .output()
        .context("can not start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata ended with {}", output.status);
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    edges_of(metadata["packages"].as_array().context("packages")?)
}

/// Findings in the members of the workspace. What tests depend on is their own business; what a
/// build script depends on is not: it decides what is built.
fn edges_of(packages: &[Value]) -> Result<Vec<String>> {
    let name = |package: &Value| {
        package["name"].as_str().context("a package has no name").map(str::to_owned)
    };
    let ours = packages.iter().map(name).collect::<Result<BTreeSet<_>>>()?;
    let mut findings = Vec::new();
    for (package, ..) in EDGES.iter().filter(|(package, ..)| !ours.contains(*package)) {
        findings.push(format!("package {package} is named in tidy but does not exist"));
    }
    for found in packages {
        let package = name(found)?;
        let Some((_, inside, outside)) = EDGES.iter().find(|(named, ..)| *named == package) else {
            findings.push(format!("package {package} is not in tidy's list of who may know whom"));
            continue;
        };
        let dependencies = found["dependencies"].as_array().into_iter().flatten();
        for dependency in dependencies.filter(|d| d["kind"] != "dev") {
            let dependency = name(dependency)?;
            let allowed = if ours.contains(&dependency) {
                inside.contains(&dependency.as_str())
            } else {
                outside.is_none_or(|names| names.contains(&dependency.as_str()))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_knows_whom_is_checked_for_every_member() {
        let mut packages: Vec<Value> =
            EDGES.iter().map(|(name, ..)| json!({ "name": name, "dependencies": [] })).collect();
        assert_eq!(edges_of(&packages).unwrap(), [""; 0]);
        let dependency = |name: &str, kind: Option<&str>| json!({ "name": name, "kind": kind });
        let model = packages.iter_mut().find(|p| p["name"] == "towpath-model").unwrap();
        model["dependencies"] = json!([
            dependency("serde", None),
            dependency("proptest", Some("dev")),
            dependency("towpath-proxy", None),
            dependency("cc", Some("build")),
        ]);
        packages.push(json!({ "name": "stranger", "dependencies": [] }));
        packages.retain(|package| package["name"] != "xtask");
        let found = edges_of(&packages).unwrap();
        let words = ["xtask is named", "on towpath-proxy", "on cc", "stranger is not in"];
        assert_eq!(found.len(), words.len(), "{found:#?}");
        for (finding, word) in found.iter().zip(words) {
            assert!(finding.contains(word), "{finding}");
        }
    }
}
