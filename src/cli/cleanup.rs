//! `towpath cleanup`: after an uninstall nothing may stay frozen in the kernel.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use serde_json::json;
use tokio::signal::unix;
use towpath_ebpf::{Cleaned, Error, Settings};

use super::{
    output::{self, Exit, Failure, Format},
    table::printable,
};
use crate::{
    api::VERSION,
    config::{BPFFS, RUN_DIR},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Stay until SIGTERM once all is removed: a pod that runs says that its node is clean
    #[arg(long, conflicts_with = "dry_run")]
    hold: bool,
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
    // Removing asks neither where programs are attached nor how large maps are.
    let settings = Settings::new(&args.bpffs, "", &args.run_dir);
    let is_root = nix::unistd::geteuid().is_root();
    match towpath_ebpf::cleanup(&settings, args.dry_run) {
        Ok(cleaned) => print(cleaned, args, out)?,
        Err(Error::Partly { cleaned, cause }) => {
            print(cleaned, args, out)?;
            let next = "only what is listed was removed; it may be repeated";
            return Err(Failure { next: next.into(), ..failure(&cause, is_root) });
        }
        Err(error) => return Err(failure(&error, is_root)),
    }
    if args.hold {
        output::line(out, "this node is clean; waiting to be stopped")?;
        out.flush()?;
        hold()?;
    }
    Ok(Exit::Well)
}

/// Waits for SIGTERM or SIGINT, which end the first process of a container only where it asks for them.
fn hold() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = unix::signal(unix::SignalKind::terminate())?;
        let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

fn print(cleaned: Cleaned, args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    match args.output {
        Format::Json => {
            let Cleaned { removed, left } = cleaned;
            let dry_run = args.dry_run;
            let reply =
                json!({"apiVersion": VERSION, "dryRun": dry_run, "removed": removed, "left": left});
            output::json(out, &reply)?;
        }
        Format::Table => out.write_all(render(&cleaned, args).as_bytes())?,
    }
    Ok(())
}

fn failure(error: &Error, is_root: bool) -> Failure {
    let next = match error {
        Error::File { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
            if !is_root {
                let what = format!("clean-up needs root, and this process is not: {error}");
                return Failure::problem(what, "run it as root; it may be repeated");
            }
            "it needs root with CAP_BPF and CAP_SYS_ADMIN; it may be repeated"
        }
        Error::NoBpffs { .. } => {
            "nothing was removed: give --bpffs the directory that the daemon was given"
        }
        Error::Locked { .. } => "stop the daemon of this node first; nothing was removed",
        Error::Owner { .. } => "nothing was removed",
        _ => "it may be repeated, as root",
    };
    Failure::problem(format!("clean-up stopped: {error}"), next)
}

fn render(cleaned: &Cleaned, args: &Args) -> String {
    let verb = if args.dry_run { "would remove" } else { "removed" };
    let removed = cleaned.removed.iter().map(|path| format!("{verb} {}\n", printable(path)));
    let left = cleaned.left.iter().map(|path| format!("left {}: not Towpath's\n", printable(path)));
    let nothing = || format!("nothing to remove below {}\n", args.bpffs.display());
    let nothing = cleaned.removed.is_empty().then(nothing);
    nothing.into_iter().chain(removed).chain(left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(removed: &[&str], left: &[&str], dry_run: bool, expected: &str) {
        let all = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let cleaned = Cleaned { removed: all(removed), left: all(left) };
        let (bpffs, run_dir) = (PathBuf::from("/b"), PathBuf::from("/r"));
        let args = Args { dry_run, hold: false, bpffs, run_dir, output: Format::Table };
        assert_eq!(render(&cleaned, &args), expected);
    }

    #[test]
    fn what_stays_is_said_to_be_of_another_program() {
        check(&[], &[], false, "nothing to remove below /b\n");
        check(&["/b/v1", "/b"], &[], true, "would remove /b/v1\nwould remove /b\n");
        check(&["/b/v1"], &["/b/x"], false, "removed /b/v1\nleft /b/x: not Towpath's\n");
        let expected = "nothing to remove below /b\nleft /b/x\\u{1b}: not Towpath's\n";
        check(&[], &["/b/x\u{1b}"], true, expected);
    }

    #[test]
    fn a_missing_privilege_is_said_plainly() {
        let denied = Error::File {
            what: "opening",
            path: "/b".into(),
            cause: io::ErrorKind::PermissionDenied.into(),
        };
        let said = failure(&denied, false);
        assert!(said.what.starts_with("clean-up needs root, and this process is not: opening /b"));
        assert!(failure(&denied, true).next.contains("CAP_BPF"));
        let elsewhere = failure(&Error::NoBpffs { path: "/b".into() }, false);
        assert!(elsewhere.next.starts_with("nothing was removed"), "{elsewhere:?}");
    }
}
