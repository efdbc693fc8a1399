//! Every row of `conformance.toml` names a test that exists, or says what it waits for.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_title_has_a_test_that_exists_or_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let checks = read("src/cli/demo/checks.txt");
    let checks: BTreeSet<&str> = checks.lines().collect();
    let list = read("tests/conformance.toml");
    let value = |row: &str, key: &str| {
        let line = row.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let mut titles = BTreeSet::new();
    for row in list.split("[[row]]").skip(1) {
        let title = value(row, "title").unwrap();
        assert!(titles.insert(title.clone()), "{title} is there twice");
        match (value(row, "test"), value(row, "packets")) {
            (Some(test), None) => match test.strip_prefix("demo: ") {
                Some(check) => assert!(checks.contains(check), "{title}: no check {check:?}"),
                None => {
                    let (file, function) = test.rsplit_once("::").unwrap();
                    let path = if file.contains('/') {
                        file.to_owned()
                    } else {
                        format!("tests/netns/{file}.rs")
                    };
                    let found = read(&path).contains(&format!("fn {function}()"));
                    assert!(found, "{title}: no test {function} in {path}");
                }
            },
            (None, Some(reason)) => assert!(!reason.is_empty(), "{title}"),
            (None, None) | (Some(_), Some(_)) => {
                unreachable!("{title}: a test or a reason, one of the two")
            }
        }
    }
    assert!(titles.len() > 30, "{}", titles.len());
}
