//! Spans of time as they are written on a command line: `90s`, `30m`, `2h`, `7d`.

/// The span in milliseconds.
///
/// # Errors
/// What is expected.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let span = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(unit_ms)).filter(|span| *span > 0);
    span.ok_or_else(|| "expected a whole number with its unit, such as 90s, 30m, 2h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_number_and_a_unit() {
        assert_eq!(["90s", "30m", "2h", "7d"].map(parse), [Ok(90_000), Ok(1_800_000), Ok(7_200_000), Ok(604_800_000)]);
        for wrong in ["", "2", "h", "-1h", "0m", "1.5h", "99999999999999999d", "2 h", "1w"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
