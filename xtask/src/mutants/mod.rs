//! `cargo xtask mutants`: lines changed for the worse, and the tests that must find them.
//!
//! Each patch below tests/mutants/ makes one mistake, and its header names the command that must turn
//! red. A patch that stays green shows a promise that no test keeps.

mod patch;
mod tree;

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Result, bail};

pub(crate) use self::patch::check;
use self::{patch::Patch, tree::Tree};
use crate::suite::is_root;

#[derive(clap::Args)]
pub(crate) struct MutantsArgs {
    /// Only patches whose names contain one of these (default: all)
    names: Vec<String>,
}

/// What a command came to.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    /// Every test passed, so many.
    Green(u64),
    /// Tests failed, these among others.
    Red(String),
    /// No test ran, and why.
    Broken(String),
}

pub(crate) fn run(args: &MutantsArgs) -> Result<()> {
    let mut patches = patch::all()?;
    if !args.names.is_empty() {
        patches.retain(|patch| args.names.iter().any(|name| patch.name.contains(name)));
    }
    if patches.is_empty() {
        bail!("tests/mutants has no such patch");
    }
    if patches.iter().any(Patch::needs_root) && !is_root()? {
        bail!("some of these need root: name others, or run as root");
    }
    let tree = Tree::prepare()?;
    let mut green = BTreeMap::new();
    let mut wrong = Vec::new();
    for patch in &patches {
        let began = Instant::now();
        // A suite that is red anyway finds everything.
        let before = match green.get(&patch.red) {
            Some(known) => Clone::clone(known),
            None => tree.run(&patch.red)?,
        };
        green.insert(patch.red.clone(), before.clone());
        let found = match before {
            Outcome::Green(_) => judge(&tree, patch)?,
            Outcome::Red(test) => Err(format!("its command is red without it ({test})")),
            Outcome::Broken(why) => Err(format!("its command runs no test without it: {why}")),
        };
        let seconds = began.elapsed().as_secs();
        match found {
            Ok(test) => println!("red    {}: {test} ({seconds} s)", patch.name),
            Err(why) => {
                println!("WRONG  {}: {why} ({seconds} s)", patch.name);
                wrong.push(patch.name.as_str());
            }
        }
    }
    println!("{} mutants, {} found by the tests", patches.len(), patches.len() - wrong.len());
    if !wrong.is_empty() {
        bail!("not as their headers say: {}", wrong.join(", "));
    }
    Ok(())
}

/// Applies a patch and runs its command; answers a test that found it.
fn judge(tree: &Tree, patch: &Patch) -> Result<Result<String, String>> {
    if let Err(why) = tree.apply(patch)? {
        return Ok(Err(format!("it does not apply: {why}")));
    }
    let outcome = tree.run(&patch.red);
    tree.restore()?;
    Ok(match outcome? {
        Outcome::Red(test) => Ok(test),
        Outcome::Green(passed) => Err(format!("{passed} tests pass: {}", patch.what)),
        Outcome::Broken(why) => Err(why),
    })
}
