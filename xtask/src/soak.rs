//! `cargo xtask soak`: everything changes and breaks for a while (tests/soak.rs).

use anyhow::Result;

use crate::shell::cargo;

#[derive(clap::Args)]
pub(crate) struct SoakArgs {
    /// How long, after a warm-up of a quarter of it
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// What happens follows from it, but for the timing
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Needs root, as the test says itself.
pub(crate) fn run(args: &SoakArgs) -> Result<()> {
    cargo(&["test", "--release", "--test", "soak", "--", "--ignored", "--nocapture"])
        .env("TOWPATH_SOAK_SECONDS", &(args.minutes * 60).to_string())
        .env("TOWPATH_SOAK_SEED", &args.seed.to_string())
        .run()
}
