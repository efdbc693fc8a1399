//! `towpath demo`: a two-node cluster of network namespaces, a daemon on each node, real traffic.

mod area;
mod checks;
mod report;
mod scene;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use towpath_ebpf::Feature;
use towpath_testbed::preflight;

use self::area::{Area, InForce};
use super::{Exit, check, complain, output};
use crate::config::BPFFS;

/// How to run the demo.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// One JSON object per check
    #[arg(long)]
    json: bool,
    /// Leave the cluster up, and say how to enter it, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Switch this area off and run its traffic checks: every one must fail, or it proves nothing
    #[arg(long, value_name = "AREA", conflicts_with = "without_programs")]
    without: Option<Area>,
    /// Take our programs out of force: every traffic check must fail then, or it proves nothing
    #[arg(long)]
    without_programs: bool,
}

impl DemoArgs {
    fn in_force(&self) -> InForce {
        match self.without {
            Some(area) => InForce::Without(area),
            None if self.without_programs => InForce::WithoutPrograms,
            None => InForce::All,
        }
    }
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
    preflight::check()?;
    kernel(&report, &check::look(None, BPFFS.into()))?;
    let in_force = args.in_force();
    let mut scene = scene::Scene::build(&mut report, in_force)?;
    scene.switch_off(in_force)?;
    checks::run(&mut scene, &mut report, in_force)?;
    report.finish(in_force.without());
    let fine = match in_force {
        InForce::All => report.all_passed(),
        InForce::Without(_) | InForce::WithoutPrograms => report.none_passed(),
    };
    if args.keep {
        keep(&scene)?;
    }
    Ok(fine)
}

/// Says what this kernel lacks, and stops when it cannot do without.
fn kernel(report: &report::Report, features: &[Feature]) -> Result<()> {
    // Each node of the demo mounts its own bpffs.
    let features: Vec<_> = features.iter().filter(|f| f.name != "bpffs").cloned().collect();
    for line in check::missing(&features, false) {
        report.say(&format!("this kernel has no {line}"));
    }
    let missing = check::missing(&features, true);
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this kernel lacks what Towpath needs:\n  - {}", missing.join("\n  - "))
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

/// A line for a person who watches; where none does, it may be lost.
fn print(text: &str) {
    drop(output::line(&mut std::io::stdout(), text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_lacks_is_said_before_anything_is_built() {
        let feature = |name, needed| Feature {
            name,
            needed,
            present: false,
            how: "trying".into(),
            advice: "build it in",
        };
        let report = report::Report::new(true);
        let wanted = [feature("BTF", false), feature("bpffs", true)];
        assert!(kernel(&report, &wanted).is_ok(), "nodes mount their own bpffs");
        let error = kernel(&report, &[feature("cgroup2", true), feature("hooks", true)]);
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with(
            "needs:\n  - cgroup2: build it in (trying)\n  - hooks: build it in (trying)"
        ));
    }
}
