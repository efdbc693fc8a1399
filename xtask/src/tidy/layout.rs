//! How files are named, begun and reached.

use std::{collections::BTreeSet, path::Path};

use super::source::Source;

/// Names that say nothing: what is in such a file is anything.
const EMPTY: [&str; 7] = ["util", "utils", "common", "helper", "helpers", "manager", "misc"];

/// Roots that a manifest names by their path.
const ROOTS: [&str; 3] =
    ["ebpf/kern/src/packets.rs", "ebpf/kern/src/pods.rs", "ebpf/kern/src/sockets.rs"];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut findings: Vec<_> = sources.iter().filter_map(name).collect();
    findings.extend(sources.iter().filter_map(head));
    findings.extend(dead(sources));
    findings
}

fn name(source: &Source) -> Option<String> {
    let mut words = source.name.trim_end_matches(".rs").split('/');
    let word = words.rfind(|word| EMPTY.contains(word))?;
    Some(format!("{}: {word} says nothing: name it by what is in it", source.name))
}

/// A module begins with what it is for. Tests stand beside what they test.
fn head(source: &Source) -> Option<String> {
    let known = source.name.ends_with("/tests.rs") || source.text.starts_with("//!");
    (!known).then(|| format!("{}: no `//!` says what the module is for", source.name))
}

/// Files that no `mod` reaches: the compiler does not see them, so nothing in them is true.
fn dead(sources: &[Source]) -> Vec<String> {
    let mut reached = BTreeSet::new();
    for source in sources {
        let folder = Path::new(&source.name).parent().unwrap_or(Path::new(""));
        let below = source.name.trim_end_matches(".rs");
        for at in source.words("mod") {
            let name = source.code[at + "mod".len()..].split(';').next().unwrap_or_default().trim();
            let line = source.text[..at].rfind('\n').map_or(0, |end| end + 1);
            let above = source.text[..line].lines().next_back().unwrap_or_default();
            if let Some(path) = above.trim().strip_prefix("#[path = \"") {
                let path = folder.join(path.trim_end_matches("\"]"));
                reached.insert(plain(&path));
            }
            for base in [folder, Path::new(below)] {
                reached.insert(plain(&base.join(format!("{name}.rs"))));
                reached.insert(plain(&base.join(name).join("mod.rs")));
            }
        }
    }
    let others = sources.iter().filter(|s| !is_root(&s.name) && !reached.contains(&s.name));
    others.map(|s| format!("{}: no `mod` reaches this file: it is not compiled", s.name)).collect()
}

/// Does cargo find it by its place?
fn is_root(name: &str) -> bool {
    let parts: Vec<_> = name.rsplit('/').collect();
    let known = ["lib.rs", "main.rs", "build.rs"].contains(&parts[0]);
    let folder = parts.get(1).is_some_and(|folder| ["tests", "bin", "examples"].contains(folder));
    // A folder of tests below `src/` is no package's.
    known
        || (folder && !name.contains("/src/") && !name.starts_with("src/"))
        || ROOTS.contains(&name)
}

/// A path without `..`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path {
        match part.to_str() {
            Some("..") => drop(parts.pop()),
            part => parts.extend(part.map(str::to_owned)),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = files.iter().map(|(name, text)| Source::new(name, text)).collect();
        check(&sources)
    }

    #[test]
    fn a_name_that_says_nothing_is_found() {
        let root = ("src/lib.rs", "//! Text.\nmod utils;\nmod helpful;\n");
        let found = found(&[root, ("src/utils/mod.rs", "//! x\n"), ("src/helpful.rs", "//! x\n")]);
        assert!(
            found.len() == 1 && found[0].starts_with("src/utils/mod.rs: utils says"),
            "{found:?}"
        );
    }

    #[test]
    fn a_module_without_a_head_is_found() {
        let root = ("src/lib.rs", "//! Text.\nmod a;\nmod b { mod tests; }\n");
        let found = found(&[root, ("src/a.rs", "use x;\n"), ("src/b/tests.rs", "use x;\n")]);
        assert!(found.len() <= 2 && found[0].starts_with("src/a.rs: no `//!`"), "{found:?}");
    }

    #[test]
    fn a_file_that_is_not_compiled_is_found() {
        let files = [
            ("src/lib.rs", "//! x\nmod a;\n// mod dead;\n"),
            ("src/a/mod.rs", "//! x\n#[cfg(test)]\nmod tests;\n"),
            ("src/a/tests.rs", "mod refused;\n"),
            ("src/a/tests/refused.rs", "//! x\n"),
            ("src/dead.rs", "//! x\n"),
            (
                "tests/sim.rs",
                "//! x\n#[path = \"../proxy/tests/reference/world.rs\"]\nmod world;\n",
            ),
            ("proxy/tests/reference/world.rs", "//! x\n"),
            ("proxy/tests/reference/orphan.rs", "//! x\n"),
        ];
        let words = ["proxy/tests/reference/orphan.rs: no `mod`", "src/dead.rs: no `mod`"];
        let mut found = found(&files);
        found.sort();
        assert_eq!(found.len(), words.len(), "{found:?}");
        assert!(
            found.iter().zip(words).all(|(finding, word)| finding.starts_with(word)),
            "{found:?}"
        );
    }
}
