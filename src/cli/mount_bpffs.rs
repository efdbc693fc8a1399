//! `towpath mount-bpffs`: what the chart runs on nodes whose system mounts no bpffs (kind). Hidden.

use std::{io::Write, path::PathBuf};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::output::{self, Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where it should be
    directory: PathBuf,
}

/// Mounts one unless there is one.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Exit, Failure> {
    let directory = &args.directory;
    let shown = directory.display();
    let kind = statfs(directory).map_err(|error| {
        Failure::problem(format!("can not look at {shown}: {error}"), "make the directory first")
    })?;
    if kind.filesystem_type() == BPF_FS_MAGIC {
        return output::line(out, &format!("{shown} is a bpffs"));
    }
    mount(Some("bpf"), directory, Some("bpf"), MsFlags::empty(), None::<&str>).map_err(
        |error| {
            let what = format!("can not mount a bpffs at {shown}: {error}");
            Failure::problem(what, "it needs CAP_SYS_ADMIN and a kernel with CONFIG_BPF_SYSCALL")
        },
    )?;
    output::line(out, &format!("mounted a bpffs at {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args { directory: dir.path().join("none") };
        let said = run(&args, &mut Vec::new()).unwrap_err();
        assert!(said.what.contains("none: ENOENT"), "{}", said.what);
    }
}
