use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment on the server's clock, in whole milliseconds since the Unix epoch.
///
/// In JSON it is RFC 3339 in UTC with three decimals. What a viewer counts down is always the difference of two of
/// these, so the viewer's own clock does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime, example = "2026-01-01T02:51:40.120Z"))]
pub struct Time(pub i64);

impl Time {
    /// Milliseconds from `earlier` to `self`, never below zero.
    #[must_use]
    pub fn since(self, earlier: Time) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }

    /// This moment moved by `ms` milliseconds.
    #[must_use]
    pub fn plus(self, ms: i64) -> Time {
        Time(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Beyond the year 9999 a lease means "never" to a person; the sign is kept.
        let ms = self.0.clamp(FIRST_MS, LAST_MS);
        let (year, month, day) = civil(ms.div_euclid(DAY_MS));
        let of_day = ms.rem_euclid(DAY_MS);
        let sign = if year < 0 { "-00" } else { "" };
        write!(
            f,
            "{sign}{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            year.abs(),
            of_day / 3_600_000,
            of_day / 60_000 % 60,
            of_day / 1_000 % 60,
            of_day % 1_000
        )
    }
}

const DAY_MS: i64 = 86_400_000;
/// `-009999-01-02T01:59:59.000Z`.
const FIRST_MS: i64 = -377_705_023_201_000;
/// `9999-12-30T22:00:00.999Z`.
const LAST_MS: i64 = 253_402_207_200_999;

/// A text that is no moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeError(String);

impl fmt::Display for TimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no RFC 3339 time such as `2026-01-01T02:51:40.120Z`", crate::words::shown(&self.0))
    }
}

impl std::error::Error for TimeError {}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Time).ok_or_else(|| TimeError(text.to_owned()))
    }
}

/// Year, month and day of a day counted from 1970-01-01: Howard Hinnant's `civil_from_days`. Written out here because a
/// calendar library is a tenth of what the app may weigh.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day counted from 1970-01-01: the inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

fn parse(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (sign * date.next()??, date.next()??, date.next()??);
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let in_range = (1..=12).contains(&month)
        && civil(days(year, month, day)) == (year, month, day)
        && hour < 24
        && minute < 60
        && second <= 60;
    number(fraction)?;
    let ms = number(&format!("{fraction:0<3}")[..3])?;
    let offset = match zone.split_at(1) {
        ("Z" | "z", "") => 0,
        (sign, offset) => {
            let (hours, minutes) = offset.split_once(':')?;
            let minutes = number(hours)? * 60 + number(minutes)?;
            if sign == "-" { -minutes } else { minutes }
        }
    };
    let of_day = ((hour * 60 + minute - offset) * 60 + second) * 1_000 + ms;
    in_range.then(|| days(year, month, day) * DAY_MS + of_day)
}

/// Digits and nothing else: `parse` of the standard library takes a sign too.
fn number(digits: &str) -> Option<i64> {
    let digits = digits.as_bytes();
    let fits = !digits.is_empty() && digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0')))
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_utc_with_three_decimals_and_reads_it_back() {
        let at = Time(1_767_235_900_120);
        assert_eq!(at.to_string(), "2026-01-01T02:51:40.120Z");
        assert_eq!(at.to_string().parse::<Time>().unwrap(), at);
        assert_eq!(Time(1_767_235_900_000).to_string(), "2026-01-01T02:51:40.000Z");
    }

    #[test]
    fn other_forms_of_the_same_moment_are_read_and_nonsense_is_not() {
        for same in ["2026-01-01T03:51:40.12+01:00", "2026-01-01t02:51:40.120999z", "2025-12-31 21:51:40.120-05:00"] {
            assert_eq!(same.parse::<Time>(), Ok(Time(1_767_235_900_120)), "{same}");
        }
        for bad in
            ["", "2026", "2026-02-30T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T24:00:00Z", "2026-1-1Tx:0:0Z"]
        {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_calendar_library(ms in FIRST_MS..LAST_MS) {
            let known = format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap());
            proptest::prop_assert_eq!(Time(ms).to_string(), known.clone());
            proptest::prop_assert_eq!(known.parse::<Time>().unwrap(), Time(ms));
        }

        #[test]
        fn no_text_panics(text in "[-0-9TZ:.+ é]{0,30}") {
            let _ = text.parse::<Time>();
        }
    }

    #[test]
    fn moments_beyond_the_calendar_still_print() {
        for at in [Time(i64::MAX), Time(i64::MIN)] {
            assert!(at.to_string().parse::<Time>().is_ok(), "{at}");
        }
    }
}
