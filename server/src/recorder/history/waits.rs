//! Who waited, as it is written: minute by minute, many locks together as bytes, and from when to when those who wait were
//! followed. What is not known is in neither: it is told by the time that is missing.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use lockkeeper_model::WaitersBasis;

use super::minutes::MINUTE_MS;
use super::names::{Kind, Names};
use super::postings::{put, take};
use super::schema::HistoryError;
use crate::recorder::db::{Connection, DbError, Value};
use crate::registry::waits::{Followed, LockWaited, Waited, Waits};
use crate::source::DialectTraits;

/// Locks whose minute stands together: some sixteen kilobytes.
const TOGETHER: usize = 1_024;

/// A stretch is one row for so long, in milliseconds: with the oldest one that is cut off, no more than this is not known.
const LONGEST_STRETCH_MS: i64 = 60 * 60 * 1_000;

/// Parts of minutes that are deleted in one transaction, each of some kilobytes.
const DELETED_AT_ONCE: u64 = 512;

/// Minutes of those who waited that are cut off at once where nothing else is left to cut off.
const CUT_AT_ONCE: i64 = 60;

/// Every second of a minute.
const ALL_SECONDS: u64 = (1 << 60) - 1;

/// Beside the way in which those who waited were known: the seconds are those in which nobody did, which are fewer.
const OTHER_SECONDS: u64 = 8;

const BASES: [WaitersBasis; 5] =
    [WaitersBasis::Exact, WaitersBasis::Inferred, WaitersBasis::Sampled, WaitersBasis::Reported, WaitersBasis::Unknown];

/// Whether those who wait for a lock in some form can be seen, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sight {
    /// The store lists them.
    Listed,
    /// The store counts them.
    Counted,
    /// They leave no trace.
    Unseen,
}

impl Sight {
    /// Of a family.
    pub(super) fn of(traits: &DialectTraits) -> Sight {
        match () {
            () if traits.waiters_listed => Sight::Listed,
            () if traits.waiters_counted => Sight::Counted,
            () => Sight::Unseen,
        }
    }

    /// As it stands in the file; `None`: that is left out.
    pub(super) fn number(self) -> Option<i64> {
        match self {
            Sight::Listed => Some(1),
            Sight::Counted => Some(2),
            Sight::Unseen => None,
        }
    }

    /// What that number says.
    pub(super) fn written(number: i64) -> Sight {
        match number {
            1 => Sight::Listed,
            2 => Sight::Counted,
            _ => Sight::Unseen,
        }
    }
}

/// What was last followed of a source.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// The row that goes on; `None`: it is another run's.
    began: Option<i64>,
    ended: i64,
    counted: bool,
}

/// What was last followed of each source.
#[derive(Clone, Debug, Default)]
pub(super) struct Keeper(HashMap<i64, Last>);

impl Keeper {
    /// Goes on after what is there.
    pub(super) fn of(connection: &Connection) -> Result<Keeper, DbError> {
        let sql = "SELECT source, max(ended) FROM followed GROUP BY source";
        let last = connection.all(sql, &[], |row| {
            Ok::<_, DbError>((row.get(0)?, Last { began: None, ended: row.get(1)?, counted: false }))
        })?;
        Ok(Keeper(last.into_iter().collect()))
    }

    /// Writes what was told of the sources with these numbers; `first_name` is one that is not above any that is given now.
    /// Returns how it goes on if that lasts.
    pub(super) fn write(
        &self,
        waits: &[Waits],
        sources: &[i64],
        names: &mut Names,
        first_name: i64,
        connection: &Connection,
    ) -> Result<Keeper, HistoryError> {
        let mut keeper = self.clone();
        let mut minutes: BTreeMap<i64, Vec<(i64, Waited)>> = BTreeMap::new();
        for told in waits {
            let Some(&source) = sources.get(usize::from(told.source.0)) else { continue };
            // Another server has told of this time, or the clock was set back: once is enough.
            if keeper.0.get(&source).is_some_and(|last| told.since.0 < last.ended) {
                continue;
            }
            for LockWaited { key, recognition, mode, state, waited } in &told.locks {
                let form = names.form(recognition, *mode, *state, connection)?;
                let lock = names.number(Kind::Lock { source, form }, key, connection)?;
                minutes.entry(waited.minute).or_default().push((lock, *waited));
            }
            for stretch in &told.followed {
                keeper.follow(source, *stretch, connection)?;
            }
        }
        for (minute, mut locks) in minutes {
            locks.sort_unstable_by_key(|(lock, _)| *lock);
            let last = connection.number("SELECT max(part) FROM waits WHERE minute = $1", &[minute.into()])?;
            for (part, locks) in (last.unwrap_or(0) + 1..).zip(locks.chunks(TOGETHER)) {
                let bytes = to_bytes(locks);
                let insert = "INSERT INTO waits (minute, part, first_name, sums) VALUES ($1, $2, $3, $4)";
                connection
                    .execute(insert, &[minute.into(), part.into(), first_name.into(), bytes.as_slice().into()])?;
            }
        }
        Ok(keeper)
    }

    fn follow(&mut self, source: i64, stretch: Followed, connection: &Connection) -> Result<(), DbError> {
        let Followed { from, to, counted } = stretch;
        let goes_on = |last: &&Last| last.ended == from && last.counted == counted;
        let began = self.0.get(&source).filter(goes_on).and_then(|last| last.began);
        let began = began.filter(|began| to - began <= LONGEST_STRETCH_MS);
        let update = "UPDATE followed SET ended = $1 WHERE source = $2 AND began = $3";
        let is_written = match began {
            // It may have been cut off meanwhile.
            Some(began) => connection.execute(update, &[to.into(), source.into(), began.into()])? > 0,
            None => false,
        };
        if !is_written {
            let insert = "INSERT INTO followed (source, began, ended, counted) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (source, began) DO UPDATE SET ended = excluded.ended, counted = excluded.counted";
            connection.execute(insert, &[source.into(), from.into(), to.into(), i64::from(counted).into()])?;
        }
        let began = began.filter(|_| is_written).unwrap_or(from);
        self.0.insert(source, Last { began: Some(began), ended: to, counted });
        Ok(())
    }
}

