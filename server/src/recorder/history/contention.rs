//! Who waited over any time, added up of whole minutes; and of how much of that time nobody knows.

use std::ops::Range;

use hashbrown::{HashMap, HashSet};
use lockkeeper_model::{ContentionStats, LockId, MostWaiters, Time, WaitersBasis};

use super::minutes::MINUTE_MS;
use super::read::Reader;
use super::schema::HistoryError;
use super::stats::Adding;
use super::waits::{self, Sight};
use crate::clock;
use crate::recorder::db::DbError;
use crate::registry::waits::{Waited, seconds};
use crate::registry::weaker;

/// Minutes of locks that are gone through at once: a tenth of a second's work, and a month in which fifty locks are always
/// waited for.
const MAX_WAITS: usize = 2_000_000;

const TOO_MUCH: &str = "more was waited for in that time than is added up at once: ask about a shorter one";

/// Who waited, as far as it is added up. Minutes come in order.
#[derive(Debug, Default)]
struct Seen {
    waited_ms: u64,
    /// The seconds of each minute in which somebody waited for any of the locks, the first in the lowest bit.
    seconds: Vec<(i64, u64)>,
    /// Most at once, when, and for which lock.
    most: Option<(u32, i64, i64)>,
    basis: Option<WaitersBasis>,
}

impl Seen {
    fn add(&mut self, lock: i64, waited: &Waited) {
        match self.seconds.last_mut() {
            Some((minute, seconds)) if *minute == waited.minute => *seconds |= waited.seconds,
            _ => self.seconds.push((waited.minute, waited.seconds)),
        }
        self.waited_ms = self.waited_ms.saturating_add(waited.waited_ms);
        if self.most.is_none_or(|(most, ..)| waited.most > most) {
            self.most = Some((waited.most, waited.most_at, lock));
        }
        self.basis = Some(self.basis.map_or(waited.basis, |basis| weaker(basis, waited.basis)));
    }

    /// For how long somebody waited, in milliseconds.
    fn contended_ms(&self) -> i64 {
        self.seconds.iter().map(|(_, seconds)| i64::from(seconds.count_ones()) * 1_000).sum()
    }

    /// What part of a time, in order and apart, that is; `None` of none.
    fn share_of(&self, known: &[Range<i64>]) -> Option<f64> {
        let all = length(known);
        let mut contended = 0;
        for range in known {
            for minute in minutes(range.start, range.end) {
                let Ok(at) = self.seconds.binary_search_by_key(&minute, |(minute, _)| *minute) else { continue };
                let first = minute * MINUTE_MS;
                let (from, to) = (range.start.max(first), range.end.min(first + MINUTE_MS));
                let seconds = self.seconds[at].1 & seconds(from, to);
                // Those at the edges of what is known are cut.
                contended += (i64::from(seconds.count_ones()) * 1_000).min(to - from);
            }
        }
        (all > 0).then(|| contended as f64 / all as f64)
    }
}

/// When those who wait were followed in a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    source: i64,
    began: i64,
    ended: i64,
    /// Those who can only be counted, too.
    counted: bool,
}

/// The part of these stretches in a time in which those who wait in a source were seen, who can be seen so; in order, and apart.
pub(super) fn own(stretches: &[Stretch], source: i64, sight: Sight, time: &Range<i64>) -> Vec<Range<i64>> {
    let own = stretches.iter().filter(|one| one.source == source && (sight == Sight::Listed || one.counted));
    own.map(|one| time.start.max(one.began)..time.end.min(one.ended)).collect()
}

/// How long a time is, in milliseconds.
pub(super) fn length(time: &[Range<i64>]) -> i64 {
    time.iter().map(|range| range.end - range.start).sum()
}

/// What is in both of two times; each in order, and apart.
fn common(one: &[Range<i64>], other: &[Range<i64>]) -> Vec<Range<i64>> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut both = Vec::new();
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        let common = a.start.max(b.start)..a.end.min(b.end);
        let is_first_over = a.end <= b.end;
        if !common.is_empty() {
            both.push(common);
        }
        if is_first_over {
            one.next()
        } else {
            other.next()
        };
    }
    both
}

/// Nothing can be said of a time, because of this.
fn unknown(time: Range<Time>, because: &str) -> ContentionStats {
    ContentionStats {
        from: time.start,
        to: time.end,
        known_ms: 0,
        waited_ms: None,
        contended_ms: None,
        share: None,
        most: None,
        basis: WaitersBasis::Unknown,
        unseen_locks: 0,
        because: Some(because.to_owned()),
    }
}

/// The whole minutes that a time touches.
fn minutes(from: i64, to: i64) -> Range<i64> {
    from.div_euclid(MINUTE_MS)..to.saturating_add(MINUTE_MS - 1).div_euclid(MINUTE_MS)
}

