//! `towpath cleanup`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use towpath_image::Capacities;

use super::{OK, PROBLEM, complain, print};
use crate::config::{BPFFS, RUN_DIR};

/// Where to clean.
#[derive(Args)]
pub(super) struct CleanupArgs {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Directory on a bpffs that the daemon used
    #[arg(long, value_name = "DIR", default_value = BPFFS)]
    bpffs: PathBuf,
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
}

pub(super) fn run(args: &CleanupArgs) -> ExitCode {
    let settings = towpath_ebpf::Settings {
        pin_root: args.bpffs.clone(),
        cgroup_root: PathBuf::from("/"),
        run_dir: args.run_dir.clone(),
        capacities: Capacities::default(),
        cluster: None,
        host_only: false,
    };
    match towpath_ebpf::cleanup(&settings, args.dry_run) {
        Ok(removed) => {
            let verb = if args.dry_run { "would remove" } else { "removed" };
            for path in &removed {
                print(&format!("{verb} {path}"));
            }
            if removed.is_empty() {
                print(&format!("nothing of Towpath is in {}", args.bpffs.display()));
            }
            OK.into()
        }
        Err(error) => {
            complain(&error.to_string());
            PROBLEM.into()
        }
    }
}
