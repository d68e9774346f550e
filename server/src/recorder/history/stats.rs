//! What went on at one lock, or at all that match a pattern, over any time: whole segments were added up when they were
//! closed, and only their edges are gone through row by row.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::{HashMap, HashSet};
use lockkeeper_model::{DurationStats, DurationStep, LockStats, TransitionKind};

use super::postings::{hash, rows, take};
use super::read::{Filter, Reader, Stretch, Table};
use super::schema::HistoryError;
use super::tally::{self, Counts, Spread, Sum, Tally};
use super::{History, codes};
use crate::glob;
use crate::recorder::db::{DbError, Row, Value};

/// What was added up for so many locks in so many segments is gone through: about half a second's work.
pub(super) const MAX_TALLIES: usize = 2_000_000;

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

/// What is added up so far.
struct Adding<'a> {
    filter: &'a Filter,
    sum: Sum,
    /// Numbers of locks that pass the filter or do not.
    known: HashMap<i64, bool>,
    /// Locks that pass, by two keyed hashes of which no two share both: one lock has several numbers where its form
    /// changed.
    locks: HashSet<(u64, u64)>,
    hashers: [RandomState; 2],
    looked_at: usize,
}

impl Reader {
    fn stats(&mut self, filter: &Filter) -> Result<Option<LockStats>, HistoryError> {
        let mut adding = Adding {
            filter,
            sum: Sum::default(),
            known: HashMap::new(),
            locks: HashSet::new(),
            hashers: Default::default(),
            looked_at: 0,
        };
        for stretch in self.stretches()? {
            if !stretch.touches(filter.from, filter.to) {
                continue;
            }
            let is_whole = filter.from.is_none_or(|from| stretch.first_at >= from.0)
                && filter.to.is_none_or(|to| stretch.last_at < to.0);
            match stretch.segment {
                Some(segment) if is_whole => self.add_tallies(segment, &mut adding)?,
                _ => self.add_rows(&stretch, &mut adding)?,
            }
            if adding.looked_at > MAX_TALLIES {
                return Ok(None);
            }
        }
        Ok(Some(adding.shown()))
    }

    /// Those of a whole segment.
    fn add_tallies(&mut self, segment: i64, adding: &mut Adding<'_>) -> Result<(), HistoryError> {
        let part = |row: &Row<'_>| Ok::<_, DbError>((row.get(0)?, row.get(1)?));
        let parts: Vec<(i64, Vec<u8>)> = match &adding.filter.key {
            None => {
                let sql = "SELECT name, sums FROM tallies WHERE segment = $1 ORDER BY name";
                self.connection().all(sql, &[segment.into()], part)?
            }
            Some(key) => {
                // Only the parts in which a lock of that name can be.
                let sql = "SELECT DISTINCT t.name, t.sums FROM postings p JOIN tallies t ON t.segment = p.segment
                     AND t.name = (SELECT max(name) FROM tallies WHERE segment = p.segment AND name <= p.name)
                     WHERE p.segment = $1 AND p.hash = $2";
                self.connection().all(sql, &[segment.into(), i64::from(hash(key)).into()], part)?
            }
        };
        // Locks that were not met before, with their tallies. Later segments have few of them.
        let mut unknown: Vec<(i64, &[u8])> = Vec::new();
        let Adding { sum, known, looked_at, .. } = &mut *adding;
        for (first, part) in &parts {
            each_tally(*first, part, |id, bytes| {
                *looked_at += 1;
                match known.get(&id) {
                    Some(true) => return sum.add_bytes(bytes),
                    Some(false) => {}
                    None => unknown.push((id, bytes)),
                }
                tally::skip(bytes)
            });
        }
        self.judge(unknown.iter().map(|(id, _)| *id).collect(), adding)?;
        for (id, mut bytes) in unknown {
            if adding.known.get(&id) == Some(&true) {
                // What cannot be read is damage to a file that SQLite has read: nothing better is known.
                let _ = adding.sum.add_bytes(&mut bytes);
            }
        }
        Ok(())
    }

