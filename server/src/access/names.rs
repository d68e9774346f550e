//! What may be a name: it stands in every log line and audit entry.

use lockkeeper_model::words;

/// The longest name of a user, a group or a token of ours, in characters.
pub(super) const MAX_NAME_CHARS: usize = 64;

/// A text that cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` cannot be a name, expected 1 to {MAX_NAME_CHARS} letters, digits, or any of `. _ @ + -`",
    words::shown(.0)
)]
pub struct BadName(String);

/// The text, if it can be the name of a user, a group or a token of ours.
pub(super) fn checked_name(text: &str) -> Result<String, BadName> {
    let is_name = (1..=MAX_NAME_CHARS).contains(&text.chars().count())
        && text.chars().all(|c| c.is_alphanumeric() || "._@+-".contains(c));
    if is_name { Ok(text.to_owned()) } else { Err(BadName(text.to_owned())) }
}

/// The text, if it can be the name of somebody whom a proxy or a provider names: anything that is shown as it is, so that
/// it reads the same on the screen and in a log.
pub(super) fn foreign_name(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && words::shown(text) == text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_ours_is_plain() {
        for (name, is_good) in [
            ("ada", true),
            ("jörg.k+ops@example.org", true),
            ("", false),
            ("a b", false),
            ("a\nb", false),
            ("<b>", false),
            (&"a".repeat(65), false),
        ] {
            assert_eq!(checked_name(name).is_ok(), is_good, "{name:?}");
        }
    }

    #[test]
    fn a_foreign_name_reads_the_same_everywhere() {
        assert_eq!(foreign_name(" Ada Lovelace <ada@example.org> ").as_deref(), Some("Ada Lovelace <ada@example.org>"));
        for name in ["", " ", "a\tb", "a\nb", "\u{202e}ada", &"a".repeat(201)] {
            assert_eq!(foreign_name(name), None, "{name:?}");
        }
    }
}
