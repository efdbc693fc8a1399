//! Scenarios: manifests in, tables out, one behaviour a file, readable without Rust.
//!
//! `tests/scenarios/README.md` says how a file is written. `TOWPATH_BLESS=1` rewrites what files
//! expect; the diff is the review.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

#[path = "scenarios/dump.rs"]
mod dump;
#[path = "daemon/fixture.rs"]
mod fixture;
#[path = "scenarios/node.rs"]
mod node;
#[path = "scenarios/script.rs"]
mod script;
#[path = "daemon/start.rs"]
mod start;

use std::{
    fs,
    path::{Path, PathBuf},
};

use node::Node;
use script::{Script, Section};

/// Runs one file; answers what its expectations should say.
fn play(script: &Script) -> Script {
    let mut node = Node::new(script.capacities());
    let sections = script.sections.iter().map(|section| {
        let body = match section.name.as_str() {
            "maps" => section.body.clone(),
            "apply" | "delete" | "list" | "restart" | "hear" => {
                node.act(&section.name, &section.argument, &section.body);
                section.body.clone()
            }
            "tables" => node.tables(),
            "nodes" => node.nodes(),
            "problems" => node.problems(),
            "writes" => node.writes(),
            "health checks" => node.health_checks(),
            "asks" => asks(&node, &section.body),
            other => panic!("no such section: {other}"),
        };
        Section { body, ..section.clone() }
    });
    Script { head: script.head.clone(), sections: sections.collect() }
}

/// Each line is a question, and after `=>` its answer.
fn asks(node: &Node, body: &str) -> String {
    let question = |line: &str| line.split("=>").next().unwrap_or_default().trim_end().to_owned();
    let questions: Vec<String> = body.lines().map(question).collect();
    let width = questions.iter().map(String::len).max().unwrap_or_default();
    let answer = |question: &String| format!("{question:width$} => {}\n", node.ask(question));
    questions.iter().map(answer).collect()
}

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

#[test]
fn every_scenario_ends_as_it_says() {
    let bless = std::env::var_os("TOWPATH_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        let script = Script::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let found = play(&script).to_string();
        if bless {
            fs::write(&path, &found).unwrap();
        } else if found != text {
            wrong.push(format!("{}\n{}", path.display(), script::difference(&text, &found)));
        }
    }
    assert!(
        wrong.is_empty(),
        "not as expected (-), but (+); TOWPATH_BLESS=1 rewrites\n\n{}",
        wrong.join("\n")
    );
}

#[test]
fn there_are_scenarios_and_each_says_what_it_shows() {
    let files = files();
    assert!(files.len() >= 25, "{}", files.len());
    for path in files {
        let script = Script::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        let expects = script.sections.iter().filter(|section| section.is_expectation());
        assert!(expects.clone().count() > 0, "{} expects nothing", path.display());
        assert!(expects.clone().all(|s| !s.body.trim().is_empty()), "{}: bless it", path.display());
        assert!(script.head.starts_with("# "), "{} does not say what it shows", path.display());
    }
}

#[test]
fn a_wrong_expectation_is_found() {
    let text = "# x\n-- asks --\npod tcp 10.96.0.1:80 => refused\n";
    let script = Script::parse(text).unwrap();
    let found = play(&script).to_string();
    assert_ne!(found, text);
    let said = script::difference(text, &found);
    assert!(said.contains("-pod tcp 10.96.0.1:80 => refused\n"), "{said}");
    assert!(said.contains("+pod tcp 10.96.0.1:80 => not a Service: left alone\n"), "{said}");
}
