//! The command line: one file per command.

use std::process::ExitCode;

/// Parses the arguments, runs the command, answers with its exit code.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
