/// A frame that is later than the estimate by more than this is no slow delivery: the server's clock was set back.
const STEP_MS: f64 = 2_000.0;
/// How fast the estimate follows frames that look late. The quickest delivery tells the time best, so slow ones count
/// little.
const DRIFT: f64 = 0.05;

/// The server's clock, carried on between frames by a clock of the browser that only runs forward.
///
/// The browser's wall clock is never asked: it may be wrong by hours.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    ahead: Option<f64>,
}

impl ServerClock {
    /// Takes the `now` of a frame that came in at `at` on the browser's monotonic clock.
    pub(crate) fn hear(&mut self, now: i64, at: f64) {
        let heard = now as f64 - at;
        self.ahead = Some(match self.ahead {
            Some(known) if heard < known && known - heard < STEP_MS => known + (heard - known) * DRIFT,
            _ => heard,
        });
    }

    /// The server's time when the monotonic clock says `at`; `None` before the first frame.
    pub(crate) fn at(&self, at: f64) -> Option<i64> {
        self.ahead.map(|ahead| (at + ahead).round() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_between_frames_and_late_frames_hardly_pull_it_back() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.at(5.0), None);
        clock.hear(1_000_000, 100.0);
        assert_eq!(clock.at(350.0), Some(1_000_250));
        clock.hear(1_001_000, 1_500.0);
        assert_eq!(clock.at(1_500.0), Some(1_001_380));
    }

    #[test]
    fn a_step_of_the_servers_clock_or_a_sleep_of_the_browser_is_followed_at_once() {
        let mut clock = ServerClock::default();
        clock.hear(1_000_000, 100.0);
        clock.hear(4_600_000, 200.0);
        assert_eq!(clock.at(200.0), Some(4_600_000));
        clock.hear(1_000_300, 300.0);
        assert_eq!(clock.at(300.0), Some(1_000_300));
    }
}
