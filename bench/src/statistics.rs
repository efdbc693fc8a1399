//! Medians, and how far they can be trusted.

/// The middle of a sample; the mean of the two middle ones when their number is even.
pub(crate) fn median(sample: &[f64]) -> f64 {
    let sorted = sorted(sample);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// Upper bound of the median, 95 % one-sided, from order statistics: no assumption about the shape.
/// It is the value of rank r, the smallest for which at most r - 1 of n fair coins fall on one side
/// with probability 95 %.
pub(crate) fn median_upper(sample: &[f64]) -> f64 {
    let sorted = sorted(sample);
    let n = sorted.len();
    let (mut sum, mut term) = (0.0, 0.5f64.powi(i32::try_from(n).unwrap_or(i32::MAX)));
    for (below, value) in sorted.iter().enumerate() {
        sum += term;
        if sum >= 0.95 {
            return *value;
        }
        // From C(n, k) to C(n, k + 1).
        term *= (n - below) as f64 / (below + 1) as f64;
    }
    sorted.last().copied().unwrap_or(f64::NAN)
}

/// The value that this share of a sample does not exceed.
pub(crate) fn quantile(sample: &[f64], share: f64) -> f64 {
    let sorted = sorted(sample);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn sorted(sample: &[f64]) -> Vec<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles_are_what_tables_say() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), 99.0);
        // Binomial(15, 1/2): P(X <= 9) = 0.849, P(X <= 10) = 0.941, P(X <= 11) = 0.982.
        let fifteen: Vec<f64> = (1..=15).map(f64::from).collect();
        assert_eq!(median_upper(&fifteen), 12.0);
    }
}
