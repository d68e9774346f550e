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
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            // Beyond the year 9999 a lease means "never" to a person; the sign is kept.
            Err(_) if self.0 < 0 => f.write_str("-009999-01-02T01:59:59.000Z"),
            Err(_) => f.write_str("9999-12-30T22:00:00.999Z"),
        }
    }
}

impl FromStr for Time {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>().map(|at| Time(at.as_millisecond()))
    }
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
    fn moments_beyond_the_calendar_still_print() {
        for at in [Time(i64::MAX), Time(i64::MIN)] {
            assert!(at.to_string().parse::<Time>().is_ok(), "{at}");
        }
    }
}
