//! What the operator asks of whoever releases.

use std::num::NonZeroU32;
use std::time::Duration;

use super::preview::MAX_LOCKS;
use super::reason::ReasonPattern;

/// Releases that one person may try in a minute unless told otherwise. Hands do a few: what does more is a script that
/// has gone astray.
pub const DEFAULT_ATTEMPTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();

/// For how long a lock that was released is left alone unless told otherwise. Whoever takes it next needs a moment to be
/// seen, and a page that was not looked at again shows the former holder for no longer.
pub const DEFAULT_COOL_DOWN: Duration = Duration::from_secs(10);

/// The rules of a [`super::ReleaseDesk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether anything is released at all.
    pub enabled: bool,
    /// Locks in one request, at most [`MAX_LOCKS`].
    pub max_locks: usize,
    /// Releases that one person may try in a minute.
    pub attempts_per_minute: NonZeroU32,
    /// For how long a lock that was released cannot be released again; zero: it can. Of one that several may hold at
    /// once, it is the holder that was freed.
    pub cool_down: Duration,
    /// Whether the two limits before apply to every source, and not to those in production alone.
    pub limits_everywhere: bool,
    /// Whether a release in production takes another person's approval.
    pub two_persons: bool,
    /// What a reason has to contain in production.
    pub reason_pattern: Option<ReasonPattern>,
}

impl Default for Rules {
    /// Nothing is released.
    fn default() -> Rules {
        Rules {
            enabled: false,
            max_locks: MAX_LOCKS,
            attempts_per_minute: DEFAULT_ATTEMPTS_PER_MINUTE,
            cool_down: DEFAULT_COOL_DOWN,
            limits_everywhere: false,
            two_persons: false,
            reason_pattern: None,
        }
    }
}

impl Rules {
    /// The default rules, switched on or off.
    #[must_use]
    pub fn with_releasing(enabled: bool) -> Rules {
        Rules { enabled, ..Rules::default() }
    }
}
