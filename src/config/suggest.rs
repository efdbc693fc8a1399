//! "Did you mean": the known word nearest to what was typed.

/// The nearest of `known`, if it is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let allowed = 1 + typed.chars().count() / 4;
    known
        .iter()
        .map(|word| (distance(&typed, &word.to_lowercase()), *word))
        .filter(|(far, _)| *far <= allowed)
        .min()
        .map(|(_, word)| word)
}

/// What to do about an unknown word.
pub(super) fn advice(typed: &str, known: &[&str]) -> String {
    match nearest(typed, known) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => format!("known are {}", known.join(", ")),
    }
}

/// Levenshtein distance, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["nodeName", "runDir", "socketLB", "metricsBindAddress"];
        assert_eq!(nearest("nodename", &known), Some("nodeName"));
        assert_eq!(nearest("metricBindAddres", &known), Some("metricsBindAddress"));
        assert_eq!(nearest("clusterCIDR", &known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
