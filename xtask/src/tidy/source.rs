//! A Rust file as tidy reads it: its text, and its code without comments and literals.
//!
//! A scanner, no parser: it knows comments, literals and braces, and takes the rest as rustfmt leaves
//! it. That suffices for rules about lines, names and blocks, and needs no dependency.

use std::ops::Range;

/// One file.
pub(super) struct Source {
    /// Its path from the root of the repository.
    pub(super) name: String,
    pub(super) text: String,
    /// `text` with comments and the contents of literals blanked out; byte for byte as long.
    pub(super) code: String,
    /// Each `{` of `code` and the `}` that closes it, by position.
    blocks: Vec<Range<usize>>,
}

/// A function with a body.
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    /// From `fn` to the closing brace.
    pub(super) span: Range<usize>,
    /// From the opening brace to the closing one.
    pub(super) body: Range<usize>,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let code = blank(text);
        let blocks = blocks(&code);
        Self { name: name.to_owned(), text: text.to_owned(), code, blocks }
    }

    /// Is all of it tests?
    pub(super) fn is_test(&self) -> bool {
        let name = &self.name;
        let in_tests = name.starts_with("tests/") || name.contains("/tests/");
        in_tests || name.ends_with("/tests.rs") || name.ends_with("/fixture.rs")
    }

    /// Number of the line of a position.
    pub(super) fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// `FILE:LINE` of a position.
    pub(super) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.name, self.line(at))
    }

    /// Positions where a word stands by itself.
    pub(super) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let of_word = |c: char| c.is_alphanumeric() || c == '_';
        self.code.match_indices(word).map(|(at, _)| at).filter(move |at| {
            !self.code[..*at].ends_with(of_word)
                && !self.code[at + word.len()..].starts_with(of_word)
        })
    }

    /// The block that opens at a position.
    fn block(&self, open: usize) -> Option<Range<usize>> {
        let found = self.blocks.binary_search_by_key(&open, |block| block.start).ok()?;
        self.blocks.get(found).cloned()
    }

    /// The blocks around a position, the innermost last.
    pub(super) fn around(&self, at: usize) -> impl Iterator<Item = &Range<usize>> {
        self.blocks.iter().filter(move |block| block.start < at && at < block.end)
    }

    /// What stands before a block, back to the end of what is before: `if x`, `fn f()`, `else`.
    pub(super) fn head(&self, block: &Range<usize>) -> &str {
        let before = &self.code[..block.start];
        let from = before.rfind(['{', '}', ';']).map_or(0, |at| at + 1);
        before[from..].trim()
    }

    /// The block that an `else` belongs to.
    pub(super) fn before(&self, block: &Range<usize>) -> Option<&Range<usize>> {
        let end = self.code[..block.start].rfind('}')?;
        self.blocks.iter().find(|other| other.end == end + 1)
    }

    /// Functions with a body, in order.
    pub(super) fn functions(&self) -> Vec<Function<'_>> {
        let functions = self.words("fn").filter_map(|at| {
            let rest = &self.code[at + 2..];
            let name = rest.trim_start();
            let length = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
            let name = Some(&name[..length]).filter(|name| !name.is_empty())?;
            // A body, or the semicolon of a declaration: neither stands in a signature, but for
            // the semicolon of an array's length.
            let mut depth = 0_i32;
            let open = rest.char_indices().find_map(|(at, c)| {
                depth += i32::from(matches!(c, '(' | '[')) - i32::from(matches!(c, ')' | ']'));
                (depth == 0 && matches!(c, '{' | ';')).then_some(at)
            })?;
            let body = self.block(at + 2 + open)?;
            Some(Function { name, span: at..body.end, body })
        });
        functions.collect()
    }

    /// Attributes that stand right before a position, as one text.
    pub(super) fn attributes(&self, at: usize) -> String {
        let line = self.code[..at].rfind('\n').map_or(0, |end| end + 1);
        let lines: Vec<_> = self.code[..line].lines().rev().collect();
        let above = lines.iter().take_while(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with("#[") || line.ends_with(")]")
        });
        above.copied().collect::<Vec<_>>().join("\n")
    }
}

