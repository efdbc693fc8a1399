//! `towpath demo` proves what it says, and proves its checks.

use std::process::Command;

use serde_json::Value;

use crate::support::TOWPATH;

fn lines(args: &[&str]) -> (bool, Vec<Value>, String) {
    let output = Command::new(TOWPATH).arg("demo").args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let checks = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.success(), checks, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
#[ignore = "needs root"]
fn every_check_passes_and_fails_without_programs() {
    let (success, checks, said) = lines(&["--json"]);
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] != true).collect();
    assert!(success && failed.is_empty() && checks.len() >= 80, "{failed:#?} {said}");
    let (success, checks, said) = lines(&["--json", "--without-programs"]);
    let passed: Vec<_> = checks.iter().filter(|check| check["ok"] != false).collect();
    assert!(passed.is_empty(), "they prove nothing: {passed:#?}");
    assert!(success && checks.len() >= 70, "{} checks: {said}", checks.len());
}
