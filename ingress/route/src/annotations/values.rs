//! Values of annotations, read as ingress-nginx reads them.

use std::time::Duration;

pub(super) fn flag(value: &str, into: &mut bool) -> Result<(), &'static str> {
    // As Go's ParseBool, which ingress-nginx reads with.
    *into = match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        _ => return Err("`true` or `false`"),
    };
    Ok(())
}

/// Whole seconds without a unit, as ingress-nginx takes them.
pub(super) fn seconds(value: &str, into: &mut Duration) -> Result<(), &'static str> {
    /// Longer than anything stays open.
    const MAX: u64 = 365 * 86_400;
    let number = value.trim().parse().ok().filter(|number| *number > 0);
    *into = Duration::from_secs(number.map(|it: u64| it.min(MAX)).ok_or("a number of seconds")?);
    Ok(())
}

/// nginx's sizes: bytes, or with k, m or g; 0 is no limit.
pub(super) fn size(value: &str, into: &mut Option<u64>) -> Result<(), &'static str> {
    const WANTED: &str = "a size such as `8m`";
    let value = value.trim();
    let (digits, unit) = match value.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (value.get(..at), 1 << 10),
        Some((at, 'm' | 'M')) => (value.get(..at), 1 << 20),
        Some((at, 'g' | 'G')) => (value.get(..at), 1 << 30),
        _ => (Some(value), 1u64),
    };
    let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(WANTED)?;
    *into = match number.checked_mul(unit).ok_or(WANTED)? {
        0 => None,
        bytes => Some(bytes),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_nginxs() {
        for (value, bytes) in [
            ("8m", Some(Some(8 << 20))),
            ("10", Some(Some(10))),
            ("1K", Some(Some(1024))),
            ("2g", Some(Some(2 << 30))),
            ("0", Some(None)),
            ("0m", Some(None)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("+1", None),
            ("1t", None),
            ("99999999999999999999", None),
            ("18446744073709551615g", None),
        ] {
            let mut read = Some(7);
            let result = size(value, &mut read);
            assert_eq!(result.ok().map(|()| read), bytes, "{value}");
        }
    }
}
