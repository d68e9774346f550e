//! How much of the stores was seen, in words: what a scan has behind it, and what it has before it as far as that can be told.

use lockkeeper_model::Coverage;

use crate::lang::{count, t};

/// A scan that has run for less than this says nothing yet about how long it will take, in milliseconds.
const TELLING_MS: i64 = 500;

/// Above this many seconds whole minutes are told: an estimate is no more exact than that.
const IN_SECONDS: i64 = 90;

/// How much of a source was seen, in a few words.
pub(crate) fn coverage(coverage: &Coverage, now: i64) -> String {
    if coverage.complete {
        return t!(all_keys_seen).to_owned();
    }
    scanned(coverage.scanned_keys, coverage.total_keys, time_left(coverage, now))
}

/// How much of all sources together was seen.
pub(crate) fn coverage_of_all(all: &[&Coverage], now: i64) -> String {
    let mut under_way = all.iter().filter(|coverage| !coverage.complete);
    let Some(first) = under_way.next() else {
        return if all.is_empty() { t!(no_source) } else { t!(every_key_seen) }.to_owned();
    };
    let (mut seen, mut total, mut left) = (first.scanned_keys, first.total_keys, time_left(first, now));
    for other in under_way {
        seen += other.scanned_keys;
        total = total.and_then(|total| Some(total + other.total_keys?));
        // They run side by side: all are over when the last is.
        left = left.and_then(|left| Some(left.max(time_left(other, now)?)));
    }
    scanned(seen, total, left)
}

/// `scanned 412,000 of about 2,000,000 keys, about 3 s left`.
fn scanned(seen: u64, total: Option<u64>, left_s: Option<i64>) -> String {
    let Some(total) = total.filter(|total| *total > 0) else {
        return t!(scanned_of_an_unknown_number, count(seen));
    };
    // Keys come and go meanwhile, so that a scan may meet more than there were.
    let left = match left_s {
        Some(s) if s > IN_SECONDS => t!(about_minutes_left, (s + 59) / 60),
        Some(s) => t!(about_seconds_left, s),
        None => t!(time_left_unknown).to_owned(),
    };
    t!(scanned_of_about, count(seen), count(total), left)
}

/// How many seconds a scan will take if it goes on as fast as until now; `None` where nothing tells.
fn time_left(coverage: &Coverage, now: i64) -> Option<i64> {
    let passed = now - coverage.started_at?.0;
    let seen = i64::try_from(coverage.scanned_keys).ok().filter(|seen| *seen > 0)?;
    let ahead = i64::try_from(coverage.total_keys?).ok()?.checked_sub(seen).filter(|ahead| *ahead > 0)?;
    let left_ms = i64::try_from(i128::from(ahead) * i128::from(passed) / i128::from(seen)).ok()?;
    (passed >= TELLING_MS).then_some((left_ms + 999) / 1_000)
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::Time;

    use super::*;

    fn scanning(seen: u64, total: Option<u64>) -> Coverage {
        Coverage { scanned_keys: seen, total_keys: total, started_at: Some(Time(10_000)), ..Coverage::default() }
    }

    #[test]
    fn a_scan_says_what_it_has_behind_it_and_about_how_long_it_will_take() {
        let source = scanning(400_000, Some(2_000_000));
        assert_eq!(coverage(&source, 10_700), "scanned 400,000 of about 2,000,000 keys, about 3 s left");
        assert_eq!(coverage(&source, 70_000), "scanned 400,000 of about 2,000,000 keys, about 4 min left");
        assert_eq!(coverage(&Coverage { complete: true, ..source }, 70_000), "all keys seen");
    }

    #[test]
    fn what_nothing_tells_is_unknown() {
        let unknown = |seen, total, now| coverage(&scanning(seen, total), now);
        assert_eq!(unknown(3, Some(9), 10_400), "scanned 3 of about 9 keys, time left unknown", "it has just begun");
        assert_eq!(unknown(0, Some(9), 90_000), "scanned 0 of about 9 keys, time left unknown");
        assert_eq!(
            unknown(12, Some(9), 90_000),
            "scanned 12 of about 9 keys, time left unknown",
            "more came meanwhile"
        );
        assert_eq!(unknown(12, None, 90_000), "scanned 12 keys so far, of an unknown number");
    }

    #[test]
    fn of_several_sources_those_count_that_are_still_scanned_and_the_slowest_decides() {
        let done = Coverage { complete: true, ..Coverage::default() };
        assert_eq!(coverage_of_all(&[], 0), "no source");
        assert_eq!(coverage_of_all(&[&done], 0), "100 % of keys seen");
        let (quick, slow, endless) = (scanning(500, Some(1_000)), scanning(100, Some(1_000)), scanning(100, None));
        let said = coverage_of_all(&[&done, &quick, &slow], 12_000);
        assert_eq!(said, "scanned 600 of about 2,000 keys, about 18 s left");
        assert_eq!(
            coverage_of_all(&[&quick, &slow, &endless], 12_000),
            "scanned 700 keys so far, of an unknown number"
        );
    }
}
