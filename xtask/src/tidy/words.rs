//! Words: the glossary of ARCHITECTURE.md says what each means, and which names stand for it no more.

use super::source::Source;

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

/// Comments, messages and names whose subject is a person that there may not be: in tests, too.
pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        for (line, text) in source.text.lines().enumerate() {
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
        let planted = format!("//! {word} looks.\nfn f() {{}}\n");
        for name in ["src/admin/a.rs", "proxy/tests/a.rs"] {
            let found = check(&[Source::new(name, &planted)]);
            let word = word.to_lowercase();
            assert_eq!(found, [format!("{name}:1: {word}: name the thing that acts")]);
        }
    }
}
