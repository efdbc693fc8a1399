//! The path of a request, in the one form that routes are compared with.
//!
//! A backend may decode more than a proxy does; where the two differ a request gets past a rule
//! (CVE-2019-9901, CVE-2021-29492, CVE-2025-66490). So routes are matched on a normalised copy and the
//! bytes that the client sent are forwarded: dot segments resolved, slashes merged, escapes of what
//! needs none decoded (RFC 3986 6.2.2). An escaped slash stays opaque: `%2F` separates nothing.

use std::borrow::Cow;

/// Why a path is no path: the request is answered with 400.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadPath {
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    Relative,
    /// A percent sign without two hexadecimal digits.
    #[error("a percent sign without two hexadecimal digits")]
    Escape,
    /// A NUL, escaped or not.
    #[error("the path holds a NUL")]
    Nul,
    /// Dot segments lead above the root.
    #[error("the path leads above the root")]
    AboveRoot,
}

/// The normal form of a path without its query.
///
/// # Errors
/// When it is malformed, or leads above the root.
pub fn normalise(raw: &str) -> Result<Cow<'_, str>, BadPath> {
    if !raw.starts_with('/') {
        return Err(BadPath::Relative);
    }
    if is_normal(raw) {
        return Ok(Cow::Borrowed(raw));
    }
    resolve(&decode(raw.as_bytes())?).map(Cow::Owned)
}

/// How backends that decode every escape might read a normal path, where that is something else. What follows a
/// semicolon in a segment is a parameter to some, which they drop before they resolve dot segments, some
/// before they decode and some after.
pub(crate) fn readings(normal: &str) -> Vec<String> {
    if !normal.contains(['%', ';']) {
        return Vec::new();
    }
    let decoded = unescaped(normal);
    let readings = [unescaped(&without_parameters(normal)), without_parameters(&decoded), decoded];
    let read = readings.iter().filter_map(|text| resolve(text).ok());
    read.filter(|read| read != normal).collect()
}

/// Every segment up to its semicolon.
fn without_parameters(path: &str) -> String {
    let segments = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    segments.collect::<Vec<_>>().join("/")
}

/// Each escape decoded once, in the form that routes have: what needs an escape has one again. A backslash is a
/// slash to some.
fn unescaped(normal: &str) -> String {
    let mut text = String::with_capacity(normal.len());
    let mut rest = normal.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let escaped = rest.split_at_checked(2).filter(|_| byte == b'%');
        let escaped = escaped.and_then(|(digits, after)| Some((hex(digits)?, after)));
        match escaped {
            None => text.push(char::from(byte)),
            Some((byte, after)) => {
                rest = after;
                match byte {
                    b'/' | b'\\' => text.push('/'),
                    literal if is_literal(literal) => text.push(char::from(literal)),
                    other => push_escaped(&mut text, other),
                }
            }
        }
    }
    text
}

/// `unreserved`, `sub-delims`, `:` and `@` of RFC 3986: what a segment holds unescaped.
const fn is_literal(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b':' | b'@')
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Most paths are normal: they are looked at once and not copied.
fn is_normal(path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut segment = 0; // where it begins
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b'/' if at == segment + 1 || is_dots(bytes.get(segment + 1..at)) => return false,
            b'/' => segment = at,
            byte if !is_literal(*byte) => return false,
            _ => {}
        }
    }
    !is_dots(bytes.get(segment + 1..))
}

fn is_dots(segment: Option<&[u8]>) -> bool {
    matches!(segment, Some(b"." | b".."))
}

