//! The one who cleans up: a process of its own session that waits for its maker's end.
//!
//! The maker writes to its standard input what it is about to make, before it makes it; when that
//! pipe closes, because the maker let go of it or was killed, the reaper removes everything.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, umount2};

/// Half a minute is enough for everything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that has to go.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Thing {
    /// A named network namespace.
    Netns(PathBuf),
    /// A cgroup2 directory: its processes are killed.
    Cgroup(PathBuf),
    /// A mount.
    Mount(PathBuf),
    /// A directory, with everything in it.
    Directory(PathBuf),
}

impl Thing {
    fn line(&self) -> String {
        match self {
            Self::Netns(path) => format!("netns {}\n", path.display()),
            Self::Cgroup(path) => format!("cgroup {}\n", path.display()),
            Self::Mount(path) => format!("mount {}\n", path.display()),
            Self::Directory(path) => format!("directory {}\n", path.display()),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (kind, path) = line.split_once(' ')?;
        let path = PathBuf::from(path);
        Some(match kind {
            "netns" => Self::Netns(path),
            "cgroup" => Self::Cgroup(path),
            "mount" => Self::Mount(path),
            "directory" => Self::Directory(path),
            _ => return None,
        })
    }
}

/// The maker's end.
#[derive(Debug)]
pub struct Reaper {
    child: Child,
}

impl Reaper {
    /// Starts the process. `tool`: a program with the subcommand `testbed reap`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(tool: &Path) -> Result<Self> {
        let child = Command::new("setsid")
            .arg(tool)
            .args(["testbed", "reap"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", tool.display()))?;
        Ok(Self { child })
    }

    /// Notes what is about to be made.
    ///
    /// # Errors
    /// When the reaper is gone: then nothing may be made.
    pub fn note(&mut self, thing: &Thing) -> Result<()> {
        let pipe = self.child.stdin.as_mut().context("the reaper's pipe")?;
        pipe.write_all(thing.line().as_bytes()).context("the reaper is gone")
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "waiting for the clean-up");
        }
    }
}

/// The process: reads until its maker has ended, then removes everything.
pub fn reap() {
    let mut things = Vec::new();
    for line in BufReader::new(std::io::stdin()).lines().map_while(Result::ok) {
        things.extend(Thing::parse(&line));
    }
    remove_all(things, PATIENCE);
}

/// Removes things, the last one first. One that does not go yet, as a cgroup whose processes are still
/// dying on a busy machine, holds no other back.
pub(crate) fn remove_all(mut things: Vec<Thing>, patience: Duration) {
    for thing in &things {
        if let Thing::Cgroup(path) = thing {
            let _gone = fs::write(path.join("cgroup.kill"), "1");
        }
    }
    things.reverse();
    let deadline = Instant::now() + patience;
    loop {
        things.retain(|thing| !remove(thing));
        if things.is_empty() || Instant::now() > deadline {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Removes one thing; false: not yet.
fn remove(thing: &Thing) -> bool {
    match thing {
        Thing::Netns(path) => {
            let _not_mounted = umount2(path, MntFlags::MNT_DETACH);
            fs::remove_file(path).is_ok() || !path.exists()
        }
        Thing::Cgroup(path) => fs::remove_dir(path).is_ok() || !path.exists(),
        Thing::Mount(path) => {
            let _not_mounted = umount2(path, MntFlags::MNT_DETACH);
            true
        }
        Thing::Directory(path) => fs::remove_dir_all(path).is_ok() || !path.exists(),
    }
}
