//! Paths that are regular expressions, as `use-regex` and `rewrite-target` make them.
//!
//! nginx matches them from the beginning of the path and without regard to case; here they are compared
//! with the normal form of a path, which is ASCII, by bytes, as PCRE does.

use std::{borrow::Cow, fmt::Write as _};

use regex::bytes::{Captures, Regex, RegexBuilder};

/// Most that a compiled expression may take.
const SIZE_MAX: usize = 256 << 10;

/// A path that is an expression.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    expression: Regex,
}

/// The same text is the same expression.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// # Errors
    /// What of the text is no expression here: look-around and references back are not.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let source = format!("^(?:{})", escaped(text));
        let mut builder = RegexBuilder::new(&source);
        builder.unicode(false).case_insensitive(true).size_limit(SIZE_MAX).nest_limit(50);
        match builder.build() {
            Ok(expression) => Ok(Self { text: text.into(), expression }),
            Err(regex::Error::CompiledTooBig(_)) => Err("too large".to_owned()),
            // The last line says what; those before show where.
            Err(error) => {
                let text = error.to_string();
                let last = text.lines().next_back().unwrap_or_default();
                Err(last.strip_prefix("error: ").unwrap_or(last).to_owned())
            }
        }
    }

    /// What every text that the expression could match begins with: up to its first sign that is no
    /// plain letter.
    pub(crate) fn beginning(text: &str) -> Self {
        let plain = |sign: char| sign.is_ascii_alphanumeric() || "/-_~".contains(sign);
        let mut end = text.find(|sign| !plain(sign)).unwrap_or(text.len());
        // A sign that says how often counts for the one before it, and `|` for all.
        let rest = text.get(end..).unwrap_or_default();
        if rest.starts_with(['*', '?', '{']) {
            end = end.saturating_sub(1);
        }
        let begin = if text.contains('|') { "" } else { text.get(..end).unwrap_or_default() };
        let source = format!("(?i-u)^{begin}");
        // Plain letters are an expression, and so is nothing, which would close more.
        let expression = Regex::new(&source).or_else(|_error| Regex::new(""));
        Self { text: text.into(), expression: expression.unwrap_or_else(|_error| unreachable!()) }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_match(&self, path: &str) -> bool {
        self.expression.is_match(path.as_bytes())
    }
}

/// What is not ASCII is escaped in a normal path, too.
fn escaped(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() * 3);
    for sign in text.chars() {
        if sign.is_ascii() {
            escaped.push(sign);
            continue;
        }
        for byte in sign.encode_utf8(&mut [0; 4]).bytes() {
            // Writing into a text does not fail.
            let _written = write!(escaped, "%{byte:02X}");
        }
    }
    Cow::Owned(escaped)
}

/// `rewrite-target`: the path that an endpoint gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rewrite {
    target: Box<str>,
}

impl Rewrite {
    /// `None`: it holds what is not honoured, a variable or another host.
    pub(crate) fn new(target: &str) -> Option<Self> {
        let mut rest = target;
        while let Some((_, after)) = rest.split_once('$') {
            if !after.starts_with(|sign: char| sign.is_ascii_digit()) {
                return None;
            }
            rest = after;
        }
        (!target.contains("://")).then(|| Self { target: target.into() })
    }

    /// Is this path of a rule the target? Then nothing is rewritten, as in ingress-nginx.
    pub(crate) fn is(&self, path: &str) -> bool {
        *self.target == *path || (path.is_empty() && *self.target == *"/")
    }

    /// The path for a request of `path`, which is normal. `pattern`: the one that its route has.
    #[must_use]
    pub fn apply(&self, path: &str, pattern: Option<&Pattern>) -> String {
        let groups = pattern.and_then(|pattern| pattern.expression.captures(path.as_bytes()));
        let mut text = String::with_capacity(self.target.len() + path.len());
        let mut rest = &*self.target;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            let digit = after.chars().next().and_then(|sign| sign.to_digit(10)).unwrap_or(0);
            text.push_str(group(groups.as_ref(), digit as usize, path));
            rest = after.get(1..).unwrap_or_default();
        }
        text.push_str(rest);
        if !text.starts_with('/') {
            text.insert(0, '/');
        }
        text
    }
}

/// What a group matched; nothing where there is no such group.
fn group<'p>(groups: Option<&Captures<'_>>, number: usize, path: &'p str) -> &'p str {
    let range = groups.and_then(|groups| groups.get(number)).map(|found| found.range());
    range.and_then(|range| path.get(range)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_take_what_groups_matched() {
        for (pattern, target, path, rewritten) in [
            ("/api(/|$)(.*)", "/$2", "/api/v1/x", "/v1/x"),
            ("/api(/|$)(.*)", "/$2", "/API", "/"),
            ("/api(/|$)(.*)", "/new/$2/end", "/api/", "/new//end"),
            ("/(a|b)/(c)?(.*)", "/$3-$2-$1", "/a/dd", "/dd--a"),
            ("/x(.*)", "$1", "/x", "/"),
            ("/x(.*)", "$1", "/xy", "/y"),
            ("/x", "/$0/$9", "/xyz", "//x/"),
            ("/caf\u{e9}/(.*)", "/$1", "/caf%C3%A9/a%20b", "/a%20b"),
        ] {
            let compiled = Pattern::new(pattern).unwrap();
            assert!(compiled.is_match(path), "{pattern} {path}");
            let rewrite = Rewrite::new(target).unwrap();
            assert_eq!(
                rewrite.apply(path, Some(&compiled)),
                rewritten,
                "{pattern} {target} {path}"
            );
        }
        assert_eq!(Rewrite::new("/fixed").unwrap().apply("/any", None), "/fixed");
        for target in ["/$host", "https://o.example/$1", "/a$", "/$"] {
            assert_eq!(Rewrite::new(target), None, "{target}");
        }
    }

    #[test]
    fn what_cannot_be_an_expression_says_why_and_where_it_begins() {
        for (text, why, inside, outside) in [
            ("/api/(?!internal)(.*)", "look-around", "/api/x", "/ap"),
            (r"/a/(b)\1", "backreferences", "/a/c", "/b"),
            ("/ab*(", "unclosed group", "/aB", "/b"),
            ("/a|/b(", "unclosed group", "/z", ""),
            ("/x(", "unclosed group", "/X", "/y"),
        ] {
            let said = Pattern::new(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
            let begins = Pattern::beginning(text);
            assert!(begins.is_match(inside), "{text} {inside}");
            assert!(outside.is_empty() || !begins.is_match(outside), "{text} {outside}");
        }
        let large = "(a{200}){200}{200}";
        assert_eq!(Pattern::new(large).unwrap_err(), "too large");
    }
}
