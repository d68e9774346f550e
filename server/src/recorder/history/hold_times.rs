//! How long the holds of each lock lasted, of those that were used last.

use bytes::Bytes;
use hashbrown::HashMap;

use super::History;
use super::read::{Reader, Table};
use super::schema::HistoryError;
use super::stats::{MAX_TALLIES, Step, each_tally, step};
use super::tally::{self, Durations, Tally};

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
                let mut find = self.connection().prepare(&step("row BETWEEN ? AND ?"))?;
                for step in find.query_map((first, last, i64::MIN, i64::MAX), Step::of)? {
                    let Step { at, lock, kind, holder, held } = step?;
                    looked_at += 1;
                    if let Some(kind) = kind
                        && (tallies.len() < room || tallies.contains_key(&lock))
                    {
                        tallies.entry(lock).or_default().add(kind, at, holder, held);
                    }
                }
                continue;
            };
            let mut find = self.connection().prepare_cached("SELECT name, sums FROM tallies WHERE segment = ?")?;
            let mut parts = find.query([segment])?;
            while let Some(row) = parts.next()? {
                let part = row.get_ref(1)?.as_blob().unwrap_or_default();
                each_tally(row.get(0)?, part, |id, bytes| {
                    looked_at += 1;
                    match tallies.len() < room || tallies.contains_key(&id) {
                        true => tallies.entry(id).or_default().add_bytes(bytes),
                        false => tally::skip(bytes),
                    }
                });
            }
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
