//! Developer tasks. `cargo xtask help` lists them.

mod bpf;
mod chart;
mod fuzz;
mod image;
mod mutants;
mod shell;
mod sim;
mod soak;
mod sources;
mod suite;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer tasks of Towpath")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, lints, docs, tidy and every test, or one area's tests; ends with `N passed, M failed`
    Test {
        /// Only these suites (lint, tidy, plain, root) or areas (default: all suites, in this order)
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(suite::names()))]
        only: Vec<String>,
    },
    /// Rules that prose can not keep: dependency edges, lengths, no silent skips
    Tidy,
    /// Rebuild the kernel programs (needs the BPF toolchain: ebpf/README.md)
    Bpf(bpf::BpfArgs),
    /// Render the Helm chart anew into charts/renders (needs helm)
    Chart(chart::ChartArgs),
    /// The container image: an OCI layout and its tar, without Docker
    Image(image::ImageArgs),
    /// Fuzz what reads what strangers send (fuzz/README.md)
    Fuzz(fuzz::FuzzArgs),
    /// The seeded simulation over many seeds, on every core; names the seed that fails
    Sim(sim::SimArgs),
    /// Break one line at a time (tests/mutants): the tests that each patch names must find it
    Mutants(mutants::MutantsArgs),
    /// Change and break everything for a while, under traffic; needs root
    Soak(soak::SoakArgs),
    /// Benchmarks side by side with what a user would run instead
    Bench {
        /// Arguments of the benchmark program, e.g. `services --json`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test { only } => suite::run(&only),
        Task::Tidy => tidy::run(),
        Task::Bpf(args) => bpf::run(&args),
        Task::Chart(args) => chart::run(&args),
        Task::Image(args) => image::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Sim(args) => sim::run(&args),
        Task::Mutants(args) => mutants::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Bench { args } => {
            shell::cargo(&["run", "--release", "-p", "towpath-bench", "--"]).args(args).run()
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
