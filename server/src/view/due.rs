//! Which locks have to be looked at again only because time passes, and when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lockkeeper_model::Time;

use crate::registry::Slot;

/// Entries that count no more are thrown away when they are more than those that do, and more than this.
const MOST_STALE: usize = 1_024;

/// Slots by the second in which they are due, each at most once that counts. Eight bytes an entry and four a slot.
///
/// A lock that changes is due at another time. If that is later, its entry stays, and it is found out then that nothing
/// has to be done yet: a lease that is renewed every second costs one look a lease, not one a renewal.
#[derive(Debug, Default)]
pub(super) struct Due {
    heap: BinaryHeap<Reverse<(u32, Slot)>>,
    /// For each slot the second of the entry that counts; 0: none does.
    at: Vec<u32>,
    /// Entries that count.
    live: usize,
}

impl Due {
    /// Has the slot brought up at this moment, or before.
    pub(super) fn put(&mut self, slot: Slot, at_ms: i64) {
        // Rounded up, so that the moment is over when the slot comes up.
        let second = u32::try_from(at_ms.max(1).saturating_add(999) / 1_000).unwrap_or(u32::MAX);
        let place = slot as usize;
        if place >= self.at.len() {
            self.at.resize(place + 1, 0);
        }
        let known = self.at[place];
        if known != 0 && known <= second {
            return;
        }
        self.live += usize::from(known == 0);
        self.at[place] = second;
        self.heap.push(Reverse((second, slot)));
        if self.heap.len() > 2 * self.live + MOST_STALE {
            let at = &self.at;
            self.heap.retain(|Reverse((second, slot))| at[*slot as usize] == *second);
        }
    }

    /// A slot whose moment has come.
    pub(super) fn pop(&mut self, now: Time) -> Option<Slot> {
        let now_s = u32::try_from(now.0 / 1_000).unwrap_or(0);
        while let Some(&Reverse((second, slot))) = self.heap.peek() {
            if second > now_s {
                return None;
            }
            self.heap.pop();
            let counts = self.at.get_mut(slot as usize).filter(|at| **at == second);
            if let Some(at) = counts {
                *at = 0;
                self.live -= 1;
                return Some(slot);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(due: &mut Due, now: i64) -> Vec<Slot> {
        std::iter::from_fn(|| due.pop(Time(now))).collect()
    }

    #[test]
    fn a_slot_comes_up_once_when_its_moment_is_over() {
        let mut due = Due::default();
        due.put(7, 5_001);
        due.put(3, 2_000);
        assert_eq!(all(&mut due, 1_999), [0; 0]);
        assert_eq!(all(&mut due, 2_000), [3]);
        assert_eq!(all(&mut due, 5_999), [0; 0]);
        assert_eq!(all(&mut due, 6_000), [7]);
        assert_eq!(all(&mut due, i64::MAX), [0; 0]);
    }

    #[test]
    fn a_later_moment_waits_for_the_earlier_look_and_an_earlier_one_replaces_it() {
        let mut due = Due::default();
        due.put(1, 3_000);
        due.put(1, 9_000);
        assert_eq!(all(&mut due, 3_000), [1], "looked at early");
        due.put(1, 9_000);
        due.put(1, 4_000);
        assert_eq!(all(&mut due, 20_000), [1], "and not again");
    }

    #[test]
    fn a_moment_beyond_all_others_is_a_moment() {
        let mut due = Due::default();
        due.put(1, i64::MAX);
        due.put(2, i64::MIN);
        assert_eq!(all(&mut due, 1_000), [2]);
    }

    #[test]
    fn what_does_not_count_any_more_is_thrown_away() {
        let mut due = Due::default();
        for second in (1..100_000).rev() {
            due.put(0, second * 1_000);
        }
        assert!(due.heap.len() <= 2 + MOST_STALE, "{}", due.heap.len());
        assert_eq!(all(&mut due, 1_000), [0]);
    }
}
