//! Runs the target that `FUZZ_TARGET` names under libFuzzer. `cargo xtask fuzz` builds and calls it.
#![no_main]

#[allow(
    dead_code,
    unfulfilled_lint_expectations,
    unused_imports,
    reason = "only parsers are called"
)]
#[path = "../../src/config/mod.rs"]
mod config;
#[allow(dead_code, reason = "only manifests are kept")]
#[path = "../../src/state_file.rs"]
mod state_file;
mod subjects;
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no such target: {name}")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
