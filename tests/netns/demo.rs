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

/// Runs the demo without an area: exactly its traffic must fail. `number`: all but what needs none of
/// it.
fn exactly_its_traffic_fails(area: &str, number: usize) {
    let (success, checks, said) = lines(&["--without", area]);
    let passed: Vec<_> = checks.iter().filter(|check| check["ok"] != false).collect();
    assert!(passed.is_empty(), "they prove nothing: {passed:#?}");
    assert!(success && checks.iter().all(|check| check["area"] == area), "{said}");
    assert_eq!(checks.len(), number, "{said}");
}

#[test]
#[ignore = "needs root"]
fn exactly_the_traffic_of_services_fails_without_them() {
    exactly_its_traffic_fails("services", 80);
}

#[test]
#[ignore = "needs root"]
fn exactly_the_traffic_of_policy_fails_without_it() {
    exactly_its_traffic_fails("policy", 12);
}

#[test]
#[ignore = "needs root"]
fn exactly_the_traffic_of_packets_fails_without_it() {
    exactly_its_traffic_fails("packets", 25);
}

#[test]
#[ignore = "needs root"]
fn exactly_the_requests_fail_without_ingress() {
    exactly_its_traffic_fails("ingress", 10);
}

#[test]
#[ignore = "needs root"]
fn exactly_the_queries_fail_without_dns() {
    exactly_its_traffic_fails("dns", 20);
}
