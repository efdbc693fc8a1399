//! Running other programs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A command in the root of the repository.
pub(crate) struct Step(Command);

/// `cargo` with arguments.
pub(crate) fn cargo(args: &[&str]) -> Step {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    Step(command)
}

/// Root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

impl Step {
    pub(crate) fn args(
        mut self,
        args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
    ) -> Self {
        self.0.args(args);
        self
    }
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }
    /// Runs it; not succeeding is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.0.status().with_context(|| format!("can not start {:?}", self.0))?;
        if !status.success() {
            bail!("{:?} ended with {status}", self.0);
        }
        Ok(())
    }
    /// Runs it and reads what it prints as JSON; not succeeding is an error.
    pub(crate) fn json(mut self) -> Result<Value> {
        let output = self.0.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("can not start {:?}", self.0))?;
        if !output.status.success() {
            bail!("{:?} ended with {}", self.0, output.status);
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("{:?}", self.0))
    }
    /// The command itself, where its output is read line by line.
    pub(crate) fn into_command(self) -> Command {
        self.0
    }
}
