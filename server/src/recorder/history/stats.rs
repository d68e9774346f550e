//! What went on at one lock, or at all that match a pattern, over any time: whole segments were added up when they were
//! closed, and only their edges are gone through row by row.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;
use lockkeeper_model::{DurationStats, DurationStep, LockStats, TransitionKind};

use super::History;
use super::postings::{hash, rows};
use super::read::{COLUMNS, Filter, Raw, Reader, Stretch};
use super::schema::HistoryError;
use super::tally::{Durations, Tally};
use crate::glob;

/// What was added up for so many locks in so many segments is gone through: about a second's work.
const MAX_TALLIES: usize = 2_000_000;

impl History {
    /// What went on at the locks that pass the filter; `None` where that is too much to go through at once.
    ///
    /// # Errors
    /// When nothing is kept or the file cannot be read.
    pub async fn stats(&self, filter: Filter) -> Result<Option<LockStats>, HistoryError> {
        self.flush().await;
        self.ask(move |reader| reader.stats(&filter)).await
    }
}

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

/// What is added up so far.
#[derive(Default)]
struct Sum {
    tally: Tally,
    /// Names that passed the filter or did not.
    known: HashMap<i64, bool>,
    locks: HashSet<(i64, Vec<u8>)>,
    looked_at: usize,
}

impl Reader {
    fn stats(&mut self, filter: &Filter) -> Result<Option<LockStats>, HistoryError> {
        let mut sum = Sum::default();
        for stretch in self.stretches()? {
            if !stretch.touches(filter.from, filter.to) {
                continue;
            }
            let is_whole = filter.from.is_none_or(|from| stretch.first_at >= from.0)
                && filter.to.is_none_or(|to| stretch.last_at < to.0);
            match stretch.segment {
                Some(segment) if is_whole => self.add_tallies(segment, filter, &mut sum)?,
                _ => self.add_rows(&stretch, filter, &mut sum)?,
            }
            if sum.looked_at > MAX_TALLIES {
                return Ok(None);
            }
        }
        Ok(Some(sum.shown()))
    }

    fn hold_times(&mut self, most: usize) -> Result<Vec<HoldTimes>, HistoryError> {
        let mut found: HashMap<(Rc<str>, Vec<u8>), Tally> = HashMap::new();
        let mut left = MAX_TALLIES;
        for stretch in self.stretches()?.into_iter().rev() {
            let tallies = match stretch.segment {
                Some(segment) => self.tallies(segment, None, left)?,
                None => self.tallies_of_rows(&stretch, left)?,
            };
            left = left.saturating_sub(tallies.len());
            for (name, tally) in tallies {
                let lock = self.name(name)?;
                let place = (self.source(&lock), lock.bytes.clone());
                if lock.form.is_some() && (found.len() < most || found.contains_key(&place)) {
                    found.entry(place).or_default().merge(&tally);
                }
            }
            if left == 0 {
                break;
            }
        }
        let times = found.into_iter().map(|((source, key), tally)| HoldTimes {
            source: source.to_string(),
            key: key.into(),
            renewed: tally.renewed > 0,
            held: tally.held,
        });
        Ok(times.filter(|times| times.held.count() > 0).collect())
    }

    /// What went on at each lock since the last segment was closed.
    fn tallies_of_rows(&mut self, stretch: &Stretch, most: usize) -> Result<Vec<(i64, Tally)>, HistoryError> {
        let mut find = self
            .connection()
            .prepare(&format!("SELECT {COLUMNS} FROM transitions WHERE row >= ? ORDER BY row LIMIT ?"))?;
        let raws = find.query_map((*stretch.rows().start(), most as i64), Raw::of)?;
        let mut tallies: HashMap<i64, Tally> = HashMap::new();
        for raw in raws {
            let raw = raw?;
            if raw.kind() != TransitionKind::Gap {
                tallies.entry(raw.lock).or_default().add(raw.kind(), raw.at, raw.holder.unwrap_or(0), raw.held);
            }
        }
        Ok(tallies.into_iter().collect())
    }

    /// Those of a whole segment.
    fn add_tallies(&mut self, segment: i64, filter: &Filter, sum: &mut Sum) -> Result<(), HistoryError> {
        let only = filter.key.as_ref().map(|key| hash(key));
        let left = MAX_TALLIES - sum.looked_at.min(MAX_TALLIES) + 1;
        let tallies = self.tallies(segment, only, left)?;
        sum.looked_at += tallies.len();
        for (name, tally) in tallies {
            if self.is_counted(name, filter, sum)? {
                sum.tally.merge(&tally);
            }
        }
        Ok(())
    }

