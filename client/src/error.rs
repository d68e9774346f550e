//! What can go wrong between wanting a lock and giving it back.

use std::time::Duration;

/// Why there is no lock, or why it could not be given back. Texts are safe to show and to log: no password, no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting cannot be used. Nothing was sent.
    #[error("{what} is {value}; {hint}")]
    Invalid {
        /// The setting.
        what: &'static str,
        /// What was given.
        value: String,
        /// What to try.
        hint: &'static str,
    },
    /// Somebody else has the lock, and the caller did not want to wait.
    #[error("`{key}` is held by somebody else")]
    Refused {
        /// The lock, safe to show.
        key: String,
    },
    /// Somebody else had the lock until the deadline.
    #[error("`{key}` was held by others for {waited:.1?}, over {tries} tries; wait longer, or see who holds it")]
    GaveUp {
        /// The lock, safe to show.
        key: String,
        /// How long it was waited for.
        waited: Duration,
        /// How often it was tried.
        tries: u32,
    },
    /// Too few masters answered in time, so whether the lock is free, held or given back is not known.
    #[error("{answered} of {masters} Redis masters answered in time and {needed} have to: {last}")]
    Unreachable {
        /// How many answered.
        answered: usize,
        /// How many there are.
        masters: usize,
        /// How many have to agree.
        needed: usize,
        /// What the last of the others said.
        last: String,
    },
    /// Redis refuses the commands themselves; trying again does not help.
    #[error("Redis refuses: {because}")]
    Denied {
        /// Redis's own words, cut.
        because: String,
    },
    /// The lock was not the caller's any more when it was given back: its lease ran out, or somebody freed it. Nothing
    /// was deleted.
    #[error("`{key}` was no longer held when it was given back: somebody else may have worked at the same time")]
    NotHeld {
        /// The lock, safe to show.
        key: String,
    },
}

/// Characters of a stranger's text that are repeated.
const MAX_SHOWN: usize = 200;

/// Bytes that somebody else chose, in visible ASCII.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let beginning = &bytes[..bytes.len().min(MAX_SHOWN)];
    let more = if beginning.len() < bytes.len() { "…" } else { "" };
    format!("{}{more}", beginning.escape_ascii())
}
