//! The command line: one file per command.

mod cleanup;
mod client;
mod demo;
mod run;
mod services;
mod status;
mod table;
mod testbed;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{RUN_DIR, RunArgs};

/// Everything is fine.
const OK: u8 = 0;
/// A problem was found.
const PROBLEM: u8 = 1;
/// The command was used wrongly (clap's own number).
const USAGE: u8 = 2;
/// The daemon cannot be reached.
const UNREACHABLE: u8 = 3;

#[derive(Parser)]
#[command(name = "towpath", version, about = "The Kubernetes node data plane")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon: on a cluster's node, or on a directory of manifests
    Run(Box<RunArgs>),
    /// Prove it here: a cluster of network namespaces, real traffic
    Demo(demo::DemoArgs),
    /// How the daemon on this node is
    Status(Ask),
    /// What is routed: endpoints, sets in force and why, what the kernel holds, counters
    Services {
        /// Only this Service: NAMESPACE/NAME, or a name in any namespace
        name: Option<String>,
        #[command(flatten)]
        ask: Ask,
    },
    /// Remove everything that Towpath left in the kernel
    Cleanup(cleanup::CleanupArgs),
    #[command(hide = true)]
    Testbed(testbed::TestbedArgs),
}

/// How to reach the daemon and print its answer.
#[derive(Args)]
struct Ask {
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For scripts: a stable schema
    Json,
}

/// Parses the arguments, runs the command, answers with its exit code.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Status(ask) => status::run(&ask),
        Command::Services { name, ask } => services::run(name.as_deref(), &ask),
        Command::Cleanup(args) => cleanup::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Testbed(args) => testbed::run(&args),
    }
}

/// Prints to standard output; a reader that has gone away ends the command quietly.
fn print(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _reader_gone = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
}

/// Prints an error: what, where, why, what next.
fn complain(text: &str) {
    use std::io::Write as _;
    let _reader_gone = writeln!(std::io::stderr().lock(), "error: {text}");
}
