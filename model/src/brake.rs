//! How much may be missing from a list that is believed at once (DESIGN section 2: an API server
//! that comes back half empty must not empty the nodes).

/// A list that lacks this many objects and this share of what there was waits for a second one.
const OBJECTS: usize = 50;
const PERCENT: usize = 30;

/// Is it suspicious that so many of so many are missing?
#[must_use]
pub const fn is_suspicious(missing: usize, of: usize) -> bool {
    missing >= OBJECTS && missing.saturating_mul(100) > of.saturating_mul(PERCENT)
}

#[cfg(test)]
mod tests {
    use super::is_suspicious;

    #[test]
    fn many_objects_and_a_large_share_of_all() {
        for (missing, of, suspicious) in [
            (0, 0, false),
            (49, 49, false),
            (50, 50, true),
            (50, 166, true),
            (50, 167, false),
            (300, 1_000, false),
            (301, 1_000, true),
        ] {
            assert_eq!(is_suspicious(missing, of), suspicious, "{missing} of {of}");
        }
    }
}
