//! `towpath testbed`: what the demo and the tests run inside their namespaces. Hidden.

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use towpath_testbed::{probe, reaper};

use super::{Exit, complain};

#[derive(Debug, Args)]
pub(super) struct TestbedArgs {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Clean up when the maker of a cluster has ended
    Reap,
    /// Do what standard input says
    Agent,
    /// Answer on these ports
    Serve {
        /// What to answer
        #[arg(long)]
        name: String,
        /// Ports, TCP and UDP
        #[arg(long = "port")]
        ports: Vec<u16>,
        /// Run on this processor only
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// Answer DNS questions
    Names {
        /// Where
        #[arg(long)]
        at: SocketAddr,
        /// What there is, as name=address
        #[arg(long = "name", value_parser = name_and_address)]
        names: Vec<(String, IpAddr)>,
    },
}

fn name_and_address(text: &str) -> anyhow::Result<(String, IpAddr)> {
    let (name, address) = text.split_once('=').context("no name=address")?;
    Ok((name.to_owned(), address.parse()?))
}

pub(super) fn run(args: &TestbedArgs) -> ExitCode {
    let done = match &args.role {
        Role::Reap => {
            reaper::reap();
            Ok(())
        }
        Role::Agent => probe::serve_agent(),
        Role::Names { at, names } => probe::serve_names(*at, names),
        Role::Serve { name, ports, cpu } => probe::serve(name, ports, *cpu),
    };
    match done {
        Ok(()) => Exit::Well.into(),
        Err(error) => {
            complain(&format!("{error:#}"));
            Exit::Problem.into()
        }
    }
}
