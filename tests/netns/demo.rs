//! `towpath demo` proves what it says, and proves its checks.

use std::process::Command;

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
