//! What a file of `src/` imports: other top modules, and crates of the workspace.

use std::ops::Range;

use super::source::Source;

/// A mention of something outside the file's own top module.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Import {
    pub(super) at: usize,
    /// A top module (`admin`) or a crate (`towpath_proxy`).
    pub(super) of: String,
}

/// The top module that a file of `src/` belongs to; the crates' own roots belong to none.
pub(super) fn top(name: &str) -> Option<&str> {
    let first = name.strip_prefix("src/")?.split('/').next()?;
    let top = first.strip_suffix(".rs").unwrap_or(first);
    (!["lib", "main"].contains(&top)).then_some(top)
}

/// Every import of a file, in `use` and in paths.
pub(super) fn imports(source: &Source) -> Vec<Import> {
    let uses: Vec<Range<usize>> =
        source.words("use").filter_map(|at| statement(source, at)).collect();
    let mut found = Vec::new();
    for statement in &uses {
        let mut paths = Vec::new();
        expand("", &source.code[statement.clone()], &mut paths);
        let resolved = paths.iter().filter_map(|path| resolve(source, statement.start, path));
        found.extend(resolved.map(|of| Import { of, at: statement.start }));
    }
    let outside = |at: &usize| !uses.iter().any(|statement| statement.contains(at));
    for at in starts(source).filter(outside) {
        let length =
            source.code[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        let path = &source.code[at..][..length.unwrap_or(source.code.len() - at)];
        found.extend(resolve(source, at, path).map(|of| Import { of, at }));
    }
    found.sort();
    found
}

/// What stands between `use` and its semicolon.
fn statement(source: &Source, at: usize) -> Option<Range<usize>> {
    let start = at + "use".len();
    let length = source.code[start..].find(';')?;
    Some(start..start + length)
}

/// Where paths begin that may lead outside.
fn starts(source: &Source) -> impl Iterator<Item = usize> + '_ {
    let inner = source.words("crate").chain(source.words("super"));
    let crates = source.code.match_indices("towpath_").map(|(at, _)| at);
    let begins = |at: &usize| {
        let before = &source.code[..*at];
        !before.ends_with("::") && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    inner.chain(crates).filter(begins)
}

/// The paths of a tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn expand(before: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((path, rest)) = tree.split_once('{') else {
        let path = tree.split_whitespace().next().unwrap_or_default();
        paths.push(format!("{before}{path}"));
        return;
    };
    let before = format!("{before}{}", path.trim());
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut depth, mut from) = (0_i32, 0);
    for (at, c) in inside.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            expand(&before, &inside[from..at], paths);
            from = at + 1;
        }
    }
    if !inside[from..].trim().is_empty() {
        expand(&before, &inside[from..], paths);
    }
}

/// The top module or crate that a path leads to, if it leaves the file's own.
fn resolve(source: &Source, at: usize, path: &str) -> Option<String> {
    let segments: Vec<&str> = path.split("::").filter(|segment| *segment != "self").collect();
    let supers = segments.iter().take_while(|segment| **segment == "super").count();
    let first = *segments.first()?;
    let of = if first.starts_with("towpath_") {
        first
    } else if first == "crate" {
        segments.get(1)?
    } else if supers > 0 && supers >= depth(source, at) {
        segments.get(supers)?
    } else {
        return None;
    };
    (Some(of) != top(&source.name)).then(|| of.to_owned())
}

/// How many modules a position is below the crate's root.
fn depth(source: &Source, at: usize) -> usize {
    let path = source.name.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod");
    let files = if path == "lib" { 0 } else { path.split('/').count() };
    let inline = source.around(at).filter(|block| {
        let mut words = source.head(block).split_whitespace().rev().skip(1);
        words.next() == Some("mod")
    });
    files + inline.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> Vec<String> {
        imports(&Source::new(name, text)).into_iter().map(|import| import.of).collect()
    }

    #[test]
    fn imports_are_found_however_they_are_written() {
        let text = "use crate::{admin::{api, Metrics}, config};\nuse super::super::agent::run;\n\
                    use super::{wake, super::source::Feed};\nuse towpath_proxy::Layout;\n\
                    fn f() -> towpath_ebpf::Peers { crate::cli::main(crate::reconcile::x) }\n\
                    // crate::comment\n";
        let all =
            ["admin", "admin", "config", "agent", "source", "towpath_proxy", "towpath_ebpf", "cli"];
        let mut all = all.map(str::to_owned);
        all.sort();
        let mut some = found("src/reconcile/state.rs", text);
        some.sort();
        assert_eq!(some, all);
    }

    #[test]
    fn a_test_module_is_a_level_of_its_own() {
        let text =
            "use super::http;\n#[cfg(test)]\nmod tests {\n    use super::{api, super::agent};\n}\n";
        assert_eq!(found("src/admin/mod.rs", text), ["http", "agent"]);
        assert_eq!(found("src/admin/ports.rs", text), [""; 0]);
        assert_eq!(found("src/admin.rs", "use super::state_file::x;\n"), ["state_file"]);
    }
}
