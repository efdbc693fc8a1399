//! Names, as the API takes them.

/// A label of DNS (RFC 1123): small letters, digits and, but at the ends, dashes.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| letter(*byte) || *byte == b'-')
        && bytes.first().is_some_and(|byte| letter(*byte))
        && bytes.last().is_some_and(|byte| letter(*byte))
}

/// What most objects may be called, and the prefix of a label's key. Its parts may be longer than labels
/// of DNS (apimachinery, `IsDNS1123Subdomain`).
#[must_use]
pub fn is_subdomain(text: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.iter().all(|byte| lower(*byte) || *byte == b'-')
            && bytes.first().is_some_and(|byte| lower(*byte))
            && bytes.last().is_some_and(|byte| lower(*byte))
    };
    text.len() <= 253 && text.split('.').all(part)
}
