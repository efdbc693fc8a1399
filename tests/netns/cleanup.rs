//! A cluster leaves the machine as it found it: when it is let go of, and when its maker is killed.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use towpath_testbed::{Cluster, Wiring};

use crate::support::{PATIENCE, TOWPATH};

/// Namespaces, mounts, directories, cgroups and processes that bear a cluster's prefix.
fn traces(prefix: &str) -> BTreeSet<String> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let cgroup = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
    let cgroup = cgroup.split(' ').nth(1).unwrap();
    let mut found = BTreeSet::new();
    for dir in ["/tmp", cgroup] {
        let entries = fs::read_dir(dir).unwrap().flatten();
        found.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    found.extend(mounts.lines().map(|line| format!("mount {line}")));
    for pid in processes() {
        let at = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        found.insert(format!("process {pid} in {}", at.trim()));
    }
    found.retain(|trace| trace.contains(prefix));
    found
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

/// Everything that a process started, and what those started.
fn descendants(of: u32) -> BTreeSet<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let mut found = BTreeSet::new();
    let mut next = vec![of];
    while let Some(of) = next.pop() {
        let children = processes().into_iter().filter(|pid| parent(*pid) == Some(of));
        next.extend(children.filter(|pid| found.insert(*pid)));
    }
    found
}

#[test]
#[ignore = "needs root"]
fn what_lets_go_of_a_cluster_leaves_nothing() {
    let cluster = Cluster::build(Path::new(TOWPATH), &[(Wiring::Bridge, 2)]).unwrap();
    let name = cluster.dir.file_name().unwrap().to_string_lossy().into_owned();
    let prefix = name.strip_prefix("towpath-").unwrap().to_owned();
    let server = cluster.pod(0, 0).serve(&[8080]).unwrap();
    let up = traces(&prefix);
    for part in ["/tmp/", "mount ", "process "] {
        assert!(up.iter().any(|trace| trace.starts_with(part)), "{part}: {up:#?}");
    }
    drop(cluster);
    let mut server = server;
    assert!(!server.wait().unwrap().success(), "killed with its cluster");
    assert_eq!(traces(&prefix), BTreeSet::new());
}

/// A demo that stays up, and what its names begin with.
fn kept_demo() -> (Child, String) {
    let mut demo =
        Command::new(TOWPATH).args(["demo", "--keep"]).stdout(Stdio::piped()).spawn().unwrap();
    let prefix = format!("tp{}x", demo.id());
    let output = BufReader::new(demo.stdout.take().unwrap());
    assert!(output.lines().map_while(Result::ok).any(|line| line.contains("stays up")));
    (demo, prefix)
}

#[test]
#[ignore = "needs root"]
fn a_killed_maker_leaves_no_process_either() {
    let (mut demo, prefix) = kept_demo();
    let started = descendants(demo.id());
    assert!(started.len() >= 8, "a reaper, daemons, servers, clients: {started:?}");
    assert!(traces(&prefix).len() > 8, "it is up");
    demo.kill().unwrap();
    demo.wait().unwrap();
    comes_to_nothing(&prefix, &started);
}

/// In the end; a process that is dead is there until its parent has looked.
#[track_caller]
fn comes_to_nothing(prefix: &str, started: &BTreeSet<u32>) {
    let began = Instant::now();
    let left = || {
        let alive = |pid: &&u32| Path::new(&format!("/proc/{pid}/exe")).read_link().is_ok();
        (traces(prefix), started.iter().filter(alive).copied().collect::<Vec<_>>())
    };
    while left() != (BTreeSet::new(), Vec::new()) {
        assert!(began.elapsed() < PATIENCE, "left: {:#?}", left());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs root"]
fn what_a_maker_leaves_that_died_with_its_reaper_goes_with_the_next_cluster() {
    let (mut demo, prefix) = kept_demo();
    let is_reaper = |pid: &u32| {
        let args = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        args.contains("testbed\0reap")
    };
    let started = descendants(demo.id());
    let reaper = *started.iter().find(|pid| is_reaper(pid)).unwrap();
    // The reaper first: it must not see its maker's end.
    kill(Pid::from_raw(reaper.try_into().unwrap()), Signal::SIGKILL).unwrap();
    demo.kill().unwrap();
    demo.wait().unwrap();
    assert!(traces(&prefix).len() > 8, "no maker is left to clean up");
    let alive = Cluster::build(Path::new(TOWPATH), &[(Wiring::Bridge, 1)]).unwrap();
    comes_to_nothing(&prefix, &started);
    let _next = Cluster::build(Path::new(TOWPATH), &[(Wiring::Bridge, 1)]).unwrap();
    assert!(alive.nodes[0].run_dir.exists(), "those of living makers stay");
    alive.pod(0, 0).agent().unwrap();
}
