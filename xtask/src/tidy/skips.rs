//! A test runs, or says that it needs root: nothing passes by not running.

use std::ops::Range;

use super::source::{Function, Source};

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let findings = |source: &Source| {
        let mut findings = ignored(source);
        findings.extend(early_returns(source));
        findings
    };
    sources.iter().flat_map(findings).collect()
}

fn ignored(source: &Source) -> Vec<String> {
    let accepted = "#[ignore = \"needs root\"]";
    let attributes = source.code.match_indices("#[ignore").map(|(at, _)| at);
    let others = attributes.filter(|at| !source.text[*at..].starts_with(accepted));
    let finding = |at| {
        let place = source.place(at);
        format!("{place}: the only accepted reason to ignore a test is \"needs root\"")
    };
    others.map(finding).collect()
}

/// A test that returns has passed, whatever it has left out.
fn early_returns(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    let functions = source.functions();
    for at in source.words("return") {
        let around = functions.iter().filter(|f| f.body.contains(&at));
        let Some(inner) = around.max_by_key(|f| f.body.start) else { continue };
        if source.code[at..].trim_start_matches("return").trim_start().starts_with("Err(") {
            continue; // a failure
        }
        if is_test(source, inner) && leaves(source, inner, at) {
            let place = source.place(at);
            findings.push(format!(
                "{place}: {} returns early and so passes: let it fail, or take the case out of it",
                inner.name
            ));
        }
    }
    findings
}

fn is_test(source: &Source, function: &Function<'_>) -> bool {
    let attributes = source.attributes(function.span.start);
    ["#[test]", "#[tokio::test"].iter().any(|attribute| attributes.contains(attribute))
}

/// Does a `return` end the function, and not a closure or an async block in it?
fn leaves(source: &Source, function: &Function<'_>, at: usize) -> bool {
    let inner = source.around(at).filter(|block| block.start > function.body.start);
    let own = source.code[..at].rfind(['{', '}', ';']).map_or(0, |end| end + 1);
    let of_a_closure = opens_closure(&source.code[own..at]);
    !of_a_closure && !inner.into_iter().any(|block| is_deferred(source, block))
}

/// Is a block the body of a closure or async block, or within its expression?
fn is_deferred(source: &Source, block: &Range<usize>) -> bool {
    let head = source.head(block);
    let is_async = head.ends_with("async") || head.ends_with("async move");
    // The branches of one `if` have the head of the first.
    let of_if =
        head.starts_with("else") && source.before(block).is_some_and(|b| is_deferred(source, b));
    is_async || of_if || opens_closure(head)
}

/// Does a closure's list of parameters stand in it? A bar after a value is an operator or a pattern.
fn opens_closure(code: &str) -> bool {
    code.match_indices('|').any(|(at, _)| {
        let before = code[..at].trim_end();
        before.is_empty()
            || before.ends_with(['(', ',', '=', '['])
            || before.ends_with("=>")
            || before.split(|c: char| !c.is_alphanumeric()).next_back() == Some("move")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        check(&[Source::new("tests/a.rs", text)])
    }

    #[test]
    fn a_test_that_is_ignored_for_another_reason_is_found() {
        assert_eq!(found("#[ignore = \"needs root\"]\nfn f() {}\n"), [""; 0]);
        assert_eq!(found("#[ignore = \"slow\"]\nfn f() {}\n").len(), 1);
        assert_eq!(found("#[test]\n#[ignore]\nfn f() {}\n").len(), 1);
        assert_eq!(found("// #[ignore]\nfn f() {}\n"), [""; 0]);
    }

    #[test]
    fn a_test_that_returns_early_is_found() {
        let skipped = "#[test]\n#[ignore = \"needs root\"]\nfn f() {\n    if !has() {\n        \
                       println!(\"skipped\");\n        return;\n    }\n    assert!(g());\n}\n";
        let words =
            "tests/a.rs:6: f returns early and so passes: let it fail, or take the case out of it";
        assert_eq!(found(skipped), [words]);
        let in_else = "#[tokio::test(start_paused = true)]\nasync fn f() {\n    \
                       let Some(x) = y else { return };\n}\n";
        assert_eq!(found(in_else).len(), 1);
        let with_answer =
            "#[test]\nfn f() -> R {\n    if a || b {\n        return Ok(());\n    }\n}\n";
        assert_eq!(found(with_answer).len(), 1);
    }

    #[test]
    fn what_fails_or_returns_from_something_else_is_no_finding() {
        let fails = "#[test]\nfn f() -> R {\n    if a {\n        return Err(e);\n    }\n}\n";
        assert_eq!(found(fails), [""; 0]);
        let helper = "fn f() {\n    return;\n}\n";
        let closures = "#[test]\nfn f() {\n    let a = |x| {\n        return x;\n    };\n    \
                        spawn(move || loop {\n        return;\n    });\n    \
                        g(async move { return });\n    h(|ask| match ask {\n        A | B => return 1,\n        \
                        _ => 2,\n    });\n    i(|a| if a { 1 } else { return 2 });\n    \
                        fn inner() {\n        return;\n    }\n}\n";
        assert_eq!(found(helper), [""; 0]);
        assert_eq!(found(closures), [""; 0]);
    }
}
