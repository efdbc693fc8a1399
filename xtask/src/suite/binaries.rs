//! Test binaries: built by cargo in one go, run one by one, counted and timed.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::report::{Count, Timed};
use crate::shell::cargo;

/// Tests that need root share the machine's namespaces and kernel: so many at a time.
const ROOT_THREADS: &str = "--test-threads=2";

/// Which tests of a binary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Harness {
    /// Those that need no privileges.
    Plain,
    /// Those that need root.
    Root,
}

/// One binary.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Binary {
    pub(super) package: String,
    pub(super) target: String,
    /// The tests beside the code, as against `tests/`.
    pub(super) is_unit: bool,
    path: PathBuf,
    /// Where cargo would run it.
    dir: PathBuf,
}

/// All of the workspace.
pub(super) struct Binaries(Vec<Binary>);

impl Binaries {
    /// Builds them as one workspace, whatever will run: selecting packages here would build their
    /// dependencies once more, with other features.
    pub(super) fn build() -> Result<Self> {
        let mut command = cargo(&["test", "--release", "--workspace", "--no-run"])
            .args(["--message-format=json-render-diagnostics"])
            .into_command();
        let output = command.stderr(Stdio::inherit()).output().context("can not start cargo")?;
        if !output.status.success() {
            bail!("the tests did not build: {}", output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut binaries: Vec<_> = text.lines().filter_map(built).collect();
        // Cargo names them as their builds end: each run is to have the same order.
        binaries.sort_by(|one, other| {
            let key =
                |binary: &Binary| (binary.package.clone(), !binary.is_unit, binary.target.clone());
            key(one).cmp(&key(other))
        });
        Ok(Self(binaries))
    }

    pub(super) fn all(&self) -> &[Binary] {
        &self.0
    }

    pub(super) fn run_all(&self, harness: Harness) -> Result<Vec<Timed>> {
        self.0.iter().map(|binary| binary.run(harness, &[])).collect()
    }
}

/// The binary that a message of cargo tells of.
fn built(line: &str) -> Option<Binary> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    Some(Binary {
        package: package(message["package_id"].as_str()?)?.to_owned(),
        target: text(&message["target"]["name"])?,
        is_unit: message["target"]["kind"][0] != "test",
        path: message["executable"].as_str()?.into(),
        dir: manifest.parent().map(Path::to_path_buf)?,
    })
}

/// `path+file:///work/ebpf/image#towpath-image@0.1.0`: the name is left out where the folder's is
/// the same.
fn package(id: &str) -> Option<&str> {
    let (source, rest) = id.rsplit_once('#')?;
    match rest.split_once('@') {
        Some((name, _version)) => Some(name),
        None => source.rsplit('/').next(),
    }
}

impl Binary {
    /// As it is called in what is printed.
    pub(super) fn name(&self) -> String {
        let what = if self.is_unit { "unit tests" } else { &self.target };
        format!("{} {what}", self.package)
    }

    /// Runs it and reads what it counted; tests named by one of `named` only, if there are any.
    pub(super) fn run(&self, harness: Harness, named: &[&str]) -> Result<Timed> {
        let mut command = Command::new(&self.path);
        command
            .current_dir(&self.dir)
            .env("CARGO_MANIFEST_DIR", &self.dir)
            .args(named.iter().map(OsStr::new));
        if harness == Harness::Root {
            command.args(["--ignored", ROOT_THREADS]);
        }
        let began = Instant::now();
        println!("\n     Running {} ({})", self.name(), self.path.display());
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("can not start {}", self.path.display()))?;
        let output = child.stdout.take().context("a test binary has no output")?;
        let (mut count, mut failed) = (Count::default(), Vec::new());
        for line in BufReader::new(output).split(b'\n') {
            // A test may print what is no UTF-8.
            let line = line.context("output of a test binary")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some(result) = line.trim_start().strip_prefix("test result: ") {
                count.add(Count::read(result));
            }
            if let Some(test) =
                line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED"))
            {
                failed.push(test.to_owned());
            }
        }
        let status = child.wait().context("a test binary")?;
        if !status.success() && count.failed == 0 {
            count.failed += 1;
            failed.push(format!("the binary itself: {status}"));
        }
        Ok(Timed { name: self.name(), count, took: began.elapsed(), failed })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cargos_messages_are_read() {
        let message = |id: &str, kind: &str, test: bool| {
            json!({
                "reason": "compiler-artifact", "package_id": id, "profile": { "test": test },
                "manifest_path": "/w/ebpf/image/Cargo.toml", "executable": "/w/target/image-1",
                "target": { "name": "storm", "kind": [kind] },
            })
            .to_string()
        };
        let id = "path+file:///w/ebpf/image#towpath-image@0.1.0";
        let binary = built(&message(id, "test", true)).unwrap();
        assert_eq!((binary.name().as_str(), binary.is_unit), ("towpath-image storm", false));
        assert_eq!(binary.dir, Path::new("/w/ebpf/image"));
        let unit = built(&message("path+file:///w/xtask#0.1.0", "bin", true)).unwrap();
        assert_eq!(unit.name(), "xtask unit tests");
        assert_eq!(built(&message(id, "bin", false)), None, "a program is no test");
        assert_eq!(built("warning: not JSON"), None);
    }
}
