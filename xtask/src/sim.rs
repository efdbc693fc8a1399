//! `cargo xtask sim`: the simulation (tests/sim.rs) over many seeds, on every core.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::shell::{cargo, root};

#[derive(clap::Args)]
pub(crate) struct SimArgs {
    /// How many seeds are played
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
}

/// Said by the simulation when a seed fails.
const FAILED: &str = "failing seed: ";
/// The test that plays seeds.
const TEST: &str = "every_seed_ends_well";

pub(crate) fn run(args: &SimArgs) -> Result<()> {
    ensure!(args.seeds > 0, "--seeds 0 plays nothing");
    let program = build()?;
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let began = Instant::now();
    let (ended, ends) = mpsc::channel();
    let mut players = Vec::new();
    for (from, seeds) in split(args.from, args.seeds, cores) {
        let mut player = Command::new(&program)
            .current_dir(root())
            .args([TEST, "--exact", "--nocapture"])
            .env("TOWPATH_SIM_FROM", from.to_string())
            .env("TOWPATH_SIM_SEEDS", seeds.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("can not start {program}"))?;
        follow(&mut player, players.len(), &ended)?;
        players.push(player);
    }
    let failure = wait(&mut players, &ends)?;
    for player in &mut players {
        // Those that still play: one failing seed is enough to work on.
        let _ended = player.kill().and_then(|()| player.wait());
    }
    let seconds = began.elapsed().as_secs_f64();
    match failure {
        None => {
            println!("{} seeds from {} passed in {seconds:.0} s", args.seeds, args.from);
            Ok(())
        }
        Some(Some(seed)) => bail!(
            "failing seed: {seed} (alone: cargo xtask sim --seeds 1 --from {seed}) after {seconds:.0} s"
        ),
        Some(None) => bail!("the simulation failed and names no seed: see above"),
    }
}

/// Builds the simulation; answers its path.
fn build() -> Result<String> {
    let mut command = cargo(&["test", "--release", "-p", "towpath", "--test", "sim", "--no-run"])
        .args(["--message-format=json-render-diagnostics"])
        .into_command();
    let output = command.stderr(Stdio::inherit()).output().context("can not start cargo")?;
    ensure!(output.status.success(), "the simulation did not build: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut tests =
        messages.filter(|m| m["profile"]["test"] == true && m["target"]["name"] == "sim");
    let found = tests.find_map(|message| message["executable"].as_str().map(str::to_owned));
    found.context("cargo names no binary of tests/sim.rs")
}

/// Consecutive parts, one for each core: first seed and number of seeds.
fn split(from: u64, seeds: u64, parts: u64) -> Vec<(u64, u64)> {
    let parts = parts.clamp(1, seeds);
    let mut next = from;
    let mut ranges = Vec::new();
    for part in 0..parts {
        let size = seeds / parts + u64::from(part < seeds % parts);
        ranges.push((next, size));
        next += size;
    }
    ranges
}

/// What a player came to: its number, and with which failing seed.
type End = (usize, Option<u64>);

/// Prints what a player says, and tells when it has said everything.
fn follow(player: &mut Child, number: usize, ended: &mpsc::Sender<End>) -> Result<()> {
    let output = player.stdout.take().context("the simulation has no output")?;
    let errors = player.stderr.take().context("the simulation has no error output")?;
    let ended = ended.clone();
    let quiet = thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).count());
    thread::spawn(move || {
        let mut seed = None;
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            if let Some(named) = line.strip_prefix(FAILED) {
                seed = named.trim().parse().ok();
            }
            eprintln!("{line}");
        }
        let _lines = quiet.join();
        // Not read any more when another player has failed.
        let _ = ended.send((number, seed));
    });
    Ok(())
}

/// Waits for all, or for the first that fails: then its seed, if it named one.
fn wait(players: &mut [Child], ends: &mpsc::Receiver<End>) -> Result<Option<Option<u64>>> {
    for _ in 0..players.len() {
        let (number, seed) = ends.recv().context("the simulation")?;
        if !players[number].wait().context("the simulation")?.success() {
            return Ok(Some(seed));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn every_seed_is_played_once() {
        assert_eq!(split(1, 2_000, 2), [(1, 1_000), (1_001, 1_000)]);
        assert_eq!(split(7, 5, 3), [(7, 2), (9, 2), (11, 1)]);
        assert_eq!(split(7, 1, 4), [(7, 1)]);
    }
}
