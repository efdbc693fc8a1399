//! What all commands share: exit codes, failures, formats.

use std::{
    io::{self, Write},
    process::ExitCode,
};

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exit {
    Well = 0,
    Problem = 1,
    Usage = 2,
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// What and why.
    pub(super) what: String,
    /// What to do; empty when the text says it.
    pub(super) next: String,
}

impl Failure {
    pub(super) const fn usage(what: String) -> Self {
        Self { exit: Exit::Usage, what, next: String::new() }
    }

    pub(super) fn problem(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit: Exit::Problem, what: what.into(), next: next.into() }
    }

    /// Writes it down, answers with the exit code.
    pub(super) fn print(&self, err: &mut dyn Write) -> ExitCode {
        let mut text = format!("error: {}\n", self.what);
        if !self.next.is_empty() {
            text.push_str(&format!("       {}\n", self.next));
        }
        // There is no other way to say it when this fails; the exit code still does.
        drop(err.write_all(text.as_bytes()));
        self.exit.into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::problem(format!("the output can not be written: {error}"), "")
    }
}

/// Prints an error: what, where, why, what next.
pub(super) fn complain(text: &str) {
    Failure::usage(text.to_owned()).print(&mut io::stderr());
}

/// Something that is worth knowing, beside the answer.
pub(super) fn warn(text: &str) {
    let line = format!("warning: {}\n", super::table::printable(text));
    // There is no other way to say it when this fails.
    drop(io::stderr().write_all(line.as_bytes()));
}

/// `-o`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// Aligned columns for people
    #[default]
    Table,
    /// The documented schema, for programs
    Json,
}

/// Writes one line.
pub(super) fn line(out: &mut dyn Write, text: &str) -> Result<Exit, Failure> {
    writeln!(out, "{text}")?;
    Ok(Exit::Well)
}

/// Writes JSON for people and programs. What the daemon said is kept whole, also fields that this
/// version does not know.
pub(super) fn json(out: &mut dyn Write, value: &serde_json::Value) -> Result<(), Failure> {
    writeln!(out, "{value:#}")?;
    Ok(())
}
