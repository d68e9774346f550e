//! Which keys are looked at.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use super::glob;

/// The longest name of a key that is looked at, in bytes. Names of locks are made by people and their programs; one that
/// is longer than this would be no use on a screen.
const MAX_KEY_BYTES: usize = 4 * 1024;

/// Keys that are remembered to hold no lock: some ten megabytes. More are looked at whenever they change.
const MAX_NO_LOCKS: usize = 1_000_000;

/// The operator's patterns; and, without any, what was learned to be something else.
///
/// Without patterns every change of every key is heard of, and most keys of most stores hold no lock. Those that held
/// something else when they were last read are not read at every change: the next scan looks at them again.
#[derive(Debug)]
pub(crate) struct Scope {
    patterns: Vec<String>,
    /// The stream with clients' reports, which is none of the locks whatever a pattern says.
    reports: Option<String>,
    no_locks: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Scope {
    pub(crate) fn new(patterns: Vec<String>, reports: Option<String>) -> Scope {
        Scope { patterns, reports, no_locks: Mutex::default(), hasher: RandomState::new() }
    }

    /// Whether a key is to be looked at at all.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        key.len() <= MAX_KEY_BYTES
            && self.reports.as_ref().is_none_or(|stream| stream.as_bytes() != key)
            && (self.patterns.is_empty() || self.patterns.iter().any(|pattern| glob::matches(pattern.as_bytes(), key)))
    }

    /// Whether an operator said which keys are locks.
    pub(crate) fn is_configured(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// A key holds something that is no lock.
    pub(crate) fn learn_no_lock(&self, key: &[u8]) {
        if self.is_configured() {
            return;
        }
        let mut no_locks = self.no_locks.lock().unwrap_or_else(PoisonError::into_inner);
        if no_locks.len() < MAX_NO_LOCKS {
            no_locks.insert(self.hasher.hash_one(key));
        }
    }

    /// Whether a key held no lock when it was last read since the last scan began.
    pub(crate) fn is_no_lock(&self, key: &[u8]) -> bool {
        !self.is_configured()
            && self.no_locks.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.hasher.hash_one(key))
    }

    /// A scan begins, which looks at everything again.
    pub(crate) fn forget_no_locks(&self) {
        self.no_locks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_holds_until_the_next_scan_and_never_against_an_operator() {
        let catalogue = Scope::new(Vec::new(), None);
        assert!(catalogue.has(b"session:1") && !catalogue.is_no_lock(b"session:1"));
        catalogue.learn_no_lock(b"session:1");
        assert!(catalogue.is_no_lock(b"session:1"));
        catalogue.forget_no_locks();
        assert!(!catalogue.is_no_lock(b"session:1"));
        let configured = Scope::new(vec!["session:*".to_owned()], Some("session:reports".to_owned()));
        assert!(!configured.has(b"session:reports"));
        configured.learn_no_lock(b"session:1");
        assert!(!configured.is_no_lock(b"session:1") && !configured.has(b"other"));
        assert!(!catalogue.has(&[b'x'; 5_000]));
    }
}
