//! Locks that a scan met with all that stands beside them. Where a scan meets one of those keys by its own name, the lock
//! need not be read again: what changed meanwhile was announced.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashMap, HashSet};
use std::hash::BuildHasher;

/// Locks that are noted, and names that wait for the scan's end. Beyond it locks are read more than once.
const MAX_NOTED: usize = 1_000_000;

/// What one scan met so far.
#[derive(Debug, Default)]
pub(crate) struct Company {
    met: Mutex<Met>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug, Default)]
struct Met {
    /// Hashes of roots: by chance two in a million scans of a million locks are alike, and then the next scan tells.
    whole: HashSet<u64>,
    /// Roots that only keys beside them have led to, each with one of those.
    led: HashMap<Bytes, Bytes>,
}

impl Company {
    /// A scan begins, or ended.
    pub(crate) fn clear(&self) {
        *self.lock() = Met::default();
    }

    /// These roots were read with all that stands beside them.
    pub(crate) fn met<'a>(&self, roots: impl Iterator<Item = &'a Bytes>) {
        let mut met = self.lock();
        for root in roots {
            if met.whole.len() < MAX_NOTED {
                met.whole.insert(self.hasher.hash_one(root));
            }
        }
    }

    /// A key beside this root was met. Says whether it can wait for the scan's end.
    pub(crate) fn leave(&self, root: Bytes, key: &Bytes) -> bool {
        let mut met = self.lock();
        if met.whole.contains(&self.hasher.hash_one(&root)) {
            return true;
        }
        if met.led.len() >= MAX_NOTED {
            return false;
        }
        // A part of a page would keep all of it.
        met.led.entry(root).or_insert_with(|| Bytes::copy_from_slice(key));
        true
    }

    /// For each root that was not met, a key that leads to it; in any order.
    pub(crate) fn left(&self) -> Vec<Bytes> {
        let mut met = self.lock();
        let led = std::mem::take(&mut met.led);
        let not_met = |root: &Bytes| !met.whole.contains(&self.hasher.hash_one(root));
        led.into_iter().filter(|(root, _)| not_met(root)).map(|(_, key)| key).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Met> {
        // The sections under this lock only move memory.
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roots_that_were_not_met_are_left() {
        let company = Company::default();
        let [before, after, never] = [&b"a"[..], b"b", b"c"].map(Bytes::from_static);
        company.met([&before].into_iter());
        let queue = Bytes::from_static(b"queue of c");
        assert!(company.leave(before, &queue) && company.leave(after.clone(), &queue) && company.leave(never, &queue));
        company.met([&after].into_iter());
        assert_eq!(company.left(), [queue]);
        assert!(company.left().is_empty());
    }
}
