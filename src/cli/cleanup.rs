//! `towpath cleanup`: after an uninstall nothing may stay frozen in the kernel.

use std::{io::Write, path::PathBuf};

use serde_json::json;
use towpath_ebpf::Settings;

use super::{
    output::{self, Exit, Failure, Format},
    table::printable,
};
use crate::{
    admin::api::VERSION,
    config::{BPFFS, RUN_DIR},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Directory on a bpffs that the daemon was given
    #[arg(long, value_name = "DIR", default_value = BPFFS)]
    bpffs: PathBuf,
    /// Run directory that the daemon was given
    #[arg(long, value_name = "DIR", default_value = RUN_DIR)]
    run_dir: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Failure> {
    let settings = Settings {
        pin_root: args.bpffs.clone(),
        run_dir: args.run_dir.clone(),
        // Removing asks neither where programs are attached nor how large maps are.
        cgroup_root: PathBuf::new(),
        capacities: towpath_image::Capacities::default(),
        cluster: None,
        host_only: false,
    };
    let removed = towpath_ebpf::cleanup(&settings, args.dry_run).map_err(|error| {
        Failure::problem(
            format!("clean-up stopped: {error}"),
            "stop the daemon of this node first, and run this as root; it may be repeated",
        )
    })?;
    match args.output {
        Format::Json => {
            let reply = json!({"apiVersion": VERSION, "dryRun": args.dry_run, "removed": removed});
            output::json(out, &reply)?;
        }
        Format::Table => out.write_all(render(&removed, args).as_bytes())?,
    }
    Ok(Exit::Well)
}

fn render(removed: &[String], args: &Args) -> String {
    if removed.is_empty() {
        return format!("nothing to remove below {}\n", args.bpffs.display());
    }
    let verb = if args.dry_run { "would remove" } else { "removed" };
    removed.iter().map(|path| format!("{verb} {}\n", printable(path))).collect()
}