/// Decodes escapes of what needs none, escapes what does, and writes the other escapes in capitals.
fn decode(raw: &[u8]) -> Result<String, BadPath> {
    let mut text = String::with_capacity(raw.len() + 8);
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let mut escaped = byte;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2).ok_or(BadPath::Escape)?;
            escaped = hex(digits).ok_or(BadPath::Escape)?;
            rest = after;
        }
        match escaped {
            0 => return Err(BadPath::Nul),
            literal if byte != b'%' && (literal == b'/' || is_literal(literal)) => {
                text.push(char::from(literal));
            }
            literal if is_unreserved(literal) => text.push(char::from(literal)),
            other => push_escaped(&mut text, other),
        }
    }
    Ok(text)
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

fn push_escaped(text: &mut String, byte: u8) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    text.push('%');
    for digit in [byte >> 4, byte & 15] {
        text.push(DIGITS.get(usize::from(digit)).copied().unwrap_or('0'));
    }
}

/// Resolves dot segments (RFC 3986 5.2.4) and merges slashes.
fn resolve(path: &str) -> Result<String, BadPath> {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/').skip(1) {
        ends_open = true;
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop().ok_or(BadPath::AboveRoot)?;
            }
            other => {
                kept.push(other);
                ends_open = false;
            }
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_open || kept.is_empty() {
        normal.push('/');
    }
    Ok(normal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn normal_forms() {
        for (raw, normal) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/b", "/a/b"),
            ("/a//b/", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/%61%2Db", "/a-b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%3Fb%3b", "/a%3Fb%3B"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a b\"", "/a%20b%22"),
            ("/a;b=c,d", "/a;b=c,d"),
            ("/...", "/..."),
            ("/%252F", "/%252F"),
        ] {
            assert_eq!(normalise(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (raw, why) in [
            ("", BadPath::Relative),
            ("a", BadPath::Relative),
            ("*", BadPath::Relative),
            ("/%", BadPath::Escape),
            ("/%4", BadPath::Escape),
            ("/%+1", BadPath::Escape),
            ("/%zz", BadPath::Escape),
            ("/a%00", BadPath::Nul),
            ("/\0", BadPath::Nul),
            ("/..", BadPath::AboveRoot),
            ("/a/../..", BadPath::AboveRoot),
            ("/a/%2e%2e/..", BadPath::AboveRoot),
        ] {
            assert_eq!(normalise(raw), Err(why), "{raw}");
        }
    }

    #[test]
    fn what_a_backend_might_read_differently() {
        let rows: [(&str, &[&str]); 11] = [
            ("/a/b", &[]),
            ("/a%20b", &[]),
            ("/%252Fa", &[]),
            ("/a%2F..%2Fb", &["/b"]),
            ("/a/..;x/b", &["/b"]),
            ("/a%5C..%5Cb", &["/b"]),
            ("/..;/b", &[]),
            ("/v1/users%3Adelete", &["/v1/users:delete"]),
            ("/%40admin", &["/@admin"]),
            ("/files/;%2F..%2F..%2Fadmin", &["/files/", "/admin"]),
            ("/x%2F..;a%2Fadmin", &["/", "/admin", "/x/..;a/admin"]),
        ];
        for (normal, expected) in rows {
            let mut found = readings(normal);
            found.sort();
            found.dedup();
            let mut expected: Vec<_> = expected.iter().map(|read| (*read).to_owned()).collect();
            expected.sort();
            assert_eq!(found, expected, "{normal}");
        }
    }

    proptest! {
        /// The normal form of a normal form is itself, and the quick look agrees with the long way.
        #[test]
        fn normal_is_normal(raw in "/([a%/.;]|%2[eEfF]|%00|\\PC){0,24}") {
            if let Ok(normal) = normalise(&raw) {
                prop_assert!(normal.starts_with('/') && normal.is_ascii());
                prop_assert!(!normal.contains("//") && !normal.contains("/../"));
                let again = normalise(&normal).map(Cow::into_owned);
                prop_assert_eq!(again.as_deref(), Ok(&*normal));
                let long = decode(raw.as_bytes()).and_then(|text| resolve(&text));
                prop_assert_eq!(long.as_deref(), Ok(&*normal));
            }
        }
    }
}
