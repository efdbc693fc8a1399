//! "Did you mean": the known word nearest to what was written.

/// Of a longer word no more is looked at: whatever was meant is shorter.
const CHARS_MAX: usize = 64;

/// The nearest of `known`, if it is near enough to be what was meant. Case does not count.
#[must_use]
pub fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let written: String = written.chars().take(CHARS_MAX).collect::<String>().to_lowercase();
    let allowed = 1 + written.chars().count() / 4;
    known
        .iter()
        .map(|word| (strsim::osa_distance(&written, &word.to_lowercase()), *word))
        .filter(|(far, _)| *far <= allowed)
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_a_stranger_is_not() {
        let known = ["nodeName", "runDir", "socketLB", "metricsBindAddress"];
        assert_eq!(nearest("nodename", &known), Some("nodeName"));
        assert_eq!(nearest("metricBindAddres", &known), Some("metricsBindAddress"));
        assert_eq!(nearest("rnuDir", &known), Some("runDir"), "two that changed places");
        assert_eq!(nearest("clusterCIDR", &known), None);
        assert_eq!(nearest(&"x".repeat(10_000_000), &known), None);
    }
}
