//! How long the holds of a lock last, learned from those that ended.

use std::collections::HashMap;

use bytes::Bytes;
use lockkeeper_model::TransitionKind;

use crate::recorder::history::Durations;
use crate::registry::LoggedEvent;
use crate::source::SourceId;

/// So many ended holds are needed before anything is called unusual: with fewer, the longest of them is the 99th
/// percentile, and every new longest would be a warning.
pub const MIN_HOLDS: u64 = 30;

/// Locks whose holds are remembered, in each of two halves: some ten megabytes. Of more, those that were used last.
pub(super) const MAX_LOCKS: usize = 20_000;

/// The share of holds that is "nearly all".
const NEARLY_ALL: f64 = 0.99;

/// How long holds last, of the locks that were used last.
#[derive(Debug, Default)]
pub(super) struct Usual {
    /// Those that were used since the other half was full.
    recent: HashMap<(SourceId, Bytes), Holds>,
    before: HashMap<(SourceId, Bytes), Holds>,
}

/// What is known of the holds of one lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds {
    held: Durations,
    renews: bool,
}

/// What nearly all holds of a lock did not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nearly {
    /// Not more than this, in milliseconds: as much as a ninth above the exact time.
    pub(super) at_most_ms: i64,
    /// How many there were.
    pub(super) holds: u64,
    /// A holder of it was seen to renew.
    pub(super) renews: bool,
}

impl Usual {
    /// Takes note of what happened.
    pub(super) fn happened(&mut self, event: &LoggedEvent) {
        let Some(key) = &event.key else { return };
        match event.entry.kind {
            TransitionKind::Renewed => {
                let name = (event.source, key.clone());
                if let Some(holds) = self.recent.get_mut(&name).or_else(|| self.before.get_mut(&name)) {
                    holds.renews = true;
                }
            }
            // How a hold ended that nobody saw is not known, nor when.
            TransitionKind::Released | TransitionKind::Expired | TransitionKind::HandedOver => {
                if let Some(ms) = event.entry.held_ms {
                    self.of_mut(event.source, key.clone()).held.add(ms);
                }
            }
            _ => {}
        }
    }

    /// Adds what is known from earlier runs.
    pub(super) fn learn(&mut self, source: SourceId, key: Bytes, held: &Durations, renews: bool) {
        let holds = self.of_mut(source, key);
        holds.held.merge(held);
        holds.renews |= renews;
    }

    /// What is known of a lock, where that is enough.
    pub(super) fn of(&self, source: SourceId, key: &[u8]) -> Option<Nearly> {
        if self.recent.is_empty() && self.before.is_empty() {
            return None;
        }
        let name = (source, Bytes::copy_from_slice(key));
        let holds = self.recent.get(&name).or_else(|| self.before.get(&name))?;
        let count = holds.held.count();
        let at_most_ms = holds.held.quantile(NEARLY_ALL).filter(|_| count >= MIN_HOLDS)?;
        Some(Nearly { at_most_ms, holds: count, renews: holds.renews })
    }

    fn of_mut(&mut self, source: SourceId, key: Bytes) -> &mut Holds {
        let name = (source, key);
        if !self.recent.contains_key(&name) {
            if self.recent.len() >= MAX_LOCKS {
                self.before = std::mem::take(&mut self.recent);
            }
            let known = self.before.remove(&name).unwrap_or_default();
            self.recent.insert(name.clone(), known);
        }
        self.recent.entry(name).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_usual_before_there_are_enough_holds() {
        let mut usual = Usual::default();
        let key = Bytes::from_static(b"lock:a");
        for hold in 0..MIN_HOLDS {
            assert_eq!(usual.of(SourceId(0), &key), None, "{hold} holds");
            usual.of_mut(SourceId(0), key.clone()).held.add(1_000);
        }
        let nearly = usual.of(SourceId(0), &key).unwrap();
        assert!((1_000..1_130).contains(&nearly.at_most_ms), "{nearly:?}");
        assert_eq!(usual.of(SourceId(1), &key), None, "another source's lock of the same name is another lock");
    }

    #[test]
    fn locks_that_are_not_used_any_more_are_forgotten() {
        let mut usual = Usual::default();
        let name = |n: usize| Bytes::from(format!("lock:{n}"));
        for n in 0..3 * MAX_LOCKS {
            usual.of_mut(SourceId(0), name(n)).held.add(1);
            usual.of_mut(SourceId(0), name(0)).held.add(1);
        }
        assert!(usual.recent.len() <= MAX_LOCKS && usual.before.len() <= MAX_LOCKS);
        assert!(usual.of(SourceId(0), &name(0)).unwrap().holds > 2 * MAX_LOCKS as u64, "one that is in use is kept");
        let known = |n: usize| usual.recent.contains_key(&(SourceId(0), name(n)));
        assert!(!known(1) && known(3 * MAX_LOCKS - 1));
    }
}
