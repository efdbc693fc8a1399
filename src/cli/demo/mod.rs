//! `towpath demo`: a two-node cluster of network namespaces, a daemon on each node, real traffic.

mod checks;
mod report;
mod scene;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::{Exit, complain, output};

/// How to run the demo.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// One JSON object per check
    #[arg(long)]
    json: bool,
    /// Leave the cluster up, and say how to enter it, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Take our programs out of force: every traffic check must fail then, or it proves nothing
    #[arg(long)]
    without_programs: bool,
}

pub(super) fn run(args: &DemoArgs) -> ExitCode {
    match demo(args) {
        Ok(true) => Exit::Well.into(),
        Ok(false) => Exit::Problem.into(),
        Err(error) => {
            complain(&format!("{error:#}"));
            Exit::Problem.into()
        }
    }
}

/// Builds, checks, reports, takes down.
fn demo(args: &DemoArgs) -> Result<bool> {
    let mut report = report::Report::new(args.json);
    let mut scene = scene::Scene::build(&mut report)?;
    if args.without_programs {
        scene.detach()?;
    }
    checks::run(&mut scene, &mut report, args.without_programs)?;
    let fine = if args.without_programs { report.none_passed() } else { report.all_passed() };
    report.finish(args.without_programs);
    if args.keep {
        keep(&scene)?;
    }
    Ok(fine)
}

fn keep(scene: &scene::Scene) -> Result<()> {
    print("");
    print("The cluster stays up until Ctrl-C. To look around, in another terminal:");
    for line in scene.doors() {
        print(&format!("  {line}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c())?;
    Ok(())
}

/// A line for whoever watches; nobody may.
fn print(text: &str) {
    drop(output::line(&mut std::io::stdout(), text));
}
