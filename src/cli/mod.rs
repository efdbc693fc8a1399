//! The command line: one file per command.
//!
//! Exit codes: 0 well, 1 a problem was found, 2 usage or configuration, 3 no daemon answers.

mod check;
mod cleanup;
mod client;
mod demo;
mod explain;
mod explain_code;
mod mount_bpffs;
mod output;
mod probe;
mod run;
mod services;
mod status;
mod table;
mod testbed;

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::config::RunArgs;
use output::{Exit, complain};

/// What `run` answers when the daemon can not be set up.
const PROBLEM: Exit = Exit::Problem;
/// What `run` answers to a configuration that is refused.
const USAGE: Exit = Exit::Usage;

/// The Kubernetes node data plane in one daemon.
#[derive(Debug, Parser)]
#[command(name = "towpath", version, about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon on this node
    Run(Box<RunArgs>),
    /// Prove it here: a cluster of network namespaces, a daemon on each node, real traffic
    Demo(demo::DemoArgs),
    /// Show how the daemon of this node is, what it serves and what it does not
    Status(status::Args),
    /// Show Services: endpoints, the set in force and why, what the kernel holds, counters
    Services(services::Args),
    /// Say why a connection passes or not: name, Service, endpoints, policies, kernel, hop by hop
    Explain(explain::Args),
    /// Show what this kernel offers, and how to get what is missing; needs no daemon
    Check(check::Args),
    /// Answer a probe of the kubelet by exit code: ready, live, api
    Probe(probe::Args),
    /// Remove everything the daemon left in the kernel: programs, then maps
    Cleanup(cleanup::Args),
    /// Say what a code of a problem means, as in TP3001, and what to do; needs no daemon
    ExplainCode(explain_code::Args),
    /// Print the version
    Version,
    /// Mount a bpffs unless there is one
    #[command(hide = true)]
    MountBpffs(mount_bpffs::Args),
    #[command(hide = true)]
    Testbed(testbed::TestbedArgs),
}

/// Parses the arguments, runs the command, answers with its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match Cli::try_parse() {
        Ok(cli) => dispatch(cli.command, &mut out, &mut err),
        Err(help) => {
            // Help and version are not errors; they go to standard output.
            let code = if help.use_stderr() { Exit::Usage } else { Exit::Well };
            match help.print() {
                Ok(()) => code.into(),
                Err(_closed) => Exit::Problem.into(),
            }
        }
    }
}

fn dispatch(command: Command, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let done = match command {
        Command::Run(args) => return run::run(&args),
        Command::Demo(args) => return demo::run(&args),
        Command::Testbed(args) => return testbed::run(&args),
        Command::Status(args) => status::run(&args, out),
        Command::Services(args) => services::run(&args, out),
        Command::Explain(args) => explain::run(&args, out),
        Command::Check(args) => check::run(&args, out),
        Command::Probe(args) => probe::run(&args, out),
        Command::MountBpffs(args) => mount_bpffs::run(&args, out),
        Command::Cleanup(args) => cleanup::run(&args, out),
        Command::ExplainCode(args) => explain_code::run(&args, out),
        Command::Version => output::line(out, concat!("towpath ", env!("CARGO_PKG_VERSION"))),
    };
    match done {
        Ok(code) => code.into(),
        Err(failure) => failure.print(err),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn version_is_printed() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = dispatch(Command::Version, &mut out, &mut err);
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(String::from_utf8(out).unwrap(), "towpath 0.1.0\n");
    }
}
