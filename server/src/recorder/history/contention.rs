//! Who waited over any time, added up of whole minutes; and of how much of that time nobody knows.

use std::ops::Range;

use hashbrown::HashMap;
use lockkeeper_model::{ContentionStats, LockId, MostWaiters, Time, WaitersBasis};

use super::minutes::MINUTE_MS;
use super::read::Reader;
use super::schema::HistoryError;
use super::stats::{Adding, Judged, MAX_TALLIES};
use super::waits::{self, Sight};
use crate::clock;
use crate::recorder::db::DbError;
use crate::registry::waits::Waited;
use crate::registry::weaker;

/// Who waited, as far as it is added up. Minutes come in order.
#[derive(Debug, Default)]
struct Seen {
    waited_ms: u64,
    /// Seconds in which somebody waited, of the minutes before `minute`.
    seconds: u64,
    minute: i64,
    /// …and those of that one, for whichever of the locks.
    of_minute: u64,
    /// Most at once, when, and for which lock.
    most: Option<(u32, i64, i64)>,
    basis: Option<WaitersBasis>,
}

impl Seen {
    fn add(&mut self, lock: i64, waited: &Waited) {
        if waited.minute != self.minute {
            self.seconds += u64::from(std::mem::take(&mut self.of_minute).count_ones());
            self.minute = waited.minute;
        }
        self.of_minute |= waited.seconds;
        self.waited_ms = self.waited_ms.saturating_add(waited.waited_ms);
        if self.most.is_none_or(|(most, ..)| waited.most > most) {
            self.most = Some((waited.most, waited.most_at, lock));
        }
        self.basis = Some(self.basis.map_or(waited.basis, |basis| weaker(basis, waited.basis)));
    }

    /// For how long somebody waited, in milliseconds.
    fn contended_ms(&self) -> i64 {
        let seconds = self.seconds + u64::from(self.of_minute.count_ones());
        i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000)
    }
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

/// The whole minutes that a time touches.
fn minutes(from: i64, to: i64) -> Range<i64> {
    from.div_euclid(MINUTE_MS)..to.saturating_add(MINUTE_MS - 1).div_euclid(MINUTE_MS)
}

impl Reader {
    /// Who waited for the locks that pass; `None` where that is too much to go through at once.
    pub(super) fn contention(&mut self, adding: &mut Adding<'_>) -> Result<Option<ContentionStats>, HistoryError> {
        let filter = adding.filter;
        let begun = self.connection().number("SELECT min(began) FROM followed", &[])?;
        let begins = self.begins_at()?.map(|at| at.0).into_iter().chain(begun).min();
        let to = filter.to.map_or(clock::now(), |to| to.min(clock::now())).0;
        let from = filter.from.map(|from| from.0).or(begins).unwrap_or(to).min(to);
        let minutes = minutes(from, to);
        let mut asked = Vec::new();
        self.each_wait(&minutes, adding, |_, lock, _| asked.push(lock))?;
        if adding.looked_at > MAX_TALLIES {
            return Ok(None);
        }
        self.judge(asked, adding)?;
        let first_name = self.connection().number("SELECT min(id) FROM locks", &[])?.unwrap_or(i64::MAX);
        // Whose name was cut off may be one that was asked for.
        let mut known_from = minutes.start;
        let mut seen = Seen::default();
        self.each_wait(&minutes, adding, |known, lock, waited| {
            if lock < first_name {
                known_from = waited.minute + 1;
            } else if known.passes(lock) {
                seen.add(lock, &waited);
            }
        })?;
        if adding.locks.is_empty()
            && let Some(key) = &filter.key
        {
            self.judge_named(key, adding)?;
        }
        let known_ms = self.followed(adding, &(known_from * MINUTE_MS..minutes.end * MINUTE_MS))?;
        self.contention_told(
            adding,
            &seen,
            known_ms,
            Time(minutes.start * MINUTE_MS)..Time(to.max(minutes.start * MINUTE_MS)),
        )
        .map(Some)
    }

