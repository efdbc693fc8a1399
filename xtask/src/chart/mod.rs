//! `cargo xtask chart`: renders of the Helm chart, checked in.
//!
//! A test must not need helm, and a reviewer should see what a change of a template does: so the
//! renders lie in `charts/renders/`, one for each `NAME.values.yaml` there, with the hash of the
//! chart's files and of their values in the first line. Plain tests read them.

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{shell::root, sources};

/// The chart.
const CHART: &str = "charts/towpath";
/// Values, and what they render to.
const RENDERS: &str = "charts/renders";
const VALUES: &str = ".values.yaml";
/// The newest Kubernetes that the chart is tried with.
const KUBERNETES: &str = "1.37.0";

#[derive(clap::Args)]
pub(crate) struct ChartArgs {
    /// Only lint, and compare the checked-in renders with what helm renders now
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &ChartArgs) -> Result<()> {
    let helm = helm();
    let mut differ = Vec::new();
    for name in names(&root())? {
        let (values, path) = paths(&root(), &name);
        helm_succeeds(Command::new(&helm).args(["lint", "--strict", CHART, "-f"]).arg(&values))?;
        let text = format!("# chart {}\n{}", hash(&root(), &name)?, render(&helm, &values)?);
        if !args.check {
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            println!("{}", path.display());
        } else if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            differ.push(path.display().to_string());
        }
    }
    if !differ.is_empty() {
        bail!("the chart renders differently now: run `cargo xtask chart`: {}", differ.join(", "));
    }
    Ok(())
}

/// helm, from `$HELM` or the path.
fn helm() -> OsString {
    std::env::var_os("HELM").unwrap_or_else(|| "helm".into())
}

fn render(helm: &OsString, values: &Path) -> Result<String> {
    let mut command = Command::new(helm);
    command.args(["template", "towpath", CHART, "--namespace", "kube-system"]);
    command.args([
        "--kube-version",
        KUBERNETES,
        "--api-versions",
        "monitoring.coreos.com/v1",
        "-f",
    ]);
    helm_succeeds(command.arg(values))
}

fn helm_succeeds(command: &mut Command) -> Result<String> {
    let output = command.current_dir(root()).output();
    let output =
        output.context("helm (in $PATH or $HELM; Go builds it: helm.sh/helm/v4/cmd/helm)")?;
    if !output.status.success() {
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{command:?} ended with {}\n{out}{err}", output.status);
    }
    String::from_utf8(output.stdout).context("helm's output is no text")
}

/// What is rendered, by name.
fn names(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join(RENDERS)).context(RENDERS)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(VALUES).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn paths(root: &Path, name: &str) -> (PathBuf, PathBuf) {
    let renders = root.join(RENDERS);
    (renders.join(format!("{name}{VALUES}")), renders.join(format!("{name}.yaml")))
}

/// SHA-256 over the names and contents of the chart's files and of the values.
fn hash(root: &Path, name: &str) -> Result<String> {
    let mut files = sources::files_below(&root.join(CHART), &|_| true)?;
    files.push(paths(root, name).0);
    sources::hash(root, files)
}
