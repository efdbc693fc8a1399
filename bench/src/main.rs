//! Benchmarks, side by side with what a user would run instead: `cargo xtask bench services`.

mod bed;
mod latency;
mod metric;
mod scale;
mod statistics;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "towpath-bench")]
struct Cli {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand)]
enum Subject {
    /// Services: connections, datagrams, cold start, changes, memory
    Services {
        /// One JSON object per metric
        #[arg(long)]
        json: bool,
        /// The program to measure (default: `towpath` beside this one)
        #[arg(long)]
        towpath: Option<PathBuf>,
        /// A kube-proxy to put beside it, in the same run (nftables mode; needs `nft` and `conntrack`)
        #[arg(long, value_name = "PROGRAM")]
        kube_proxy: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let Subject::Services { json, towpath, kube_proxy } = Cli::parse().subject;
    match services(json, towpath, kube_proxy.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The fixed set of metrics; one that is missing is a failure like one that is not met.
fn services(json: bool, towpath: Option<PathBuf>, kube_proxy: Option<&Path>) -> Result<bool> {
    let beside = || -> Result<PathBuf> {
        let own = std::env::current_exe()?;
        Ok(own.parent().context("the folder of this program")?.join("towpath"))
    };
    let tool = towpath.map_or_else(beside, Ok)?;
    anyhow::ensure!(
        tool.exists(),
        "{} is not there: cargo build --release first, or give --towpath",
        tool.display()
    );
    let mut report = metric::Report::new(json);
    latency::measure(&tool, &mut report)?;
    scale::measure(&tool, kube_proxy, &mut report)?;
    Ok(report.finish())
}