    /// Everyone who waited in these minutes, as far as that is not too much.
    fn each_wait(
        &self,
        minutes: &Range<i64>,
        adding: &mut Adding<'_>,
        mut look: impl FnMut(&Judged, i64, Waited),
    ) -> Result<(), HistoryError> {
        let sql = "SELECT minute, sums FROM waits WHERE minute >= $1 AND minute < $2 ORDER BY minute, part";
        let Adding { known, looked_at, .. } = adding;
        self.connection().each(sql, &waits::between(minutes), |row| {
            if *looked_at <= MAX_TALLIES {
                waits::each(row.get(0)?, row.bytes(1), |lock, waited| {
                    *looked_at += 1;
                    look(known, lock, waited);
                });
            }
            Ok::<(), HistoryError>(())
        })
    }

    /// A lock to which nothing happened in that time is known by what it was at other times.
    fn judge_named(&self, key: &[u8], adding: &mut Adding<'_>) -> Result<(), HistoryError> {
        let sql = "SELECT id FROM locks WHERE name = $1 AND form IS NOT NULL";
        let ids = self.connection().all(sql, &[key.into()], |row| row.get::<i64>(0))?;
        self.judge(ids, adding)
    }

    /// For how long of a time everybody who can be seen to wait for these locks was, in milliseconds.
    fn followed(&self, adding: &Adding<'_>, time: &Range<i64>) -> Result<i64, HistoryError> {
        let mut wanted: HashMap<i64, Sight> = HashMap::new();
        for lock in adding.locks.values().filter(|lock| lock.sight != Sight::Unseen) {
            let sight = wanted.entry(lock.source).or_insert(lock.sight);
            *sight = lock.sight.max(*sight);
        }
        let sql = "SELECT source, began, ended, counted FROM followed WHERE ended > $1 AND began < $2 ORDER BY began";
        let bounds = [time.start.into(), time.end.into()];
        let rows: Vec<[i64; 4]> = self
            .connection()
            .all(sql, &bounds, |row| Ok::<_, DbError>([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
        let mut all: Option<Vec<Range<i64>>> = None;
        for (wanted, sight) in wanted {
            let own = rows
                .iter()
                .filter(|[source, .., counted]| *source == wanted && (sight == Sight::Listed || *counted == 1));
            let own: Vec<Range<i64>> =
                own.map(|[_, began, ended, _]| time.start.max(*began)..time.end.min(*ended)).collect();
            all = Some(all.map_or_else(|| own.clone(), |all| common(&all, &own)));
        }
        Ok(all.unwrap_or_default().iter().map(|range| (range.end - range.start).max(0)).sum())
    }

    fn contention_told(
        &mut self,
        adding: &Adding<'_>,
        seen: &Seen,
        known_ms: i64,
        time: Range<Time>,
    ) -> Result<ContentionStats, HistoryError> {
        let unseen = adding.locks.values().filter(|lock| lock.sight == Sight::Unseen).count();
        let is_known = known_ms > 0 || seen.basis.is_some();
        let because = match () {
            () if is_known => None,
            () if adding.locks.is_empty() => Some("nothing is written down of such a lock in that time"),
            () if unseen == adding.locks.len() => Some("those who wait for these locks leave no trace in the store"),
            () => Some("who waits was not followed in that time, or that is not written down"),
        };
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
            None if !is_known => WaitersBasis::Unknown,
            None if is_counted => WaitersBasis::Inferred,
            None => WaitersBasis::Exact,
        };
        let contended_ms = seen.contended_ms();
        Ok(ContentionStats {
            from: time.start,
            to: time.end,
            known_ms,
            waited_ms: is_known.then(|| i64::try_from(seen.waited_ms).unwrap_or(i64::MAX)),
            contended_ms: is_known.then_some(contended_ms),
            // Seconds that were cut by the edges of what is known count whole.
            share: (known_ms > 0).then(|| (contended_ms as f64 / known_ms as f64).min(1.0)),
            most,
            basis,
            unseen_locks: unseen as u64,
            because: because.map(str::to_owned),
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