/// Deletes what is of before a moment, or the oldest of it if that is too much at once. Says whether something was.
pub(super) fn cut(connection: &Connection, before: i64) -> Result<bool, DbError> {
    // First: that it was followed must not be said of what is gone.
    let followed = connection.execute("DELETE FROM followed WHERE began < $1", &[before.into()])?;
    let minute = before.div_euclid(MINUTE_MS);
    let waits = connection.delete_some("waits", "minute, part", "minute < $1", minute, DELETED_AT_ONCE)?;
    Ok(followed + waits > 0)
}

/// The moment up to which it is too old, or the oldest of it is too much.
pub(super) fn is_due(connection: &Connection, old: i64, is_too_much: bool) -> Result<Option<i64>, DbError> {
    let Some(oldest) = connection.number("SELECT min(minute) FROM waits", &[])? else {
        let oldest = connection.number("SELECT min(began) FROM followed", &[])?;
        return Ok(oldest.filter(|began| began.saturating_add(LONGEST_STRETCH_MS) < old).map(|_| old));
    };
    let is_old = oldest.saturating_add(1).saturating_mul(MINUTE_MS) < old;
    Ok(match () {
        () if is_old => Some(old),
        () if is_too_much => Some((oldest + CUT_AT_ONCE) * MINUTE_MS),
        () => None,
    })
}

/// Locks in the order of their numbers, in one minute.
fn to_bytes(locks: &[(i64, Waited)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut before = 0;
    for (lock, waited) in locks {
        put(&mut out, (lock - before).cast_unsigned());
        before = *lock;
        let basis = BASES.iter().position(|known| *known == waited.basis).unwrap_or(BASES.len() - 1) as u64;
        let others = ALL_SECONDS & !waited.seconds;
        // Few are in the low bits, and few bits make few bytes.
        let (flags, seconds) =
            if others < waited.seconds { (basis | OTHER_SECONDS, others) } else { (basis, waited.seconds) };
        put(&mut out, flags);
        put(&mut out, seconds);
        put(&mut out, waited.waited_ms);
        put(&mut out, u64::from(waited.most));
        put(&mut out, (waited.most_at - waited.minute * MINUTE_MS).clamp(0, MINUTE_MS - 1).cast_unsigned());
    }
    out
}

/// Every lock in what [`to_bytes`] wrote of that minute.
pub(super) fn each(minute: i64, mut bytes: &[u8], mut look: impl FnMut(i64, Waited)) {
    let mut lock: i64 = 0;
    let mut next = || {
        lock = lock.checked_add(i64::try_from(take(&mut bytes)?).ok()?)?;
        let flags = take(&mut bytes)?;
        let seconds = take(&mut bytes)? & ALL_SECONDS;
        let seconds = if flags & OTHER_SECONDS == 0 { seconds } else { ALL_SECONDS & !seconds };
        let basis = usize::try_from(flags & !OTHER_SECONDS).ok().and_then(|at| BASES.get(at)).copied()?;
        let (waited_ms, most) = (take(&mut bytes)?, u32::try_from(take(&mut bytes)?).ok()?);
        let most_at = minute.checked_mul(MINUTE_MS)?.checked_add(i64::try_from(take(&mut bytes)?).ok()?)?;
        Some((lock, Waited { minute, waited_ms, seconds, most, most_at, basis }))
    };
    while let Some((lock, waited)) = next() {
        look(lock, waited);
    }
}

/// Minutes as the numbers of a question.
pub(super) fn between(minutes: &std::ops::Range<i64>) -> [Value<'static>; 2] {
    [minutes.start.into(), minutes.end.into()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_comes_back(
            minute in 0_i64..40_000_000,
            seen in proptest::collection::btree_map(1_i64..1 << 40, (any::<u64>(), any::<u32>(), any::<u32>(), 0_i64..60_000, 0_usize..5), 0..50),
        ) {
            let locks: Vec<(i64, Waited)> = seen.into_iter().map(|(lock, (seconds, waited, most, at, basis))| {
                let (seconds, most_at) = (seconds & ALL_SECONDS, minute * MINUTE_MS + at);
                (lock, Waited { minute, waited_ms: waited.into(), seconds, most, most_at, basis: BASES[basis] })
            }).collect();
            let mut again = Vec::new();
            each(minute, &to_bytes(&locks), |lock, waited| again.push((lock, waited)));
            prop_assert_eq!(again, locks);
        }

        #[test]
        fn no_bytes_panic(minute in any::<i64>(), bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            each(minute, &bytes, |_, _| {});
        }
    }

    #[test]
    fn a_minute_that_was_waited_for_from_end_to_end_takes_few_bytes() {
        let waited = Waited {
            minute: 29_000_000,
            waited_ms: 180_000,
            seconds: ALL_SECONDS,
            most: 3,
            most_at: 29_000_000 * MINUTE_MS,
            basis: WaitersBasis::Exact,
        };
        let locks: Vec<(i64, Waited)> = (1..=100).map(|lock| (lock, waited)).collect();
        assert_eq!(to_bytes(&locks).len(), 100 * 8);
    }
}
