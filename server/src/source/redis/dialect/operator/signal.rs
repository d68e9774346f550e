//! What wakes those who wait for a lock of an operator's format.

use crate::glob;

/// The longest name of a channel or key with its placeholders, and the longest value, in bytes.
pub const MAX_SIGNAL_BYTES: usize = 512;

const NAME: &str = "{name}";
const KEY: &str = "{key}";

/// What a release tells those who wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A message on a channel.
    Publish {
        /// The channel.
        channel: Target,
        /// The message.
        payload: String,
    },
    /// An element at the head of a list.
    Push {
        /// The list's key.
        key: Target,
        /// The element.
        value: String,
        /// How long the list lives if nobody takes it, in milliseconds.
        expire_ms: u64,
    },
}

/// The name of a channel or key, with `{name}` and `{key}` for what differs from lock to lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(String);

impl Target {
    /// Checks it against the pattern of the keys for which it is made.
    ///
    /// # Errors
    /// In words: what it should be.
    pub fn parse(text: &str, pattern: &str) -> Result<Target, String> {
        if text.is_empty() || text.len() > MAX_SIGNAL_BYTES {
            return Err(format!("1 to {MAX_SIGNAL_BYTES} bytes, such as `unlock:{{name}}`"));
        }
        if has_other_braces(text) {
            return Err("no placeholder but `{name}` and `{key}`".to_owned());
        }
        if text.contains(NAME) && glob::first_star(pattern.as_bytes()).is_none() {
            return Err(format!("no `{{name}}`, because `{pattern}` has no `*` for it to stand for"));
        }
        Ok(Target(text.to_owned()))
    }

    /// The name for one lock.
    pub(super) fn of(&self, pattern: &str, key: &[u8]) -> Vec<u8> {
        let name = glob::starred(pattern.as_bytes(), key).unwrap_or_default();
        let (mut out, mut rest) = (Vec::with_capacity(self.0.len() + key.len()), self.0.as_str());
        while let Some(at) = rest.find('{') {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix(NAME) {
                out.extend_from_slice(name);
                rest = after;
            } else if let Some(after) = rest.strip_prefix(KEY) {
                out.extend_from_slice(key);
                rest = after;
            } else {
                out.push(b'{');
                rest = &rest[1..];
            }
        }
        out.extend_from_slice(rest.as_bytes());
        out
    }
}

/// Whether it has braces beyond those of placeholders and of hash tags around one, `{{name}}`, which put a list into the
/// slot of its lock.
fn has_other_braces(text: &str) -> bool {
    let rest = text.replace("{{name}}", "").replace("{{key}}", "").replace(NAME, "").replace(KEY, "");
    rest.contains(['{', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_first_star_stands_for() {
        let of = |text: &str, pattern: &str, key: &str| {
            String::from_utf8(Target::parse(text, pattern).unwrap().of(pattern, key.as_bytes())).unwrap()
        };
        assert_eq!(of("unlock:{name}", "billing:*:lock", "billing:a:b:lock"), "unlock:a:b");
        assert_eq!(of("signal:{key}!", "billing:*:lock", "billing:a:lock"), "signal:billing:a:lock!");
        assert_eq!(of("{name}/{name}", "*:lock:*", "{key}:lock:lock:x"), "{key}/{key}");
        assert_eq!(of("signal:{{name}}", r"\*{*}", "*{a}"), "signal:{a}");
        assert_eq!(of("all", "exact", "exact"), "all");
    }

    #[test]
    fn a_name_that_cannot_be_made_is_explained() {
        let refused = |text: &str, pattern: &str| Target::parse(text, pattern).unwrap_err();
        assert_eq!(refused("", "a*"), "1 to 512 bytes, such as `unlock:{name}`");
        assert_eq!(refused("a:{nam}", "a*"), "no placeholder but `{name}` and `{key}`");
        assert_eq!(refused("a:{name}", "a?"), "no `{name}`, because `a?` has no `*` for it to stand for");
    }
}
