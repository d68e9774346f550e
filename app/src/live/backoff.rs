/// The first wait: a restarted server is usually back within it.
const FIRST_MS: f64 = 500.0;
/// The longest wait: somebody is looking at the banner that counts it down.
const LONGEST_MS: f64 = 15_000.0;

/// How long to wait before the next attempt: doubling, bounded, and jittered so that a hundred viewers do not come
/// back to a restarted server in one instant.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: i32,
}

impl Backoff {
    /// The next wait in milliseconds; `random` is between 0 and 1.
    pub(crate) fn next(&mut self, random: f64) -> f64 {
        let whole = (FIRST_MS * 2f64.powi(self.attempts.min(10))).min(LONGEST_MS);
        self.attempts += 1;
        whole * (0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// The link has proven to be alive.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_stay_bounded_and_start_again_after_proof_of_life() {
        let mut backoff = Backoff::default();
        let slow: Vec<f64> = (0..7).map(|_| backoff.next(1.0)).collect();
        assert_eq!(slow, [500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0, 15_000.0, 15_000.0]);
        assert_eq!(backoff.next(0.0), 7_500.0);
        backoff.reset();
        assert_eq!(backoff.next(0.0), 250.0);
    }
}
