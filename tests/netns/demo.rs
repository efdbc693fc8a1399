//! `towpath demo` proves what it says, and proves its checks.

use std::process::Command;

use serde_json::Value;

use crate::support::TOWPATH;

fn lines(args: &[&str]) -> (bool, Vec<Value>, String) {
    let output = Command::new(TOWPATH).args(["demo", "--json"]).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let checks = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.success(), checks, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
#[ignore = "needs root"]
fn every_check_passes() {
    let (success, checks, said) = lines(&[]);
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] != true).collect();
    assert!(success && failed.is_empty() && checks.len() >= 80, "{failed:#?} {said}");
}

#[test]
#[ignore = "needs root"]
fn exactly_the_queries_fail_without_dns() {
    let (success, checks, said) = lines(&["--without", "dns"]);
    let passed: Vec<_> = checks.iter().filter(|check| check["ok"] != false).collect();
    assert!(passed.is_empty(), "they prove nothing: {passed:#?}");
    assert!(success && checks.iter().all(|check| check["area"] == "dns"), "{said}");
    assert_eq!(checks.len(), 20, "{said}");
}

#[test]
#[ignore = "needs root"]
fn exactly_the_traffic_of_an_area_fails_without_it() {
    let (success, checks, said) = lines(&["--without", "services"]);
    let passed: Vec<_> = checks.iter().filter(|check| check["ok"] != false).collect();
    assert!(passed.is_empty(), "they prove nothing: {passed:#?}");
    assert!(success && checks.iter().all(|check| check["area"] == "services"), "{said}");
    // All but what needs no Service, and what starts a daemon.
    assert_eq!(checks.len(), 80, "{said}");
}