/// Pairs of braces by where they open. What is not closed ends with the text.
fn blocks(code: &str) -> Vec<Range<usize>> {
    let (mut open, mut found) = (Vec::new(), Vec::new());
    for (at, c) in code.char_indices() {
        match c {
            '{' => open.push(at),
            '}' => found.extend(open.pop().map(|start| start..at + 1)),
            _ => {}
        }
    }
    found.extend(open.into_iter().map(|start| start..code.len()));
    found.sort_by_key(|block| block.start);
    found
}

/// What the scanner is in.
enum In {
    Code,
    Line,
    Block(u32),
    /// With its closing quote and hashes.
    Raw(String),
    Text,
    Char,
}

/// Blanks comments and the contents of literals; newlines and lengths stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut state, mut rest) = (In::Code, text);
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        let mut keep = false;
        match &state {
            In::Code => (state, length, keep) = code(&text[..text.len() - rest.len()], rest),
            In::Line if c == '\n' => state = In::Code,
            In::Block(depth) if rest.starts_with("*/") => {
                state = if *depth == 1 { In::Code } else { In::Block(depth - 1) };
                length = 2;
            }
            In::Block(depth) if rest.starts_with("/*") => {
                (state, length) = (In::Block(depth + 1), 2)
            }
            In::Raw(close) if rest.starts_with(close.as_str()) => {
                length = close.len();
                state = In::Code;
            }
            In::Text | In::Char if c == '\\' => {
                length += rest[length..].chars().next().map_or(0, char::len_utf8);
            }
            In::Text if c == '"' => (state, keep) = (In::Code, true),
            In::Char if c == '\'' => (state, keep) = (In::Code, true),
            _ => {}
        }
        let (passed, left) = rest.split_at(length);
        rest = left;
        if keep {
            out.push_str(passed);
        } else {
            out.extend(passed.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }));
        }
    }
    out
}

/// One step in code: what comes next, how many bytes were taken, whether they are kept.
fn code(before: &str, rest: &str) -> (In, usize, bool) {
    if rest.starts_with("//") {
        return (In::Line, 2, false);
    }
    if rest.starts_with("/*") {
        return (In::Block(1), 2, false);
    }
    let of_word = |c: char| c.is_alphanumeric() || c == '_';
    if !before.ends_with(of_word)
        && let Some(raw) = ["r", "br", "cr"].iter().find_map(|start| rest.strip_prefix(start))
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            return (In::Raw(close), rest.len() - raw.len() + hashes + 1, false);
        }
    }
    let mut chars = rest.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('"'), ..) => (In::Text, 1, true),
        (Some('\''), Some('\\'), _) | (Some('\''), Some(_), Some('\'')) => (In::Char, 1, true),
        (c, ..) => (In::Code, c.map_or(1, char::len_utf8), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "a /* { /* } */ é */ b // {\nlet c = \"{ \\\" }\"; 'x: loop { '{'; '\\''; r#\"\"{\"#; }";
        let source = Source::new("x.rs", text);
        assert_eq!(source.code.len(), text.len());
        let words: Vec<_> = source.code.split_whitespace().collect();
        let code =
            ["a", "b", "let", "c", "=", "\"", "\";", "'x:", "loop", "{", "'", "';", "'", "';"];
        assert_eq!(words[..14], code, "{}", source.code);
        assert_eq!(source.code.matches(['{', '}']).count(), 2, "{}", source.code);
    }

    #[test]
    fn functions_are_found_with_their_bodies() {
        let text = "trait T {\n    fn declared(&self, x: [u8; 2]);\n}\n\
                    fn long<T>(of: impl Fn() -> T) -> [u8; 3]\nwhere\n    T: Copy,\n{\n    \
                    fn inner() {}\n    fn_like();\n}\n";
        let source = Source::new("x.rs", text);
        let found: Vec<_> = source
            .functions()
            .iter()
            .map(|f| (f.name, source.line(f.span.start), source.line(f.span.end)))
            .collect();
        assert_eq!(found, [("long", 4, 10), ("inner", 8, 8)]);
    }
}
