//! What is asked of a person before a lock is freed.

use lockkeeper_model::{Action, words};

use super::actions;
use super::refusal::Refusal;

/// The shortest reason: enough for "dup", too much for a stray key.
pub const MIN_REASON_CHARS: usize = 3;

/// The longest reason: a sentence or two with a link, and a log line that can still be read.
pub const MAX_REASON_CHARS: usize = 500;

/// The longest text that a person is made to type.
const MAX_CONFIRM_CHARS: usize = 40;

/// The text to type: the end of the lock's name, so that the eye must have found the lock and the hand cannot confirm
/// out of habit.
pub(super) fn confirm_text(action: Action, names: &[&str]) -> String {
    let (verb, things) = actions::verb(action);
    let [name] = names else { return format!("{verb} {} {things}", names.len()) };
    let end = name.rsplit(':').find(|part| !part.trim().is_empty()).unwrap_or(name).trim();
    let chars = end.chars().count();
    let end: String = end.chars().skip(chars.saturating_sub(MAX_CONFIRM_CHARS)).collect();
    if end.trim().is_empty() || words::shown(&end) != end { verb.to_owned() } else { end.trim().to_owned() }
}

/// Whether what was typed is what was to be typed. Spaces around it are the clipboard's.
pub(super) fn check_confirmation(typed: &str, expected: &str) -> Result<(), Refusal> {
    if typed.trim() == expected { Ok(()) } else { Err(Refusal::Unconfirmed { expected: expected.to_owned() }) }
}

/// The reason, fit for a log line.
pub(super) fn check_reason(reason: &str) -> Result<String, Refusal> {
    let reason = reason.trim();
    let chars = reason.chars().count();
    let problem = match chars {
        0 => "is missing".to_owned(),
        1..MIN_REASON_CHARS => format!("has {chars} characters"),
        _ if chars > MAX_REASON_CHARS => format!("has {} characters", words::count(chars as u64)),
        _ if reason.chars().any(char::is_control) => "contains control characters".to_owned(),
        _ => return Ok(reason.to_owned()),
    };
    Err(Refusal::Reason { problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_to_type_is_the_end_of_the_name() {
        for (name, confirm) in [
            ("stock:4711", "4711"),
            ("nightly", "nightly"),
            ("jobs:", "jobs"),
            ("a: b ", "b"),
            (":", ":"),
            ("", "release"),
            ("x:\u{202e}evil", "release"),
            ("q:\n", "q"),
        ] {
            assert_eq!(confirm_text(Action::Release, &[name]), confirm, "{name:?}");
        }
        assert_eq!(confirm_text(Action::Release, &[&"x".repeat(100)]), "x".repeat(40));
        assert_eq!(confirm_text(Action::Release, &["a", "b", "c"]), "release 3 locks");
        assert_eq!(confirm_text(Action::EvictWaiter, &["a", "b"]), "evict 2 waiters");
        assert_eq!(confirm_text(Action::EvictWaiter, &["stock:4711"]), "4711");
        assert_eq!(confirm_text(Action::RaiseFence, &["a", "b"]), "raise 2 fences");
    }

    #[test]
    fn reasons_are_sentences_of_bearable_length() {
        assert_eq!(check_reason("  worker 7 crashed ").unwrap(), "worker 7 crashed");
        for bad in ["", "   ", "x", "ab", "line\nbreak", &"x".repeat(501)] {
            assert!(check_reason(bad).is_err(), "{bad:?}");
        }
        assert!(check_reason(&"é".repeat(500)).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_the_name_the_text_can_be_typed_and_confirms_itself(name in ".{0,80}") {
            let confirm = confirm_text(Action::Release, &[&name]);
            prop_assert!(!confirm.is_empty() && confirm.chars().count() <= MAX_CONFIRM_CHARS);
            prop_assert!(!confirm.chars().any(char::is_control));
            prop_assert!(check_confirmation(&confirm, &confirm).is_ok());
        }
    }
}
