//! `cargo xtask fuzz`: libFuzzer on whatever reads what strangers send (fuzz/README.md).

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell::root;

#[derive(clap::Args)]
pub(crate) struct FuzzArgs {
    /// Only these targets (default: all; they are the folders of fuzz/corpus)
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Coverage counters, as `cargo fuzz` asks for them; all of these flags are stable.
const COVERAGE: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Longest input: longer ones slow down and teach little.
const LENGTH_MAX: u32 = 16_384;

pub(crate) fn run(args: &FuzzArgs) -> Result<()> {
    let known = targets()?;
    if let Some(unknown) = args.targets.iter().find(|target| !known.contains(target)) {
        bail!("no such target: {unknown}; there are {}", known.join(", "));
    }
    let program = build()?;
    let chosen = if args.targets.is_empty() { &known } else { &args.targets };
    let mut failed = Vec::new();
    for target in chosen {
        println!("{target}: {} s", args.seconds);
        if !fuzz(&program, target, args.seconds)? {
            failed.push(target.as_str());
        }
    }
    if !failed.is_empty() {
        bail!("found something in {}: see fuzz/target/artifacts", failed.join(", "));
    }
    println!("{} targets, nothing found", chosen.len());
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let corpus = root().join("fuzz/corpus");
    let mut names = Vec::new();
    for entry in fs::read_dir(&corpus).with_context(|| corpus.display().to_string())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Builds for the host by name: with `--target`, flags do not reach build scripts and macros.
fn build() -> Result<PathBuf> {
    let host = host()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root().join("fuzz"))
        .args(["build", "--release", "--locked", "--target", &host])
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"))
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .context("can not start cargo")?;
    if !status.success() {
        bail!("the fuzz targets did not build: {status}");
    }
    Ok(root().join("fuzz/target").join(host).join("release/towpath-fuzz"))
}

fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("can not start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// Runs one target; answers whether nothing was found.
fn fuzz(program: &PathBuf, target: &str, seconds: u64) -> Result<bool> {
    let dir = root().join("fuzz");
    let learned = dir.join("target/corpus").join(target);
    let found = dir.join("target/artifacts");
    fs::create_dir_all(&learned)?;
    fs::create_dir_all(&found)?;
    let prefix = found.join(format!("{target}-"));
    let log = dir.join("target").join(format!("{target}.log"));
    let status = Command::new(program)
        .env("FUZZ_TARGET", target)
        .arg(&learned)
        .arg(dir.join("corpus").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LENGTH_MAX}"))
        .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}", prefix.display()))
        .stderr(fs::File::create(&log)?)
        .status()
        .with_context(|| program.display().to_string())?;
    let said = fs::read(&log).map(|text| String::from_utf8_lossy(&text).into_owned())?;
    let telling = ["panicked at", "SUMMARY:", "Test unit written", "number_of_executed_units"];
    for line in said.lines().filter(|line| telling.iter().any(|words| line.contains(words))) {
        println!("  {line}");
    }
    Ok(status.success())
}
