//! What a person is made to type before a lock is freed.

use lockkeeper_model::{Action, words};

use super::actions;
use super::refusal::Refusal;

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
