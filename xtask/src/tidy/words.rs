//! Words: the glossary of ARCHITECTURE.md says what each means, and which names stand for it no more.

use super::{is_below, source::Source};

/// Where prose is held to the rule: what every area stands on. Tests may quote.
const PROSE: [&str; 9] = [
    "src/admin/",
    "src/agent/",
    "src/api/",
    "src/cli/",
    "src/config/",
    "src/reconcile/",
    "src/services/",
    "src/source/",
    "xtask/src/",
];
/// No sentence is about them: its subject is the thing that acts or is acted upon. (In two parts: this
/// file is held to its rule.)
const SUBJECTS: [(&str, &str); 3] = [("who", "ever"), ("no", "body"), ("some", "body")];

/// Names that the glossary replaces: those in backticks in the last column of its rows.
pub(super) fn replaced(glossary: &str) -> Vec<String> {
    let table = glossary.split("\n## ").find(|section| section.starts_with("Words"));
    let rows = table.unwrap_or_default().lines().filter(|line| line.starts_with("| "));
    let last = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    last.flat_map(|column| column.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Types and functions that have a name of the glossary's last column.
pub(super) fn names(sources: &[Source], replaced: &[String]) -> Vec<String> {
    if replaced.is_empty() {
        return vec!["ARCHITECTURE.md: its section Words has no table of words".to_owned()];
    }
    let mut findings = Vec::new();
    for source in sources {
        for name in replaced {
            for at in source.words(name).filter(|at| is_definition(source, *at)) {
                let place = source.place(at);
                findings.push(format!(
                    "{place}: `{name}`: ARCHITECTURE.md (Words) has the word for it"
                ));
            }
        }
    }
    findings
}

fn is_definition(source: &Source, at: usize) -> bool {
    let before = source.code[..at].trim_end();
    let keyword = before.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    ["struct", "enum", "trait", "type", "fn", "mod"].contains(&keyword)
}

/// Comments and messages whose subject is a person that there may not be.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let held = |source: &&Source| {
        !source.is_test() && PROSE.iter().any(|path| is_below(&source.name, path))
    };
    let mut findings = Vec::new();
    for source in sources.iter().filter(held) {
        for (line, text) in source.text.lines().enumerate() {
            if text.trim_start().starts_with("#[cfg(test)]") {
                break;
            }
            let words = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
            for word in
                words.filter(|word| SUBJECTS.iter().any(|(a, b)| *word == format!("{a}{b}")))
            {
                let (name, line) = (&source.name, line + 1);
                findings.push(format!("{name}:{line}: {word}: name the thing that acts"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOSSARY: &str = "# A\n\n| `Kept` | x |\n\n## Words\n\n| word | means | not |\n|---|---|---|\n\
                            | fixture | set up by a test | `Desk`, `Bench` |\n| send | x | `tell` |\n\n\
                            ## B\n\n| `Other` |\n";

    #[test]
    fn a_name_that_the_glossary_replaces_is_found() {
        let replaced = replaced(GLOSSARY);
        assert_eq!(replaced, ["Desk", "Bench", "tell"]);
        let planted = "struct Desk;\nfn tell() {}\n// struct Bench;\nfn f() { Bench::tell(); }\n";
        let found = names(&[Source::new("src/a.rs", planted)], &replaced);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("src/a.rs:1: `Desk`"), "{found:?}");
        assert!(found[1].starts_with("src/a.rs:2: `tell`"), "{found:?}");
        assert_eq!(names(&[], &[]).len(), 1, "a glossary that is gone is found too");
    }

    #[test]
    fn a_sentence_about_a_person_is_found() {
        let word = ["No", "body"].concat();
        let planted = format!("//! {word} looks.\nfn f() {{}}\n#[cfg(test)]\n// {word}\n");
        let found = check(&[Source::new("src/admin/a.rs", &planted)]);
        assert_eq!(
            found,
            [format!("src/admin/a.rs:1: {}: name the thing that acts", word.to_lowercase())]
        );
        assert_eq!(check(&[Source::new("src/dns/a.rs", &planted)]), [""; 0]);
        assert_eq!(check(&[Source::new("src/admin/tests.rs", &planted)]), [""; 0]);
    }
}
