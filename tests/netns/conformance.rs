//! `tests/conformance.toml`: what the official tests check, and which test here shows it.

use std::{collections::BTreeSet, fs, path::Path};

const MAP: &str = include_str!("../conformance.toml");
/// Rows of the official list; one that gets lost is noticed.
const ROWS: usize = 80;

/// Title, key (`test`, `packets`, `elsewhere`, `missing`), value.
fn rows() -> Vec<(String, String, String)> {
    let lines = MAP.lines().filter(|line| line.starts_with('"'));
    let parsed = lines.map(|line| {
        let (title, rest) = line[1..].split_once("\" = { ").unwrap();
        let (key, value) = rest.strip_suffix("\" }").unwrap().split_once(" = \"").unwrap();
        (title.to_owned(), key.to_owned(), value.to_owned())
    });
    parsed.collect()
}

/// Tests of this suite as `file::name`: functions that follow `#[test]`.
fn tests() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/netns");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut is_test = false;
        for line in fs::read_to_string(&path).unwrap().lines() {
            if let Some(name) = line.strip_prefix("fn ").filter(|_| is_test) {
                found.insert(format!("{file}::{}", name.split('(').next().unwrap()));
            }
            is_test = line == "#[test]" || (is_test && line.starts_with("#["));
        }
    }
    found
}

#[test]
fn every_official_title_is_mapped_to_a_test_that_exists_or_to_a_reason() {
    let (rows, tests) = (rows(), tests());
    assert!(tests.contains("conformance::rows_are_told_apart"), "{tests:?}");
    let titles: BTreeSet<&str> = rows.iter().map(|(title, ..)| title.as_str()).collect();
    assert_eq!((titles.len(), rows.len()), (ROWS, ROWS), "every title once");
    for (title, key, value) in &rows {
        match key.as_str() {
            "test" => assert!(tests.contains(value), "{title}: there is no test {value}"),
            "packets" | "elsewhere" | "missing" => {
                assert!(value.len() > 12, "{title}: a reason has words");
            }
            other => panic!("{title}: {other} is no way to map a title"),
        }
    }
}

#[test]
fn rows_are_told_apart() {
    let shown = rows().iter().filter(|(_, key, _)| key == "test").count();
    assert!(shown * 2 > ROWS, "most rows are shown here: {shown} of {ROWS}");
}