    /// Those of a whole segment, at most so many; of one lock, where a hash says so, and of what has the same.
    fn tallies(&self, segment: i64, only: Option<u32>, most: usize) -> Result<Vec<(i64, Tally)>, HistoryError> {
        let sql = match only {
            Some(_) => "SELECT name, tally FROM postings WHERE segment = ?1 AND hash = ?2 AND tally IS NOT NULL",
            None => "SELECT name, tally FROM postings WHERE segment = ?1 AND ?2 IS NULL AND tally IS NOT NULL",
        };
        let mut find = self.connection().prepare(sql)?;
        let mut found = find.query((segment, only))?;
        let mut tallies: Vec<(i64, Tally)> = Vec::new();
        while let Some(row) = found.next()?
            && tallies.len() < most
        {
            let name = row.get(0)?;
            tallies.extend(row.get_ref(1)?.as_blob().ok().and_then(Tally::of_bytes).map(|tally| (name, tally)));
        }
        Ok(tallies)
    }

    /// Those rows of a stretch that are in time.
    fn add_rows(&mut self, stretch: &Stretch, filter: &Filter, sum: &mut Sum) -> Result<(), HistoryError> {
        let (first, last) = (*stretch.rows().start(), *stretch.rows().end());
        let (from, to) = (filter.from.map_or(i64::MIN, |at| at.0), filter.to.map_or(i64::MAX, |at| at.0));
        let mut raws: Vec<Raw> = Vec::new();
        match (stretch.segment, &filter.key) {
            (Some(segment), Some(key)) => {
                let mut find = self.connection().prepare("SELECT rows FROM postings WHERE segment = ? AND hash = ?")?;
                let posted: Vec<Vec<u8>> =
                    find.query_map((segment, hash(key)), |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
                let mut find = self
                    .connection()
                    .prepare(&format!("SELECT {COLUMNS} FROM transitions WHERE row = ? AND at >= ? AND at < ?"))?;
                for row in posted.iter().flat_map(|bytes| rows(first, bytes)) {
                    raws.extend(find.query_map((row, from, to), Raw::of)?.collect::<rusqlite::Result<Vec<_>>>()?);
                }
            }
            _ => {
                let mut find = self.connection().prepare(&format!(
                    "SELECT {COLUMNS} FROM transitions WHERE row BETWEEN ? AND ? AND at >= ? AND at < ? ORDER BY row"
                ))?;
                raws = find.query_map((first, last, from, to), Raw::of)?.collect::<rusqlite::Result<_>>()?;
            }
        }
        sum.looked_at += raws.len();
        let mut tallies: HashMap<i64, Tally> = HashMap::new();
        for raw in raws {
            if raw.kind() != TransitionKind::Gap && self.is_counted(raw.lock, filter, sum)? {
                tallies.entry(raw.lock).or_default().add(raw.kind(), raw.at, raw.holder.unwrap_or(0), raw.held);
            }
        }
        tallies.values().for_each(|tally| sum.tally.merge(tally));
        Ok(())
    }

    fn is_counted(&mut self, name: i64, filter: &Filter, sum: &mut Sum) -> Result<bool, HistoryError> {
        if let Some(&known) = sum.known.get(&name) {
            return Ok(known);
        }
        let lock = self.name(name)?;
        let source = self.source(&lock);
        let passes = lock.form.is_some()
            && filter.source.as_deref().is_none_or(|wanted| wanted == &*source)
            && filter.key.as_ref().is_none_or(|key| *key == lock.bytes)
            && filter.pattern.as_ref().is_none_or(|pattern| glob::matches(pattern.as_bytes(), &lock.bytes))
            && filter.reach.has(&source, &lock.bytes);
        if passes {
            sum.locks.insert((lock.source.unwrap_or(0), lock.bytes.clone()));
        }
        sum.known.insert(name, passes);
        Ok(passes)
    }
}

impl Sum {
    fn shown(self) -> LockStats {
        let Tally {
            taken, released, lapsed, evicted, forced, lost, renewed, handed_over, ref held, ref delays, ..
        } = self.tally;
        LockStats {
            locks: self.locks.len() as u64,
            taken,
            released,
            lapsed,
            evicted,
            forced,
            lost,
            renewed,
            handed_over,
            held: shown(held),
            hand_over: shown(delays),
        }
    }
}

fn shown(durations: &Durations) -> DurationStats {
    let [p50_ms, p95_ms, p99_ms] = [0.5, 0.95, 0.99].map(|share| durations.quantile(share));
    let histogram = durations.steps().into_iter().map(|(up_to_ms, count)| DurationStep { up_to_ms, count }).collect();
    DurationStats { count: durations.count(), p50_ms, p95_ms, p99_ms, histogram }
}
