//! How many locks of each kind there are, for charts: kept as they change, so that asking costs no walk over all of them.

use std::collections::BTreeMap;

use lockkeeper_model::{LockState, Time};

use super::keys::Keys;
use crate::source::SourceId;

/// Ages up to which held locks are counted, in seconds: from what a healthy critical section takes to what nobody means.
pub const AGE_BOUNDS_S: [i64; 9] = [1, 5, 15, 60, 300, 900, 3_600, 21_600, 86_400];

/// The locks of one source, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// By dialect and state; those of which there are any, or were.
    pub locks: Vec<(&'static str, LockState, u64)>,
    /// Those who are known to wait, for all locks together.
    pub waiters: u64,
    /// Locks whose holder renewed regularly and has missed a beat.
    pub quiet: u64,
    /// How often a holder came to miss a beat, since the start.
    pub missed_beats: u64,
    /// For each of [`AGE_BOUNDS_S`], the locks that have not been held for longer.
    pub younger: [u64; AGE_BOUNDS_S.len()],
    /// Locks that somebody holds.
    pub held: u64,
    /// For how long the oldest of them has been held at least, in seconds; `None` without any.
    pub oldest_s: Option<i64>,
}

/// Every source's locks, counted.
#[derive(Debug, Default)]
pub(super) struct Census {
    sources: Vec<OfSource>,
    now_s: i64,
}

#[derive(Debug, Default)]
struct OfSource {
    /// By the place of the dialect, then of the state.
    kinds: Vec<[u64; LockState::ALL.len()]>,
    waiters: u64,
    quiet: u64,
    missed_beats: u64,
    ages: Ages,
}

impl Census {
    /// Takes note of a lock that changed.
    pub(super) fn change(&mut self, source: SourceId, old: &Keys, new: &Keys) {
        // A renewal, the most frequent change, changes nothing here.
        if counted_by(old) == counted_by(new) {
            return;
        }
        let at = usize::from(source.0);
        if at >= self.sources.len() {
            self.sources.resize_with(at + 1, OfSource::default);
        }
        let now_s = self.now_s;
        let of_source = &mut self.sources[at];
        of_source.count(old, -1, now_s);
        of_source.count(new, 1, now_s);
        of_source.missed_beats += u64::from(new.quiet && !(old.held && old.quiet));
    }

    /// Lets the locks grow older.
    pub(super) fn grow_older(&mut self, now: Time) {
        let now_s = now.0.div_euclid(1_000);
        if now_s <= self.now_s {
            return;
        }
        for of_source in &mut self.sources {
            of_source.ages.advance(self.now_s, now_s);
        }
        self.now_s = now_s;
    }

    /// The locks of one source; `dialects`: the names by their places.
    pub(super) fn of(&self, source: SourceId, dialects: &[&'static str]) -> Counted {
        let Some(of_source) = self.sources.get(usize::from(source.0)) else { return Counted::default() };
        let mut locks = Vec::new();
        for (dialect, states) in dialects.iter().zip(&of_source.kinds) {
            let of_dialect = LockState::ALL.into_iter().zip(states);
            // Of a dialect that the source has none of, nothing is said; of one that it has, each state.
            if states.iter().any(|count| *count > 0) {
                locks.extend(of_dialect.map(|(state, count)| (*dialect, state, *count)));
            }
        }
        Counted {
            locks,
            waiters: of_source.waiters,
            quiet: of_source.quiet,
            missed_beats: of_source.missed_beats,
            younger: of_source.ages.younger,
            held: of_source.ages.locks,
            oldest_s: of_source.ages.taken.first_key_value().map(|(taken, _)| (self.now_s - taken).max(0)),
        }
    }
}

impl OfSource {
    fn count(&mut self, keys: &Keys, by: i64, now_s: i64) {
        if !keys.held {
            return;
        }
        let dialect = usize::from(keys.dialect);
        if dialect >= self.kinds.len() {
            self.kinds.resize(dialect + 1, [0; LockState::ALL.len()]);
        }
        add(&mut self.kinds[dialect][usize::from(keys.state)], by);
        add(&mut self.waiters, by * i64::from(keys.waiters));
        add(&mut self.quiet, if keys.quiet { by } else { 0 });
        // One that nobody holds has no age.
        if keys.since != i64::MAX {
            self.ages.count(keys.since.div_euclid(1_000), by, now_s);
        }
    }
}

/// All that a lock is counted by.
fn counted_by(keys: &Keys) -> (bool, u8, u8, u32, bool, i64) {
    (keys.held, keys.dialect, keys.state, keys.waiters, keys.quiet, keys.since)
}

/// Held locks by the second in which they were taken.
#[derive(Debug, Default)]
struct Ages {
    taken: BTreeMap<i64, u64>,
    locks: u64,
    /// For each bound, those that were taken within it before the census's `now_s`.
    younger: [u64; AGE_BOUNDS_S.len()],
}

impl Ages {
    fn count(&mut self, taken_s: i64, by: i64, now_s: i64) {
        let in_second = self.taken.entry(taken_s).or_default();
        add(in_second, by);
        if *in_second == 0 {
            self.taken.remove(&taken_s);
        }
        add(&mut self.locks, by);
        for (bound, younger) in AGE_BOUNDS_S.iter().zip(&mut self.younger) {
            add(younger, if taken_s >= now_s - bound { by } else { 0 });
        }
    }

    /// Moves on from one second to another: what passes a bound meanwhile is not younger any more.
    fn advance(&mut self, from_s: i64, to_s: i64) {
        for (bound, younger) in AGE_BOUNDS_S.iter().zip(&mut self.younger) {
            let passed: u64 = self.taken.range(from_s - bound..to_s - bound).map(|(_, locks)| locks).sum();
            *younger = younger.saturating_sub(passed);
        }
    }
}

fn add(to: &mut u64, by: i64) {
    *to = to.saturating_add_signed(by);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_pass_from_age_to_age_as_time_goes_by() {
        let (mut ages, mut now_s) = (Ages::default(), 1_000_000);
        for taken in [now_s, now_s - 3, now_s - 3, now_s - 200_000] {
            ages.count(taken, 1, now_s);
        }
        assert_eq!((ages.locks, ages.younger), (4, [1, 3, 3, 3, 3, 3, 3, 3, 3]));
        for (seconds, younger) in
            [(2, [0, 3, 3, 3, 3, 3, 3, 3, 3]), (4, [0, 0, 3, 3, 3, 3, 3, 3, 3]), (3_600, [0, 0, 0, 0, 0, 0, 0, 3, 3])]
        {
            ages.advance(now_s, now_s + seconds);
            now_s += seconds;
            assert_eq!(ages.younger, younger, "after {seconds} more");
        }
        ages.count(1_000_000 - 3, -1, now_s);
        ages.count(1_000_000 - 200_000, -1, now_s);
        assert_eq!((ages.locks, ages.younger), (2, [0, 0, 0, 0, 0, 0, 0, 2, 2]));
    }
}
