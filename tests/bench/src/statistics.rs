//! Medians, percentiles and spreads. Of nothing there is none of them.

/// The middle of `values`; of an even number of them the mean of the two in the middle.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[middle - 1], upper))
}

/// The smallest value that `share` (0 to 1) of `values` do not exceed: the nearest-rank method.
#[must_use]
pub fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let sorted = sorted(values);
    let below = |rank: usize| to_f64(rank) < share * to_f64(sorted.len());
    let rank = (1..=sorted.len()).take_while(|rank| below(*rank)).count();
    sorted.get(rank).or(sorted.last()).copied()
}

/// The arithmetic mean.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / to_f64(values.len()))
}

/// How far the largest and the smallest value are apart, as a part of the median.
#[must_use]
pub fn spread(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let range = sorted.last()? - sorted.first()?;
    Some(range / median(values)?)
}

/// A count as a number to calculate with: exact up to 2^53.
#[must_use]
pub fn to_f64(count: impl TryInto<u64>) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "bytes and nanoseconds of a run stay below 2^53"
    )]
    count.try_into().map_or(f64::NAN, |count| count as f64)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.5), Some(50.0));
        assert_eq!(percentile(&hundred, 0.99), Some(99.0));
        assert_eq!(percentile(&hundred, 1.0), Some(100.0));
        assert_eq!(percentile(&[5.0, 9.0], 0.0), Some(5.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn the_spread_is_a_part_of_the_median() {
        let spread = |values: &[f64]| spread(values).map(|spread| (spread * 1000.0).round());
        assert_eq!(spread(&[0.9, 1.0, 1.2]), Some(300.0));
        assert_eq!(spread(&[2.0]), Some(0.0));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn the_mean_of_four_flows_weighs_them_alike() {
        assert_eq!(mean(&[1.0, 2.0, 3.0, 6.0]), Some(3.0));
        assert_eq!(mean(&[]), None);
    }
}
