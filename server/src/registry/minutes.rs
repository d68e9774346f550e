//! Where time was lost to waiting, lock by lock and minute by minute.

use lockkeeper_model::{LockId, Time, WaitersBasis};
use serde::Serialize;
use utoipa::ToSchema;

use super::Registry;
use super::contention::MINUTES;
use super::show::name;
use crate::access::Reach;
use crate::source::SourceId;

/// Locks in one answer, those with most blocked time first: as many as a person compares at a glance, and some more.
const MAX_LOCKS: usize = 100;

/// Where time was lost to waiting in the last minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct LostTime {
    /// Over how long, in milliseconds: whole minutes of the clock, of which the first has not passed yet.
    pub over_ms: i64,
    /// The time that all who waited for any lock have waited together, in milliseconds, as far as they could be counted.
    pub blocked_ms: u64,
    /// The locks, those with most of it first.
    pub locks: Vec<LostAt>,
    /// Locks with some of it that are not here, because there are too many.
    pub more_locks: u64,
    /// Locks that were handed over or tried for, and whose waiters could not be counted: their time is in no number.
    pub uncounted: u64,
}

/// Time lost to waiting for one lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LostAt {
    /// Its source.
    pub source: String,
    /// Its identity within the source.
    pub id: LockId,
    /// What a person calls it.
    pub name: String,
    /// The time that all who waited for it have waited together, in milliseconds.
    pub blocked_ms: u64,
    /// The same by the minute, newest first.
    pub minutes: Vec<u64>,
    /// How that is known; the weakest way where there were several.
    pub basis: WaitersBasis,
    /// How many are known to wait now.
    pub waiters: u32,
}

impl Registry {
    /// Where time was lost, in one source or in all, as if there were no other locks than those of the reach.
    #[must_use]
    pub fn lost_time(&self, source: Option<SourceId>, reach: &Reach, now: Time) -> LostTime {
        let mut lost = LostTime { over_ms: MINUTES as i64 * 60_000, ..LostTime::default() };
        let mut found = Vec::new();
        for (at, known) in self.sources.iter().enumerate() {
            if source.is_some_and(|source| usize::from(source.0) != at) {
                continue;
            }
            for &slot in &known.contended {
                let Some(record) = self.record(slot).filter(|record| usize::from(record.source.0) == at) else {
                    continue;
                };
                let Some(contention) = record.contention() else { continue };
                if !reach.has(&known.name, &record.key) {
                    continue;
                }
                let minutes = contention.minutes(now.0);
                match minutes.iter().sum::<u64>() {
                    0 if contention.is_counted() => {}
                    0 => lost.uncounted += 1,
                    blocked => found.push((blocked, minutes, slot)),
                }
                lost.blocked_ms += minutes.iter().sum::<u64>();
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        lost.more_locks = found.len().saturating_sub(MAX_LOCKS) as u64;
        found.truncate(MAX_LOCKS);
        lost.locks = found
            .into_iter()
            .filter_map(|(blocked_ms, minutes, slot)| {
                let record = self.record(slot)?;
                Some(LostAt {
                    source: self.source_name(record.source).to_owned(),
                    id: LockId::of_key(&record.key),
                    name: name(record),
                    blocked_ms,
                    minutes: minutes.to_vec(),
                    basis: record.contention()?.basis()?,
                    waiters: if record.is_ended() { 0 } else { record.waiting() },
                })
            })
            .collect();
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::World;
    use super::*;
    use crate::source::{Hint, Report, WaitersSeen};
    use bytes::Bytes;

    fn waiting(world: &mut World, counts: &[(&str, u32)]) {
        let counts =
            counts.iter().map(|(key, count)| (Bytes::from((*key).to_owned()), WaitersSeen { count: *count })).collect();
        world.apply(Report::Waiting { counts, at: Time(world.now) });
    }

    #[test]
    fn the_time_of_all_who_waited_is_told_by_the_lock_and_by_the_minute() {
        let mut world = World::new();
        world.now = 600_000;
        for key in ["lock:a", "lock:b"] {
            world.take(key, "t", None);
            world.notice(key, Hint::New);
        }
        waiting(&mut world, &[("lock:a", 2), ("lock:b", 1)]);
        world.now += 10_000;
        waiting(&mut world, &[("lock:a", 2)]);
        world.now += 60_000;
        waiting(&mut world, &[("lock:a", 1)]);
        let lost = world.registry.lost_time(None, &Reach::ALL, Time(world.now));
        let told: Vec<_> = lost.locks.iter().map(|at| (at.name.as_str(), at.blocked_ms, at.minutes.clone())).collect();
        assert_eq!(told[1], ("b", 10_000, vec![0, 10_000, 0, 0, 0]));
        assert_eq!((told[0].0, told[0].1), ("a", lost.blocked_ms - 10_000));
        assert_eq!(told[0].2[1], 20_000, "what two waited in the minute before");
        assert_eq!((lost.locks[0].waiters, lost.locks[1].waiters), (1, 0));

        // What is too long ago is not told, although nobody has counted since.
        let later = world.registry.lost_time(None, &Reach::ALL, Time(world.now + 3_600_000));
        assert_eq!((later.blocked_ms, later.locks.len()), (0, 0));
    }
}
