//! Keys that changed and wait to be read, each once however often it changed.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use lockkeeper_model::Time;
use tokio::sync::Notify;

use super::assemble::Wanted;
use crate::source::Hint;

/// Keys that may wait. Beyond that the oldest way is cheaper and certain: scan everything again.
const MAX_DIRTY: usize = 1_000_000;

/// The queue did not take a key: it is full, and a scan must find the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// A queue without repetition, first in first out.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    queue: Mutex<Queue>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<(u64, Wanted)>,
    /// Hashes of the keys that wait, and nothing else: a store that is written to at full speed names the same keys again
    /// and again, and this stays in the processor's cache. That two of a million that wait have one hash is as likely as
    /// once in years; the next scan heals it.
    waiting: HashTable<u64>,
    /// What was said of a key while it waited.
    later: HashMap<u64, Later>,
    hasher: DefaultHashBuilder,
    /// Changes that were ever noticed, of keys that waited already, too.
    noticed: u64,
    /// Keys that were ever put in, and taken out: they number the keys in order.
    put: u64,
    taken: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Later {
    noticed_at: Option<Time>,
    ended: Hint,
    new: bool,
}

impl Later {
    fn hears(&mut self, noticed_at: Option<Time>, hint: Hint) {
        self.noticed_at = self.noticed_at.or(noticed_at);
        match hint {
            Hint::None | Hint::WasPart => {}
            Hint::New => self.new = true,
            end => self.ended = end,
        }
    }
}

/// Beside a hash, in its last bit: it is known when the first change was noticed.
const NOTICED: u64 = 1;

impl Dirty {
    /// Notes that a key changed, or must be looked at.
    pub(crate) fn put(&self, key: &[u8], noticed_at: Option<Time>, hint: Hint) -> Result<(), Overflow> {
        let mut queue = self.lock();
        let queue = &mut *queue;
        queue.noticed += 1;
        let hash = queue.hasher.hash_one(key) & !NOTICED;
        let noticed = if noticed_at.is_some() { NOTICED } else { 0 };
        match queue.waiting.entry(hash, |known| known & !NOTICED == hash, |known| known & !NOTICED) {
            Entry::Occupied(mut known) => {
                if hint != Hint::None || noticed > *known.get() & NOTICED {
                    *known.get_mut() |= noticed;
                    queue.later.entry(hash).or_default().hears(noticed_at, hint);
                }
                return Ok(());
            }
            Entry::Vacant(_) if queue.order.len() >= MAX_DIRTY => return Err(Overflow),
            Entry::Vacant(place) => {
                place.insert(hash | noticed);
            }
        }
        let mut first = Later::default();
        first.hears(noticed_at, hint);
        // A copy: the original may be a small part of a large network buffer.
        let key = Bytes::copy_from_slice(key);
        queue.order.push_back((hash, Wanted { key, noticed_at, ended: first.ended, new: first.new }));
        queue.put += 1;
        self.more.notify_one();
        Ok(())
    }

    /// The oldest keys, and how many have been taken out by now. Empty when nothing waits.
    pub(crate) fn take(&self, most: usize) -> (Vec<Wanted>, u64) {
        let mut queue = self.lock();
        let n = queue.order.len().min(most);
        let mut all = Vec::with_capacity(n);
        for _ in 0..n {
            let Some((hash, mut wanted)) = queue.order.pop_front() else { break };
            queue.taken += 1;
            if let Ok(known) = queue.waiting.find_entry(hash, |known| known & !NOTICED == hash) {
                known.remove();
            }
            if let Some(later) = queue.later.remove(&hash) {
                wanted.noticed_at = wanted.noticed_at.or(later.noticed_at);
                wanted.new |= later.new;
                if later.ended != Hint::None {
                    wanted.ended = later.ended;
                }
            }
            all.push(wanted);
        }
        (all, queue.taken)
    }

    /// How many keys were ever put in.
    pub(crate) fn put_so_far(&self) -> u64 {
        self.lock().put
    }

    /// How many changes were ever noticed.
    pub(crate) fn noticed_so_far(&self) -> u64 {
        self.lock().noticed
    }

    /// How many keys wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().order.len()
    }

    /// Waits until a key is put in.
    pub(crate) async fn more(&self) {
        self.more.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The sections under this lock only move memory and cannot panic half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_waits_once_and_keeps_what_was_said_of_it() {
        let dirty = Dirty::default();
        dirty.put(b"a", Some(Time(1)), Hint::Deleted).unwrap();
        dirty.put(b"b", Some(Time(2)), Hint::None).unwrap();
        dirty.put(b"a", Some(Time(3)), Hint::New).unwrap();
        let (wanted, taken) = dirty.take(10);
        assert_eq!(taken, 2);
        let a = &wanted[0];
        assert_eq!((&a.key[..], a.noticed_at, a.ended, a.new), (&b"a"[..], Some(Time(1)), Hint::Deleted, true));
        assert_eq!((dirty.put_so_far(), dirty.noticed_so_far(), dirty.len()), (2, 3, 0));
    }

    #[test]
    fn a_key_that_is_looked_at_anyway_keeps_when_its_change_was_noticed_first() {
        let dirty = Dirty::default();
        for at in [None, Some(Time(1)), Some(Time(2))] {
            dirty.put(b"a", at, Hint::None).unwrap();
        }
        let (wanted, _) = dirty.take(10);
        assert_eq!((wanted.len(), wanted[0].noticed_at), (1, Some(Time(1))));
        dirty.put(b"a", None, Hint::None).unwrap();
        assert_eq!(dirty.take(10).0[0].noticed_at, None, "what was said before is over");
    }
}
