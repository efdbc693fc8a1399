//! How long files and functions may be.

use std::path::Path;

use super::source::Source;

/// Longest allowed source file, in lines (tests excluded).
const FILE_LINES: usize = 600;
/// Longest allowed `lib.rs` and `main.rs`.
const LIB_LINES: usize = 120;
const MAIN_LINES: usize = 60;
/// Longest allowed function, from `fn` to its closing brace, in tests as well.
const FUNCTION_LINES: usize = 70;

/// A function that was longer when the rule came: file, function, lines.
type Longer = (&'static str, &'static str, usize);

/// The ratchet: these may only shrink, and their rows with them; no row may be added or raised.
const LONGER: &[Longer] = &[
    ("model/src/synth/defaults.rs", "what_is_left_out_has_the_default_of_the_api", 108),
    ("model/tests/rules.rs", "anything", 73),
    ("proxy/tests/rules.rs", "which_slices_and_endpoints_count", 79),
    ("proxy/tests/rules.rs", "which_endpoints_are_chosen", 73),
    ("proxy/tests/rules.rs", "where_frontends_are", 95),
    ("src/config/tests.rs", "messages_say_what_where_why_and_what_next", 76),
    ("src/source/manifests/mod.rs", "run", 77),
    ("src/services/metrics.rs", "new", 80),
    (
        "src/source/manifests/tests/by_hand.rs",
        "a_field_of_a_wrong_type_is_said_and_nothing_is_given_in_its_place",
        75,
    ),
];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut findings: Vec<_> = sources.iter().filter_map(file).collect();
    findings.extend(functions(sources, LONGER));
    findings
}

fn file(source: &Source) -> Option<String> {
    let name = &source.name;
    if source.is_test() {
        return None;
    }
    let lines = source.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let limit = match Path::new(name).file_name()?.to_str()? {
        "lib.rs" => LIB_LINES,
        "main.rs" if name == "src/main.rs" => MAIN_LINES,
        _ => FILE_LINES,
    };
    (lines > limit).then(|| format!("{name}: {lines} lines, limit {limit}: are there two ideas?"))
}

fn functions(sources: &[Source], longer: &[Longer]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut needed = vec![false; longer.len()];
    for source in sources {
        for function in source.functions() {
            let first = source.line(function.span.start);
            let lines = source.line(function.span.end) - first + 1;
            if lines <= FUNCTION_LINES {
                continue;
            }
            let known = longer
                .iter()
                .position(|(file, name, _)| *file == source.name && *name == function.name);
            let limit = known.map_or(FUNCTION_LINES, |row| longer[row].2);
            let place = format!("{}:{first}: fn {}", source.name, function.name);
            if lines > limit {
                findings.push(format!("{place} has {lines} lines, limit {limit}: take it apart"));
            } else if lines < limit {
                findings.push(format!(
                    "{place} has shrunk to {lines} lines: write that in its row in tidy's LONGER"
                ));
            }
            if let Some(row) = known {
                needed[row] = true;
            }
        }
    }
    for ((file, name, _), _) in longer.iter().zip(&needed).filter(|(_, needed)| !**needed) {
        findings.push(format!(
            "{file}: fn {name} needs its row in tidy's LONGER no more: remove the row"
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function of so many lines.
    fn long(name: &str, lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    a();\n".repeat(lines - 2))
    }

    fn found(text: &str, longer: &[Longer]) -> Vec<String> {
        functions(&[Source::new("src/a.rs", text)], longer)
    }

    #[test]
    fn a_long_file_is_found() {
        let lines = |count| "a();\n".repeat(count);
        let judge = |name: &str, text: &str| Vec::from_iter(file(&Source::new(name, text)));
        assert_eq!(judge("src/a.rs", &lines(600)), [""; 0]);
        let words = "src/a.rs: 601 lines, limit 600: are there two ideas?";
        assert_eq!(judge("src/a.rs", &lines(601)), [words]);
        assert_eq!(judge("model/src/lib.rs", &lines(121)).len(), 1);
        assert_eq!(judge("src/main.rs", &lines(61)).len(), 1);
        let tested = format!("{}#[cfg(test)]\n{}", lines(600), lines(600));
        assert_eq!(judge("src/a.rs", &tested), [""; 0], "tests do not count");
        assert_eq!(judge("src/a/tests.rs", &lines(900)), [""; 0], "tests do not count");
    }

    #[test]
    fn a_long_function_is_found() {
        assert_eq!(found(&long("f", 70), &[]), [""; 0]);
        let words = "src/a.rs:1: fn f has 71 lines, limit 70: take it apart";
        assert_eq!(found(&long("f", 71), &[]), [words]);
        let method = format!("impl A {{\n    /// Text.\n    #[test]\n    {}}}\n", long("g", 71));
        let words = "src/a.rs:4: fn g has 71 lines, limit 70: take it apart";
        assert_eq!(found(&method, &[]), [words]);
    }

    #[test]
    fn a_longer_function_may_only_shrink() {
        const ROW: &[Longer] = &[("src/a.rs", "f", 80)];
        assert_eq!(found(&long("f", 80), ROW), [""; 0]);
        let grew = found(&long("f", 81), ROW);
        assert_eq!(grew, ["src/a.rs:1: fn f has 81 lines, limit 80: take it apart"]);
        let shrank = found(&long("f", 75), ROW);
        assert!(shrank.len() == 1 && shrank[0].contains("has shrunk to 75 lines"), "{shrank:?}");
        let ended = found(&long("f", 70), ROW);
        assert!(ended.len() == 1 && ended[0].contains("remove the row"), "{ended:?}");
        assert_eq!(found(&long("g", 80), ROW).len(), 2, "another one, and the row of none");
    }
}
