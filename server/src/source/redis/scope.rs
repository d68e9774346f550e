//! Which keys are looked at.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hashbrown::hash_map::Entry;
use hashbrown::{DefaultHashBuilder, HashMap};
use lockkeeper_model::Time;

use super::dialect;
use crate::glob;

/// The longest name of a key that is looked at, in bytes. Names of locks are made by people and their programs; one that
/// is longer than this would be no use on a screen.
const MAX_KEY_BYTES: usize = 4 * 1024;

/// Keys that are remembered to hold no lock: some forty megabytes. More are looked at whenever they change.
const MAX_NO_LOCKS: usize = 1_000_000;

/// A key that held something else is not looked at again for this long after it changes, in milliseconds, twice as long
/// each time that it still does, and this long at most: a name that becomes a lock's is noticed within seconds, and a
/// counter that changes all day costs a reading a minute.
const FIRST_PAUSE_MS: i64 = 1_000;
const LONGEST_PAUSE_MS: i64 = 64_000;

/// Changes of such keys that may wait to be looked at; what finds no room is found by the next scan.
const MAX_LATER: usize = 100_000;

/// The operator's patterns; and, without any, what was learned to be something else.
///
/// Without patterns every change of every key is heard of, and most keys of most stores hold no lock. Those that held
/// something else when they were last read are not read at every change, but ever more rarely.
#[derive(Debug)]
pub(crate) struct Scope {
    patterns: Vec<String>,
    /// The stream with clients' reports, which is none of the locks whatever a pattern says.
    reports: Option<String>,
    learned: Mutex<Learned>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug, Default)]
struct Learned {
    no_locks: HashMap<u64, Pause>,
    /// Keys that changed during their pause.
    later: HashMap<Bytes, Time>,
}

#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Time,
    ms: i64,
}

impl Scope {
    pub(crate) fn new(patterns: Vec<String>, reports: Option<String>) -> Scope {
        Scope { patterns, reports, learned: Mutex::default(), hasher: DefaultHashBuilder::default() }
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

    /// The operator's patterns, and those of keys that lead to locks of theirs by another name. Empty: all keys.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = String> {
        let leads = dialect::leads().filter(|_| self.is_configured()).map(|lead| format!("{lead}*"));
        self.patterns.iter().cloned().chain(leads)
    }

    /// What every key begins with that is to be heard of; see [`glob::prefixes`].
    pub(crate) fn prefixes(&self) -> Vec<String> {
        glob::prefixes(&self.patterns().collect::<Vec<_>>())
    }

    /// One pattern for `SCAN` that leaves out nothing that is to be found; `None` where it would leave out nothing at all.
    pub(crate) fn narrowing(&self) -> Option<String> {
        let pattern = match self.patterns.as_slice() {
            [one] => one.clone(),
            several => match glob::prefixes(several).as_slice() {
                [prefix] if !prefix.is_empty() => glob::escaped(prefix) + "*",
                _ => return None,
            },
        };
        Some(glob::within(&pattern, dialect::leads()))
    }

    /// A key holds something that is no lock.
    pub(crate) fn learn_no_lock(&self, key: &[u8], now: Time) {
        if self.is_configured() {
            return;
        }
        let hash = self.hasher.hash_one(key);
        let mut learned = self.learned();
        let is_full = learned.no_locks.len() >= MAX_NO_LOCKS;
        match learned.no_locks.entry(hash) {
            Entry::Occupied(mut known) => {
                let ms = (known.get().ms * 2).min(LONGEST_PAUSE_MS);
                known.insert(Pause { until: now.plus(ms), ms });
            }
            Entry::Vacant(_) if is_full => {}
            Entry::Vacant(place) => {
                place.insert(Pause { until: now.plus(FIRST_PAUSE_MS), ms: FIRST_PAUSE_MS });
            }
        }
    }

    /// A key holds a lock, or nothing: whatever comes next is looked at at once.
    pub(crate) fn unlearn(&self, key: &[u8]) {
        if !self.is_configured() {
            self.learned().no_locks.remove(&self.hasher.hash_one(key));
        }
    }

    /// Whether a key that changed need not be looked at now; if so it will be among [`Scope::due`].
    pub(crate) fn puts_off(&self, key: &[u8], now: Time) -> bool {
        if self.is_configured() {
            return false;
        }
        let mut learned = self.learned();
        let Some(pause) = learned.no_locks.get(&self.hasher.hash_one(key)).copied() else { return false };
        if pause.until <= now {
            return false;
        }
        if learned.later.len() < MAX_LATER && !learned.later.contains_key(key) {
            learned.later.insert(Bytes::copy_from_slice(key), pause.until);
        }
        true
    }

    /// Keys that changed and whose pause is over.
    pub(crate) fn due(&self, now: Time) -> Vec<Bytes> {
        let mut learned = self.learned();
        if learned.later.is_empty() {
            return Vec::new();
        }
        learned.later.extract_if(|_, until| *until <= now).map(|(key, _)| key).collect()
    }

    /// A scan begins, which looks at everything again.
    pub(crate) fn scan_begins(&self) {
        let mut learned = self.learned();
        learned.later.clear();
        // Most may be of keys that are long gone; the scan learns the others anew.
        if learned.no_locks.len() == MAX_NO_LOCKS {
            learned.no_locks.clear();
        }
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        // What a panic left behind is put right by the next scan.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_a_lock_is_looked_for_where_patterns_name_the_locks_alone() {
        let scope = |patterns: &[&str]| Scope::new(patterns.iter().map(|&one| one.to_owned()).collect(), None);
        assert_eq!(scope(&["lock:*"]).prefixes(), ["lock:", "redisson_lock_queue:"]);
        assert_eq!(scope(&["lock:*"]).narrowing().as_deref(), Some(r"[\r\l]*ock:**"));
        assert_eq!(scope(&["lock:a:*", "lock:a:b*"]).narrowing().as_deref(), Some(r"[\r\l]*\o\c\k\:\a\:**"));
        assert_eq!(scope(&["redisson*", "x"]).prefixes(), ["redisson", "x"]);
        for all in [&[][..], &["*"], &["a", "*b"]] {
            assert_eq!(scope(all).prefixes(), [""], "{all:?}");
        }
        assert_eq!((scope(&[]).narrowing(), scope(&["a*", "b*"]).narrowing()), (None, None));
    }

    #[test]
    fn what_held_something_else_is_looked_at_ever_more_rarely_and_never_forgotten() {
        let scope = Scope::new(Vec::new(), None);
        assert!(scope.has(b"session:1") && !scope.puts_off(b"session:1", Time(0)));
        scope.learn_no_lock(b"session:1", Time(0));
        assert!(scope.puts_off(b"session:1", Time(500)) && scope.due(Time(999)).is_empty());
        assert_eq!(scope.due(Time(1_000)), [&b"session:1"[..]]);
        scope.learn_no_lock(b"session:1", Time(1_000));
        assert!(scope.puts_off(b"session:1", Time(2_500)) && !scope.puts_off(b"session:1", Time(3_000)));
        scope.unlearn(b"session:1");
        assert!(!scope.puts_off(b"session:1", Time(1_001)));
        assert!(!scope.has(&[b'x'; 5_000]));
    }

    #[test]
    fn an_operator_is_taken_at_their_word() {
        let scope = Scope::new(vec!["session:*".to_owned()], Some("session:reports".to_owned()));
        assert!(!scope.has(b"session:reports"));
        scope.learn_no_lock(b"session:1", Time(0));
        assert!(!scope.puts_off(b"session:1", Time(1)) && !scope.has(b"other"));
    }
}
