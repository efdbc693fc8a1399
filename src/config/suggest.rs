//! What to say of an unknown word.

use towpath_model::nearest;

/// What to do about an unknown word.
pub(super) fn advice(typed: &str, known: &[&str]) -> String {
    match nearest(typed, known) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => format!("known are {}", known.join(", ")),
    }
}
