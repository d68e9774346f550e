//! Moments as people write and read them, in UTC: an incident is talked about across time zones.

use lockkeeper_model::Time;

use crate::ui::was_shown;

/// `2026-01-01 02:47:13`, in UTC.
pub(crate) fn utc(at: Time) -> String {
    was_shown(at.0.div_euclid(1_000).rem_euclid(86_400), 0);
    let mut text = at.to_string().replacen('T', " ", 1);
    text.truncate(text.find('.').unwrap_or(text.len()));
    text
}

/// The moment that a person wrote: `2026-01-01 02:47:13`, or `02:47:13` or `02:47` for the day of `near`. In UTC, whether
/// that is written or not.
pub(crate) fn parse(text: &str, near: Time) -> Option<Time> {
    let text = text.trim();
    let text = text.strip_suffix("UTC").unwrap_or(text).trim_end().trim_end_matches('Z');
    let today = utc(near);
    let (day, clock) = match text.split_once(['T', ' ']) {
        Some((day, clock)) => (day, clock.trim_start()),
        None if text.contains(':') => (today.split_once(' ')?.0, text),
        None => (text, "00:00"),
    };
    let seconds = if clock.matches(':').count() == 1 { ":00" } else { "" };
    format!("{day}T{clock}{seconds}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let near: Time = "2026-01-01T12:00:00.000Z".parse().unwrap();
        for text in [
            "2026-01-01 02:47:13",
            "2026-01-01T02:47:13Z",
            " 2026-01-01 02:47:13 UTC ",
            "02:47:13",
            "2026-01-01  02:47:13.000",
        ] {
            assert_eq!(parse(text, near).map(utc).as_deref(), Some("2026-01-01 02:47:13"), "{text}");
        }
        assert_eq!(parse("02:47", near).map(utc).as_deref(), Some("2026-01-01 02:47:00"));
        assert_eq!(parse("2025-12-31", near).map(utc).as_deref(), Some("2025-12-31 00:00:00"));
        for text in ["", "yesterday", "25:00:00", "2026-13-01 00:00:00", "02:47:13 CET"] {
            assert_eq!(parse(text, near), None, "{text}");
        }
    }
}
