//! `towpath demo` proves what it says, proves its checks, and leaves nothing behind.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::TOWPATH;

fn lines(args: &[&str]) -> (bool, Vec<Value>) {
    let output = Command::new(TOWPATH).arg("demo").args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let checks = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.success(), checks)
}

#[test]
#[ignore = "needs root"]
fn every_check_passes_and_fails_without_programs() {
    let (success, checks) = lines(&["--json"]);
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] != true).collect();
    assert!(success && failed.is_empty() && checks.len() >= 80, "{failed:#?}");
    let (success, checks) = lines(&["--json", "--without-programs"]);
    assert!(success && checks.iter().all(|check| check["ok"] == false) && checks.len() >= 70);
}

/// What clusters leave on a machine, if they do.
fn traces() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut list = |dir: &str, prefix: &str| {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                found.insert(format!("{dir}/{name}"));
            }
        }
    };
    list("/run/netns", "tp");
    list("/tmp", "towpath-tp");
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let cgroup = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).unwrap();
    list(cgroup.split(' ').nth(1).unwrap(), "towpath-tp");
    found.extend(mounts.lines().filter(|l| l.contains("towpath-tp")).map(str::to_owned));
    found
}

#[test]
#[ignore = "needs root"]
fn a_killed_maker_leaves_nothing_behind() {
    let mut demo =
        Command::new(TOWPATH).args(["demo", "--keep"]).stdout(Stdio::piped()).spawn().unwrap();
    let prefix = format!("tp{}x", demo.id());
    let output = BufReader::new(demo.stdout.take().unwrap());
    assert!(output.lines().map_while(Result::ok).any(|line| line.contains("stays up")));
    let own = |traces: BTreeSet<String>| {
        traces.into_iter().filter(|trace| trace.contains(&prefix)).collect::<Vec<_>>()
    };
    assert!(own(traces()).len() > 8, "it is up");
    demo.kill().unwrap();
    demo.wait().unwrap();
    let killed = Instant::now();
    while !own(traces()).is_empty() {
        assert!(killed.elapsed() < Duration::from_secs(5), "left: {:#?}", own(traces()));
        thread::sleep(Duration::from_millis(50));
    }
}