impl Reader {
    /// Who waited for the locks that pass.
    pub(super) fn contention(&mut self, adding: &mut Adding<'_>) -> Result<ContentionStats, HistoryError> {
        let filter = adding.filter;
        let begun = self.connection().number("SELECT min(began) FROM followed", &[])?;
        let begins = self.begins_at()?.map(|at| at.0).into_iter().chain(begun).min();
        let now = clock::now();
        let to = filter.to.map_or(now, |to| to.min(now)).0;
        let from = filter.from.map(|from| from.0).or(begins).unwrap_or(to).min(to);
        let minutes = minutes(from, to);
        let start = Time(minutes.start * MINUTE_MS);
        let time = start..Time(minutes.end * MINUTE_MS).min(now).max(start);
        let mut asked = HashSet::new();
        let is_all = self.each_wait(&minutes, |lock, _| {
            if !adding.known.is_judged(lock) {
                asked.insert(lock);
            }
        })?;
        if !is_all {
            return Ok(unknown(time, TOO_MUCH));
        }
        self.judge(asked.into_iter().collect(), adding)?;
        let first_name = self.connection().number("SELECT min(id) FROM locks", &[])?.unwrap_or(i64::MAX);
        // Whose name was cut off may be one that was asked for.
        let mut known_from = minutes.start;
        let mut seen = Seen::default();
        self.each_wait(&minutes, |lock, waited| {
            if lock < first_name {
                known_from = waited.minute + 1;
            } else if adding.known.passes(lock) {
                seen.add(lock, &waited);
            }
        })?;
        if adding.locks.is_empty()
            && let Some(key) = &filter.key
        {
            self.judge_named(key, adding)?;
        }
        let known = self.followed(adding, &(known_from * MINUTE_MS..minutes.end * MINUTE_MS))?;
        self.contention_told(adding, &seen, &known, time)
    }

    /// Everyone who waited in these minutes. Says whether that was all, or too much.
    pub(super) fn each_wait(
        &self,
        minutes: &Range<i64>,
        mut look: impl FnMut(i64, Waited),
    ) -> Result<bool, HistoryError> {
        let sql = "SELECT minute, sums FROM waits WHERE minute >= $1 AND minute < $2 ORDER BY minute, part";
        let mut looked_at = 0;
        self.connection().each(sql, &waits::between(minutes), |row| {
            if looked_at <= MAX_WAITS {
                waits::each(row.get(0)?, row.bytes(1), |lock, waited| {
                    looked_at += 1;
                    look(lock, waited);
                });
            }
            Ok::<(), HistoryError>(())
        })?;
        Ok(looked_at <= MAX_WAITS)
    }

    /// A lock to which nothing happened in that time is known by what it was at other times.
    fn judge_named(&self, key: &[u8], adding: &mut Adding<'_>) -> Result<(), HistoryError> {
        let sql = "SELECT id FROM locks WHERE name = $1 AND form IS NOT NULL";
        let ids = self.connection().all(sql, &[key.into()], |row| row.get::<i64>(0))?;
        self.judge(ids, adding)
    }

    /// When in a time everybody was seen who can be seen to wait for these locks.
    fn followed(&self, adding: &Adding<'_>, time: &Range<i64>) -> Result<Vec<Range<i64>>, HistoryError> {
        let mut wanted: HashMap<i64, Sight> = HashMap::new();
        for lock in adding.locks.values().filter(|lock| lock.sight != Sight::Unseen) {
            let sight = wanted.entry(lock.source).or_insert(lock.sight);
            *sight = lock.sight.max(*sight);
        }
        let stretches = self.stretches_followed(time)?;
        let mut all: Option<Vec<Range<i64>>> = None;
        for (source, sight) in wanted {
            let own = own(&stretches, source, sight, time);
            all = Some(all.map_or_else(|| own.clone(), |all| common(&all, &own)));
        }
        Ok(all.unwrap_or_default())
    }

    /// When in a time those who wait were followed, of all sources in order.
    pub(super) fn stretches_followed(&self, time: &Range<i64>) -> Result<Vec<Stretch>, DbError> {
        let sql = "SELECT source, began, ended, counted FROM followed WHERE ended > $1 AND began < $2 ORDER BY began";
        self.connection().all(sql, &[time.start.into(), time.end.into()], |row| {
            Ok(Stretch {
                source: row.get(0)?,
                began: row.get(1)?,
                ended: row.get(2)?,
                counted: row.get::<i64>(3)? == 1,
            })
        })
    }

