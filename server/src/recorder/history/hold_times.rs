//! How long the holds of each lock lasted, of those that were used last.

use bytes::Bytes;
use hashbrown::HashMap;

use super::History;
use super::read::{Reader, Table};
use super::schema::HistoryError;
use super::stats::{MAX_TALLIES, Step, each_tally, steps_between};
use super::tally::{self, Durations, Tally};
use crate::recorder::db::{DbError, Value};

/// A lock has another number in each era, and where its form changed. Of one with more, the newest count.
const NUMBERS_A_LOCK: usize = 4;

/// How long the holds of one lock lasted.
#[derive(Clone, Debug)]
pub struct HoldTimes {
    /// The source's name.
    pub source: String,
    /// The lock.
    pub key: Bytes,
    /// That.
    pub held: Durations,
    /// Some of them were renewed.
    pub renewed: bool,
}

impl History {
    /// How long holds lasted, of at most so many locks: those that were used last.
    ///
    /// # Errors
    /// When nothing is kept or the file cannot be read.
    pub async fn hold_times(&self, most: usize) -> Result<Vec<HoldTimes>, HistoryError> {
        self.flush().await;
        self.ask(move |reader| reader.hold_times(most)).await
    }
}

impl Reader {
    fn hold_times(&mut self, most: usize) -> Result<Vec<HoldTimes>, HistoryError> {
        let mut tallies: HashMap<i64, Tally> = HashMap::new();
        let mut looked_at = 0;
        let room = most.saturating_mul(NUMBERS_A_LOCK);
        for stretch in self.stretches()?.into_iter().rev() {
            let Some(segment) = stretch.segment else {
                let (first, last) = (*stretch.rows().start(), *stretch.rows().end());
                let bounds = [first, last, i64::MIN, i64::MAX].map(Value::Number);
                self.connection().each(&steps_between(), &bounds, |row| {
                    let Step { at, lock, kind, holder, held } = Step::of(row)?;
                    looked_at += 1;
                    if let Some(kind) = kind
                        && (tallies.len() < room || tallies.contains_key(&lock))
                    {
                        tallies.entry(lock).or_default().add(kind, at, holder, held);
                    }
                    Ok::<(), DbError>(())
                })?;
                continue;
            };
            let sql = "SELECT name, sums FROM tallies WHERE segment = $1 ORDER BY name";
            self.connection().each(sql, &[segment.into()], |row| {
                each_tally(row.get(0)?, row.bytes(1), |id, bytes| {
                    looked_at += 1;
                    match tallies.len() < room || tallies.contains_key(&id) {
                        true => tallies.entry(id).or_default().add_bytes(bytes),
                        false => tally::skip(bytes),
                    }
                });
                Ok::<(), DbError>(())
            })?;
            if looked_at > MAX_TALLIES {
                break;
            }
        }
        let mut found: HashMap<(i64, Vec<u8>), Tally> = HashMap::new();
        let ids = tallies.keys().copied().collect();
        self.each_name(Table::Locks, ids, |id, row| {
            let (number, form): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
            let lock = (number, row.get(3)?);
            if let Some(tally) = tallies.remove(&id).filter(|_| form.is_some())
                && (found.len() < most || found.contains_key(&lock))
            {
                found.entry(lock).or_default().merge(&tally);
            }
            Ok(())
        })?;
        let times = found.into_iter().map(|((number, key), tally)| HoldTimes {
            source: self.sources.get(&number).map_or_else(String::new, |name| name.to_string()),
            key: key.into(),
            renewed: tally.counts.renewed > 0,
            held: tally.held,
        });
        Ok(times.filter(|times| times.held.count() > 0).collect())
    }
}
