//! Why a lock is released, in the words of who releases it.

use lockkeeper_model::words;
use regex::bytes::{Regex, RegexBuilder};

use super::refusal::Refusal;

/// The shortest reason: enough for "dup", too much for a stray key.
pub const MIN_REASON_CHARS: usize = 3;

/// The longest reason: a sentence or two with a link, and a log line that can still be read.
pub const MAX_REASON_CHARS: usize = 500;

/// The longest pattern, in bytes: it is shown to whoever writes a reason, who has to understand it.
const MAX_PATTERN_BYTES: usize = 256;

/// What a pattern may become in memory, in bytes: a hundred times what the number of a ticket needs. It bounds what
/// nested repetitions cost.
const MAX_COMPILED_BYTES: usize = 256 * 1024;

/// A regular expression that a reason has to contain, the number of an incident for example. Classes such as `\d` mean
/// ASCII. Matches in linear time, whatever a reason is.
#[derive(Clone, Debug)]
pub struct ReasonPattern(Regex);

impl PartialEq for ReasonPattern {
    fn eq(&self, other: &ReasonPattern) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for ReasonPattern {}

impl ReasonPattern {
    /// The pattern of this text.
    ///
    /// # Errors
    /// Why it cannot be used, in one line.
    pub fn parse(text: &str) -> Result<ReasonPattern, String> {
        if text.trim().is_empty() || text.len() > MAX_PATTERN_BYTES {
            return Err(format!("it has {} bytes, expected 1 to {MAX_PATTERN_BYTES}", text.trim().len()));
        }
        let built = RegexBuilder::new(text).unicode(false).size_limit(MAX_COMPILED_BYTES).build();
        // Of several lines the last says what is wrong; those before it point at the place.
        built.map(ReasonPattern).map_err(|error| {
            let said = error.to_string();
            said.lines().last().unwrap_or(&said).trim_start_matches("error: ").to_owned()
        })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The reason, fit for a log line. `demanded` is what it has to contain where the lock is.
pub(super) fn check_reason(reason: &str, demanded: Option<&ReasonPattern>) -> Result<String, Refusal> {
    let reason = reason.trim();
    let chars = reason.chars().count();
    let problem = match chars {
        0 => "is missing".to_owned(),
        1..MIN_REASON_CHARS => format!("has {chars} characters"),
        _ if chars > MAX_REASON_CHARS => format!("has {} characters", words::count(chars as u64)),
        _ if reason.chars().any(char::is_control) => "contains control characters".to_owned(),
        _ => {
            return match demanded.filter(|pattern| !pattern.0.is_match(reason.as_bytes())) {
                Some(pattern) => Err(Refusal::ReasonPattern { pattern: pattern.as_str().to_owned() }),
                None => Ok(reason.to_owned()),
            };
        }
    };
    Err(Refusal::Reason { problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reasons_are_sentences_of_bearable_length() {
        assert_eq!(check_reason("  worker 7 crashed ", None).unwrap(), "worker 7 crashed");
        for bad in ["", "   ", "x", "ab", "line\nbreak", &"x".repeat(501)] {
            assert!(check_reason(bad, None).is_err(), "{bad:?}");
        }
        assert!(check_reason(&"é".repeat(500), None).is_ok());
    }

    #[test]
    fn a_reason_contains_what_is_demanded() {
        let pattern = ReasonPattern::parse(r"INC-\d+").unwrap();
        assert!(check_reason("INC-4711: worker 7 crashed", Some(&pattern)).is_ok());
        assert!(check_reason("worker 7 crashed, see INC-4711 (Jörg)", Some(&pattern)).is_ok());
        for without in ["worker 7 crashed", "INC-", "inc-4711", "INC-\u{664}\u{667}"] {
            let refusal = check_reason(without, Some(&pattern)).unwrap_err();
            assert_eq!(refusal.to_string(), r"`reason` does not contain what is demanded in production, `INC-\d+`");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_used_says_why_in_one_line() {
        for (text, because) in [
            ("INC-(", "unclosed group"),
            ("", "it has 0 bytes, expected 1 to 256"),
            (&"x".repeat(257), "it has 257 bytes, expected 1 to 256"),
            ("((a{100}){100}){100}", "Compiled regex exceeds size limit of 262144 bytes."),
        ] {
            assert_eq!(ReasonPattern::parse(text).unwrap_err(), because);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_pattern_panic(text in ".{0,60}", reason in ".{0,80}") {
            if let Ok(pattern) = ReasonPattern::parse(&text) {
                let _ = check_reason(&reason, Some(&pattern));
            }
        }
    }
}
