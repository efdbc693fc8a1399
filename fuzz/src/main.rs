//! Runs the target that `FUZZ_TARGET` names under libFuzzer. `cargo xtask fuzz` builds and calls it.
#![no_main]

#[path = "../../tests/daemon/fixture.rs"]
mod fixture;
#[path = "../../tests/daemon/start.rs"]
mod start;
mod subjects;
mod targets;

use std::sync::LazyLock;

use towpath::{config, state_file};

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no such target: {name}")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
