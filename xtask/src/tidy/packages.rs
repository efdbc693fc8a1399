//! Which package may depend on which.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell::cargo;

/// Who may depend on whom: package, workspace packages, other packages. `None`: anything.
type Edge = (&'static str, &'static [&'static str], Option<&'static [&'static str]>);

const DAEMON: &[&str] = &[
    "towpath-model",
    "towpath-proxy",
    "towpath-zone",
    "towpath-dns",
    "towpath-route",
    "towpath-ingress",
    "towpath-netpol",
    "towpath-image",
    "towpath-ebpf",
    "towpath-testbed",
];

const EDGES: &[Edge] = &[
    ("towpath", DAEMON, None),
    ("towpath-bench", &["towpath-ebpf", "towpath-testbed"], None),
    ("towpath-datapath", &[], Some(&[])),
    ("towpath-image", &["towpath-datapath"], Some(&["thiserror"])),
    ("towpath-model", &[], Some(&["base64", "serde", "serde_json", "strsim", "thiserror"])),
    ("towpath-proxy", &["towpath-model", "towpath-image"], Some(&["thiserror", "sha2"])),
    ("towpath-dns", &["towpath-zone"], None),
    (
        "towpath-zone",
        &["towpath-model"],
        Some(&["rpds", "serde", "serde_json", "sha2", "thiserror"]),
    ),
    ("towpath-ingress", &["towpath-model", "towpath-route"], None),
    (
        "towpath-route",
        &["towpath-model"],
        Some(&["foldhash", "hashbrown", "regex", "sha2", "thiserror"]),
    ),
    ("towpath-netpol", &["towpath-model", "towpath-image"], Some(&[])),
    ("towpath-netpol-oracle", &[], Some(&["serde_json"])),
    ("towpath-ebpf", &["towpath-datapath", "towpath-image"], None),
    ("towpath-testbed", &["towpath-model"], None),
    ("xtask", &[], None),
];

/// Asks cargo for the workspace's packages and judges their dependencies.
pub(super) fn check() -> Result<Vec<String>> {
    let metadata = cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"]).json()?;
    findings(metadata["packages"].as_array().context("packages")?)
}

/// Findings in the members of the workspace. What tests depend on is their own business; what a
/// build script depends on is not: it decides what is built.
fn findings(packages: &[Value]) -> Result<Vec<String>> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_knows_whom_is_checked_for_every_member() {
        let mut packages: Vec<Value> =
            EDGES.iter().map(|(name, ..)| json!({ "name": name, "dependencies": [] })).collect();
        assert_eq!(findings(&packages).unwrap(), [""; 0]);
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
        let found = findings(&packages).unwrap();
        let words = ["xtask is named", "on towpath-proxy", "on cc", "stranger is not in"];
        assert_eq!(found.len(), words.len(), "{found:#?}");
        for (finding, word) in found.iter().zip(words) {
            assert!(finding.contains(word), "{finding}");
        }
    }
}
