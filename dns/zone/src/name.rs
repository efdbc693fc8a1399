//! Names in wire form: labels, each after its length, the last one empty.

use std::fmt;

/// The longest name, in bytes of wire form (RFC 1035 3.1).
pub(crate) const MAX_NAME: usize = 255;
/// The longest label.
pub(crate) const MAX_LABEL: usize = 63;

/// A name in wire form and lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// From dotted text, with or without the last dot; `None` when it is no name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        if !text.is_empty() {
            for part in text.split('.') {
                wire.extend_from_slice(&label(part)?);
            }
        }
        wire.push(0);
        (wire.len() <= MAX_NAME).then(|| Self(wire.into()))
    }

    /// A name under this one.
    #[must_use]
    pub fn under(&self, labels: &[u8]) -> Option<Self> {
        let wire = [labels, &self.0].concat();
        (wire.len() <= MAX_NAME).then(|| Self(wire.into()))
    }

    /// The bytes.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest: &[u8] = &self.0;
        if rest == [0] {
            return f.write_str(".");
        }
        while let Some((part, more)) = split(rest) {
            for byte in part {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", *byte as char)?,
                    0x21..=0x7e => write!(f, "{}", *byte as char)?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
            rest = more;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A label in wire form and lower case; `None` when it is too long, empty or has a byte that no name
/// of an object may have.
pub(crate) fn label(text: &str) -> Option<Box<[u8]>> {
    let length = u8::try_from(text.len()).ok()?;
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if length == 0 || text.len() > MAX_LABEL || !text.bytes().all(fine) {
        return None;
    }
    Some(std::iter::once(length).chain(text.bytes().map(|b| b.to_ascii_lowercase())).collect())
}

/// The first label and what follows; `None` at the end.
pub(crate) fn split(wire: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = wire.split_first()?;
    if length == 0 { None } else { rest.split_at_checked(usize::from(length)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_text() {
        let rows: [(&str, Option<&[u8]>); 8] = [
            ("cluster.local", Some(b"\x07cluster\x05local\0")),
            ("Cluster.Local.", Some(b"\x07cluster\x05local\0")),
            ("", Some(b"\0")),
            (".", Some(b"\0")),
            ("a..b", None),
            ("a b", None),
            ("_x.y", Some(b"\x02_x\x01y\0")),
            ("é", None),
        ];
        for (text, wire) in rows {
            assert_eq!(Name::parse(text).as_ref().map(Name::wire), wire, "{text:?}");
        }
        assert_eq!(Name::parse(&"a".repeat(64)), None);
        assert_eq!(Name::parse(&"abc.".repeat(64)), None, "257 bytes");
        assert_eq!(Name::parse("A.b").unwrap().to_string(), "a.b.");
    }
}