    /// Those rows of a stretch that are in time.
    fn add_rows(&mut self, stretch: &Stretch, adding: &mut Adding<'_>) -> Result<(), HistoryError> {
        let filter = adding.filter;
        let (first, last) = (*stretch.rows().start(), *stretch.rows().end());
        let (from, to) = (filter.from.map_or(i64::MIN, |at| at.0), filter.to.map_or(i64::MAX, |at| at.0));
        let mut steps: Vec<Step> = Vec::new();
        match (stretch.segment, &filter.key) {
            (Some(segment), Some(key)) => {
                let sql = "SELECT rows FROM postings WHERE segment = $1 AND hash = $2";
                let of_key = [segment.into(), i64::from(hash(key)).into()];
                let posted: Vec<Vec<u8>> = self.connection().all(sql, &of_key, |row| row.get::<Vec<u8>>(0))?;
                let mut posted: Vec<i64> = posted.iter().flat_map(|bytes| rows(first, bytes)).collect();
                posted.sort_unstable();
                posted.dedup();
                self.connection().each_of(STEPS, "row", &posted, |_, row| {
                    steps.push(Step::of(row)?);
                    Ok::<(), DbError>(())
                })?;
                steps.retain(|step| (from..to).contains(&step.at));
            }
            _ => {
                let bounds = [first, last, from, to].map(Value::Number);
                steps = self.connection().all(&steps_between(), &bounds, Step::of)?;
            }
        }
        steps.retain(|step| step.kind != TransitionKind::Gap);
        adding.looked_at += steps.len();
        self.judge(steps.iter().map(|step| step.lock).collect(), adding)?;
        let mut tallies: HashMap<i64, Tally> = HashMap::new();
        for Step { at, lock, kind, holder, held } in steps {
            if adding.known.get(&lock) == Some(&true) {
                tallies.entry(lock).or_default().add(kind, at, holder, held);
            }
        }
        tallies.values().for_each(|tally| adding.sum.add(tally));
        Ok(())
    }

    /// Finds out of these locks which ones pass the filter, as far as that is not known yet.
    fn judge(&self, mut ids: Vec<i64>, adding: &mut Adding<'_>) -> Result<(), HistoryError> {
        ids.retain(|id| !adding.known.contains_key(id));
        self.each_name(Table::Locks, ids, |id, row| adding.judge(id, row, self))
    }
}

/// As much of a row as is added up.
pub(super) struct Step {
    pub(super) at: i64,
    pub(super) lock: i64,
    pub(super) kind: TransitionKind,
    pub(super) holder: i64,
    pub(super) held: Option<i64>,
}

impl Step {
    pub(super) fn of(row: &Row<'_>) -> Result<Step, DbError> {
        let holder: Option<i64> = row.get(4)?;
        let kind = codes::meaning(row.get(3)?).0;
        Ok(Step { at: row.get(1)?, lock: row.get(2)?, kind, holder: holder.unwrap_or(0), held: row.get(5)? })
    }
}

const STEPS: &str = "SELECT row, at, lock, what, holder, held FROM transitions";

/// Those between two rows, and between two moments.
pub(super) fn steps_between() -> String {
    format!("{STEPS} WHERE row BETWEEN $1 AND $2 AND at >= $3 AND at < $4 ORDER BY row")
}

impl Adding<'_> {
    fn judge(&mut self, id: i64, row: &Row<'_>, reader: &Reader) -> Result<(), HistoryError> {
        let (number, form): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
        let key = row.bytes(3);
        let source = reader.sources.get(&number).map_or("", |name| &**name);
        let filter = self.filter;
        let passes = form.is_some()
            && filter.source.as_deref().is_none_or(|wanted| wanted == source)
            && filter.key.as_ref().is_none_or(|wanted| wanted == key)
            && filter.pattern.as_ref().is_none_or(|pattern| glob::matches(pattern.as_bytes(), key))
            && filter.reach.has(source, key);
        if passes {
            let [one, other] = &self.hashers;
            self.locks.insert((one.hash_one((number, key)), other.hash_one((number, key))));
        }
        self.known.insert(id, passes);
        Ok(())
    }

    fn shown(self) -> LockStats {
        let Sum { counts, held, delays } = self.sum;
        let Counts { taken, released, lapsed, evicted, forced, lost, renewed, handed_over } = counts;
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
            held: shown(&held),
            hand_over: shown(&delays),
        }
    }
}

/// Every lock whose tally is in this part, of which the first has the number `first`; `use_up` takes the tally off.
pub(super) fn each_tally<'a>(first: i64, mut part: &'a [u8], mut use_up: impl FnMut(i64, &mut &'a [u8]) -> Option<()>) {
    let mut id = first;
    while let Some(further) = take(&mut part) {
        id = id.saturating_add_unsigned(further);
        if use_up(id, &mut part).is_none() {
            return;
        }
    }
}

fn shown(durations: &Spread) -> DurationStats {
    let [p50_ms, p95_ms, p99_ms] = [0.5, 0.95, 0.99].map(|share| durations.quantile(share));
    let histogram = durations.steps().into_iter().map(|(up_to_ms, count)| DurationStep { up_to_ms, count }).collect();
    DurationStats { count: durations.count(), p50_ms, p95_ms, p99_ms, histogram }
}
