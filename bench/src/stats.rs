//! What many numbers come down to.

use std::time::Duration;

use serde::Serialize;

/// How a set of durations is spread, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) samples: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(durations: &[Duration]) -> Option<Spread> {
        let mut ms: Vec<f64> = durations.iter().map(|duration| duration.as_secs_f64() * 1_000.0).collect();
        ms.sort_by(f64::total_cmp);
        let max_ms = *ms.last()?;
        Some(Spread { samples: ms.len(), p50_ms: rank(&ms, 0.50), p99_ms: rank(&ms, 0.99), max_ms })
    }

    /// In words, for the table.
    pub(crate) fn words(&self) -> String {
        let Spread { samples, p50_ms, p99_ms, max_ms } = self;
        format!("p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, max {max_ms:.1} ms of {samples}")
    }
}

/// The middle of some numbers; 0 of none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The smallest of the sorted numbers that is not passed by this share of them.
fn rank(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_of_a_hundred_is_the_second_largest() {
        let durations: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        let spread = Spread::of(&durations).unwrap();
        assert_eq!((spread.p50_ms, spread.p99_ms, spread.max_ms), (50.0, 99.0, 100.0));
        assert!(Spread::of(&[]).is_none());
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
