//! How many locks each holder has, counted as they change hands.

use std::collections::HashMap;

use crate::registry::{Registry, Slot};
use crate::source::SourceId;

/// No holder that could be told from others.
const NOBODY: u64 = 0;

/// Who holds how many.
#[derive(Debug, Default)]
pub(super) struct Parties {
    /// Of each slot: the hold that was counted, by its generation, and whose it is.
    counted: Vec<(u64, u64)>,
    by_party: HashMap<u64, u32>,
    /// Those who have more than a limit, since when, and one of their locks.
    over: HashMap<u64, Over>,
}

/// Somebody with more locks than a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) source: SourceId,
    pub(super) since: i64,
    /// One of the locks, by which they can be named.
    pub(super) one: Slot,
}

impl Parties {
    /// Takes note of a lock that changed. `limit`: how many locks one may have there.
    pub(super) fn change(&mut self, registry: &Registry, slot: Slot, limit: Option<u32>, now: i64) {
        let Some(record) = registry.record(slot) else { return };
        let at = slot as usize;
        let generation = record.holds.first().map_or(0, |hold| hold.generation);
        if at >= self.counted.len() {
            self.counted.resize(at + 1, (0, NOBODY));
        }
        let (counted, before) = self.counted[at];
        if counted == generation {
            return;
        }
        let party = registry.party(record).unwrap_or(NOBODY);
        self.counted[at] = (generation, party);
        if before != NOBODY
            && let Some(locks) = self.by_party.get_mut(&before)
        {
            *locks -= 1;
            if *locks == 0 {
                self.by_party.remove(&before);
            }
        }
        if party != NOBODY {
            let locks = self.by_party.entry(party).or_insert(0);
            *locks += 1;
            if limit.is_some_and(|limit| *locks > limit) {
                let over = Over { source: record.source, since: now, one: slot };
                self.over.entry(party).or_insert(over).one = slot;
            }
        }
    }

    /// Those who have more than a limit, leaving out those for whom `is_over` says that it is so no more.
    pub(super) fn over(&mut self, mut is_over: impl FnMut(u64, &Over, u32) -> bool) {
        let by_party = &self.by_party;
        self.over.retain(|party, over| is_over(*party, over, by_party.get(party).copied().unwrap_or(0)));
    }

    /// Counts all anew, after the limits changed.
    pub(super) fn forget(&mut self) {
        *self = Parties::default();
    }
}