    fn contention_told(
        &mut self,
        adding: &Adding<'_>,
        seen: &Seen,
        known: &[Range<i64>],
        time: Range<Time>,
    ) -> Result<ContentionStats, HistoryError> {
        let unseen = adding.locks.values().filter(|lock| lock.sight == Sight::Unseen).count();
        let known_ms = length(known);
        if known_ms == 0 && seen.basis.is_none() {
            let because = match () {
                () if adding.locks.is_empty() => "nothing is written down of such a lock in that time",
                () if unseen == adding.locks.len() => "those who wait for these locks leave no trace in the store",
                () => "who waits was not followed in that time, or that is not written down",
            };
            return Ok(ContentionStats { unseen_locks: unseen as u64, ..unknown(time, because) });
        }
        let most = match seen.most {
            Some((count, at, lock)) => {
                let name = self.lock(lock)?;
                let source = self.source(&name).to_string();
                Some(MostWaiters { count, at: Time(at), source, id: LockId::of_key(&name.bytes) })
            }
            None => None,
        };
        let is_counted = adding.locks.values().any(|lock| lock.sight == Sight::Counted);
        let basis = match seen.basis {
            Some(basis) => basis,
            None if is_counted => WaitersBasis::Inferred,
            None => WaitersBasis::Exact,
        };
        Ok(ContentionStats {
            from: time.start,
            to: time.end,
            known_ms,
            waited_ms: Some(i64::try_from(seen.waited_ms).unwrap_or(i64::MAX)),
            contended_ms: Some(seen.contended_ms()),
            share: seen.share_of(known),
            most,
            basis,
            unseen_locks: unseen as u64,
            because: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waited(minute: i64, waited_ms: u64, seconds: u64, most: u32) -> Waited {
        Waited { minute, waited_ms, seconds, most, most_at: minute * MINUTE_MS + 7, basis: WaitersBasis::Exact }
    }

    #[test]
    fn waiting_adds_up_over_locks_and_a_second_counts_once() {
        let mut seen = Seen::default();
        seen.add(1, &waited(5, 2_000, 0b0110, 2));
        seen.add(2, &waited(5, 9_000, 0b1100, 7));
        // Another part of the same minute, and then another minute.
        seen.add(1, &waited(5, 1_000, 0b0001, 1));
        seen.add(1, &Waited { basis: WaitersBasis::Reported, ..waited(6, 500, 0b1, 7) });
        assert_eq!((seen.waited_ms, seen.contended_ms()), (12_500, 5_000));
        assert_eq!(seen.most, Some((7, 5 * MINUTE_MS + 7, 2)), "the first of as many");
        assert_eq!(seen.basis, Some(WaitersBasis::Reported));
        assert_eq!((Seen::default().contended_ms(), Seen::default().basis), (0, None));
    }

    #[test]
    fn the_share_is_that_of_the_time_that_is_known() {
        let mut seen = Seen::default();
        seen.add(1, &waited(5, 30_000, (1 << 30) - 1, 1));
        seen.add(1, &waited(7, 60_000, (1 << 60) - 1, 1));
        let minute = |minute: i64, from: i64, to: i64| minute * MINUTE_MS + from..minute * MINUTE_MS + to;
        assert_eq!(seen.share_of(&[minute(5, 0, MINUTE_MS)]), Some(0.5));
        assert_eq!(seen.share_of(&[minute(5, 0, 3 * MINUTE_MS)]), Some(0.5));
        assert_eq!(seen.share_of(&[minute(5, 29_000, 31_000), minute(6, 0, 2_000)]), Some(0.25));
        assert_eq!(seen.share_of(&[minute(7, 100, 400)]), Some(1.0), "a part of a second");
        assert_eq!((seen.share_of(&[minute(6, 0, 10)]), seen.share_of(&[])), (Some(0.0), None));
    }

    #[test]
    fn a_time_is_of_the_minutes_that_it_touches() {
        assert_eq!(minutes(0, 1), 0..1);
        assert_eq!(minutes(59_999, 60_000), 0..1);
        assert_eq!(minutes(59_999, 60_001), 0..2);
        assert_eq!(minutes(60_000, 60_000), 1..1);
    }

    proptest! {
        #[test]
        fn what_is_common_to_two_times_is_in_both(
            one in proptest::collection::btree_set(0_i64..60, 0..20), other in proptest::collection::btree_set(0_i64..60, 0..20),
        ) {
            let ranges = |ends: &std::collections::BTreeSet<i64>| -> Vec<Range<i64>> {
                let ends: Vec<i64> = ends.iter().copied().collect();
                ends.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect()
            };
            let (one, other) = (ranges(&one), ranges(&other));
            let is_in = |ranges: &[Range<i64>], at: i64| ranges.iter().any(|range| range.contains(&at));
            let both = common(&one, &other);
            for at in 0..60 {
                prop_assert_eq!(is_in(&both, at), is_in(&one, at) && is_in(&other, at));
            }
            prop_assert!(both.iter().all(|range| !range.is_empty()));
        }
    }
}
