//! Whose work is in the program: the packages that are linked into it, with their licences.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::shell::cargo;

/// One package.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Package {
    name: String,
    version: String,
    /// As SPDX writes it; empty: it does not say.
    licence: String,
    dir: PathBuf,
    /// Of a registry: others can get it there.
    published: bool,
}

/// Packages that are linked into a program, sorted.
#[derive(Debug)]
pub(super) struct Packages(BTreeSet<Package>);

impl Packages {
    /// Asks cargo what `program` is made of.
    pub(super) fn of(program: &str, target: &str) -> Result<Self> {
        let args = [
            "metadata",
            "--format-version=1",
            "--locked",
            "--offline",
            "--filter-platform",
            target,
        ];
        Self::read(&cargo(&args).json()?, program)
    }

    fn read(metadata: &Value, program: &str) -> Result<Self> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let packages: BTreeMap<String, Value> =
            list(&metadata["packages"]).into_iter().map(|p| (text(&p["id"]), p)).collect();
        let nodes: BTreeMap<String, Value> =
            list(&metadata["resolve"]["nodes"]).into_iter().map(|n| (text(&n["id"]), n)).collect();
        let root = packages
            .iter()
            .find(|(_, p)| p["name"] == program && p["source"].is_null())
            .with_context(|| format!("the workspace has no package {program}"))?;
        let (mut seen, mut todo) = (BTreeSet::new(), vec![root.0.clone()]);
        while let Some(id) = todo.pop() {
            if !seen.insert(id.clone()) {
                continue;
            }
            for dependency in list(&nodes.get(&id).unwrap_or(&Value::Null)["deps"]) {
                let kinds = list(&dependency["dep_kinds"]);
                if kinds.iter().any(|kind| kind["kind"].is_null()) {
                    todo.push(text(&dependency["pkg"]));
                }
            }
        }
        let package = |id: &String| {
            let p = packages.get(id).with_context(|| format!("no package {id}"))?;
            let manifest = text(&p["manifest_path"]);
            Ok(Package {
                name: text(&p["name"]),
                version: text(&p["version"]),
                licence: text(&p["license"]),
                dir: Path::new(&manifest).parent().unwrap_or(Path::new("/")).to_owned(),
                published: !p["source"].is_null(),
            })
        };
        Ok(Self(seen.iter().map(package).collect::<Result<_>>()?))
    }

    /// The texts of all licences, each once, with those it is of.
    pub(super) fn licences(&self) -> Result<String> {
        let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut text = String::from("Towpath contains these packages:\n\n");
        for package in self.0.iter().filter(|package| package.published) {
            let name = format!("{} {}", package.name, package.version);
            text.push_str(&format!("{name} ({})\n", package.licence));
            for licence in texts(&package.dir)? {
                of.entry(licence).or_default().push(name.clone());
            }
        }
        for (licence, mut names) in of {
            names.dedup();
            let rule = "-".repeat(80);
            text.push_str(&format!("\n{rule}\n{}\n{rule}\n\n{licence}\n", names.join(", ")));
        }
        Ok(text)
    }

    /// CycloneDX 1.6.
    pub(super) fn sbom(&self, version: &str) -> Result<String> {
        let component = |package: &Package| {
            let Package { name, version, licence, .. } = package;
            json!({
                "type": "library",
                "bom-ref": format!("pkg:cargo/{name}@{version}"),
                "name": name,
                "version": version,
                "purl": format!("pkg:cargo/{name}@{version}"),
                "licenses": [{ "expression": licence.replace('/', " OR ") }],
            })
        };
        let bom = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": { "component": {
                "type": "application", "bom-ref": "towpath", "name": "towpath", "version": version,
                "licenses": [{ "expression": "Apache-2.0" }],
            } },
            "components": self.0.iter().filter(|p| p.published).map(component).collect::<Vec<_>>(),
        });
        Ok(format!("{bom:#}\n"))
    }
}

/// The licence files of a package's directory, trimmed.
fn texts(dir: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let named = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
        if path.is_file() && named.iter().any(|prefix| name.starts_with(prefix)) {
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            found.insert(String::from_utf8_lossy(&text).replace("\r\n", "\n").trim().to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(dir: &Path) -> Value {
        let package = |name: &str, source: Value| {
            fs::create_dir_all(dir.join(name)).unwrap();
            json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0",
                    "source": source, "manifest_path": dir.join(name).join("Cargo.toml") })
        };
        let dep = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        json!({
            "packages": [
                package("towpath", Value::Null), package("own", Value::Null),
                package("a", json!("registry")), package("b", json!("registry")),
                package("builder", json!("registry")), package("tester", json!("registry")),
            ],
            "resolve": { "nodes": [
                { "id": "towpath", "deps": [dep("own", Value::Null), dep("tester", json!("dev"))] },
                { "id": "own", "deps": [dep("a", Value::Null), dep("builder", json!("build"))] },
                { "id": "a", "deps": [dep("b", Value::Null)] },
                { "id": "b", "deps": [] },
            ] },
        })
    }

    #[test]
    fn what_is_linked_is_listed_and_what_builds_or_tests_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let packages = Packages::read(&metadata(dir.path()), "towpath").unwrap();
        let bom: Value = serde_json::from_str(&packages.sbom("1.2.3").unwrap()).unwrap();
        let names: Vec<_> =
            bom["components"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(bom["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(bom["metadata"]["component"]["version"], "1.2.3");
    }

    #[test]
    fn a_licence_that_two_share_is_printed_once() {
        let dir = tempfile::tempdir().unwrap();
        let packages = Packages::read(&metadata(dir.path()), "towpath").unwrap();
        fs::write(dir.path().join("a/LICENSE-MIT"), "The same text\r\n").unwrap();
        fs::write(dir.path().join("b/LICENCE"), "The same text\n\n").unwrap();
        fs::write(dir.path().join("b/NOTICE"), "Another text").unwrap();
        let text = packages.licences().unwrap();
        assert_eq!(text.matches("The same text").count(), 1, "{text}");
        assert!(text.contains("\na 1.0.0, b 1.0.0\n") && text.contains("Another text"), "{text}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let said = Packages::read(&metadata(dir.path()), "barge").unwrap_err().to_string();
        assert_eq!(said, "the workspace has no package barge");
    }
}
