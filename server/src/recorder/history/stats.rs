//! What went on at one lock, or at all that match a pattern, over any time: whole segments were added up when they were
//! closed, and only their edges are gone through row by row.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashMap};
use lockkeeper_model::{DurationStats, DurationStep, LockStats, TransitionKind};

use super::postings::{hash, rows, take};
use super::read::{Filter, Reader, Stretch, Table};
use super::schema::HistoryError;
use super::tally::{self, Counts, Ended, Spread, Sum};
use super::waits::Sight;
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
pub(super) struct Adding<'a> {
    pub(super) filter: &'a Filter,
    sum: Sum,
    pub(super) known: Judged,
    /// Locks that pass, by two keyed hashes of which no two share both: one lock has several numbers where its form
    /// changed.
    pub(super) locks: HashMap<(u64, u64), Passing>,
    hashers: [DefaultHashBuilder; 2],
    looked_at: usize,
    /// How those who wait can be seen, by the form of a lock.
    forms: HashMap<i64, Sight>,
}

/// A lock that passes the filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing {
    pub(super) source: i64,
    /// How well those who wait for it can be seen, at least.
    pub(super) sight: Sight,
}

/// Numbers from the first lock's to the last one's that have a place each: sixteen megabytes.
const MAX_PLACES: usize = 1 << 24;

/// Which locks pass the filter, by their numbers: that is asked for every tally.
pub(super) enum Judged {
    /// Numbers follow each other closely, so that a place for each is less than a table of them, and is found at once.
    Places { first: i64, places: Vec<Judgement> },
    /// In a file so large that there are too many.
    Table(HashMap<i64, Judgement>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Unknown,
    Fails,
    Passes,
}

impl Judged {
    /// Nothing is known yet of the locks with these numbers.
    fn between(first: i64, last: i64) -> Judged {
        let count = last.checked_sub(first).and_then(|count| usize::try_from(count).ok()?.checked_add(1));
        match count.filter(|count| *count <= MAX_PLACES) {
            Some(count) => Judged::Places { first, places: vec![Judgement::Unknown; count] },
            None => Judged::Table(HashMap::new()),
        }
    }

    fn of(&self, id: i64) -> Judgement {
        match self {
            // A number beyond those that there are is damage, and names no lock.
            Judged::Places { first, places } => {
                place(*first, id).and_then(|place| places.get(place)).copied().unwrap_or(Judgement::Fails)
            }
            Judged::Table(known) => known.get(&id).copied().unwrap_or(Judgement::Unknown),
        }
    }

    /// Whether it is known of that lock.
    pub(super) fn is_judged(&self, id: i64) -> bool {
        self.of(id) != Judgement::Unknown
    }

    /// Whether that lock is known to pass.
    pub(super) fn passes(&self, id: i64) -> bool {
        self.of(id) == Judgement::Passes
    }

    fn set(&mut self, id: i64, judgement: Judgement) {
        match self {
            Judged::Places { first, places } => {
                if let Some(known) = place(*first, id).and_then(|place| places.get_mut(place)) {
                    *known = judgement;
                }
            }
            Judged::Table(known) => {
                known.insert(id, judgement);
            }
        }
    }
}

fn place(first: i64, id: i64) -> Option<usize> {
    usize::try_from(id.checked_sub(first)?).ok()
}

impl Reader {
    fn stats(&mut self, filter: &Filter) -> Result<Option<LockStats>, HistoryError> {
        let mut adding = Adding {
            filter,
            sum: Sum::default(),
            known: self.unjudged()?,
            locks: HashMap::new(),
            hashers: Default::default(),
            looked_at: 0,
            forms: self.forms_seen()?,
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
        let locks = adding.locks.len() as u64;
        let contention = self.contention(&mut adding)?;
        Ok(Some(LockStats { locks, contention: Some(contention), ..adding.shown() }))
    }

    /// How those who wait can be seen, by the form of a lock.
    pub(super) fn forms_seen(&self) -> Result<HashMap<i64, Sight>, DbError> {
        let form = |row: &Row<'_>| Ok::<_, DbError>((row.get(0)?, Sight::written(row.get(1)?)));
        Ok(self.connection().all("SELECT form, how FROM seen", &[], form)?.into_iter().collect())
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
                match known.of(id) {
                    Judgement::Passes => return sum.add_bytes(bytes),
                    Judgement::Fails => {}
                    Judgement::Unknown => unknown.push((id, bytes)),
                }
                tally::skip(bytes)
            });
        }
        self.judge(unknown.iter().map(|(id, _)| *id).collect(), adding)?;
        for (id, mut bytes) in unknown {
            if adding.known.of(id) == Judgement::Passes {
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
        steps.retain(|step| step.kind.is_some());
        adding.looked_at += steps.len();
        self.judge(steps.iter().map(|step| step.lock).collect(), adding)?;
        let mut ended: HashMap<i64, Ended> = HashMap::new();
        for Step { at, lock, kind, holder, held } in steps {
            let Some(kind) = kind.filter(|_| adding.known.of(lock) == Judgement::Passes) else { continue };
            // A renewal leaves nothing for what follows, and most rows are renewals.
            match kind {
                TransitionKind::Renewed => adding.sum.step(&mut None, kind, at, holder, held),
                _ => adding.sum.step(ended.entry(lock).or_default(), kind, at, holder, held),
            }
        }
        Ok(())
    }

    /// Nothing is known of any lock yet.
    fn unjudged(&self) -> Result<Judged, HistoryError> {
        let end = |sql| self.connection().number(sql, &[]);
        // Apart, since each is then an end of the table, and together a walk through it.
        let (first, last) = (end("SELECT min(id) FROM locks")?, end("SELECT max(id) FROM locks")?);
        Ok(Judged::between(first.unwrap_or(0), last.unwrap_or(0)))
    }

    /// Finds out of these locks which ones pass the filter, as far as that is not known yet.
    pub(super) fn judge(&self, mut ids: Vec<i64>, adding: &mut Adding<'_>) -> Result<(), HistoryError> {
        ids.retain(|id| adding.known.of(*id) == Judgement::Unknown);
        adding.locks.reserve(ids.len());
        self.each_name(Table::Locks, ids, |id, row| adding.judge(id, row, self))
    }
}

/// As much of a row as is added up.
pub(super) struct Step {
    pub(super) at: i64,
    pub(super) lock: i64,
    /// As far as it is counted.
    pub(super) kind: Option<TransitionKind>,
    pub(super) holder: i64,
    pub(super) held: Option<i64>,
}

impl Step {
    pub(super) fn of(row: &Row<'_>) -> Result<Step, DbError> {
        let holder: Option<i64> = row.get(4)?;
        let kind = codes::counted(row.get(3)?);
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
            let sight = form.and_then(|form| self.forms.get(&form)).copied().unwrap_or(Sight::Unseen);
            let hashes = (one.hash_one((number, key)), other.hash_one((number, key)));
            let lock = self.locks.entry(hashes).or_insert(Passing { source: number, sight });
            lock.sight = lock.sight.max(sight);
        }
        self.known.set(id, if passes { Judgement::Passes } else { Judgement::Fails });
        Ok(())
    }

    fn shown(self) -> LockStats {
        let Sum { counts, held, delays } = self.sum;
        let Counts { taken, released, lapsed, evicted, forced, lost, renewed, handed_over } = counts;
        LockStats {
            locks: 0,
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
            contention: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_lock_is_known_of_that_one_however_far_apart_their_numbers_are() {
        for (first, last) in [(7, 9), (7, i64::MAX), (i64::MIN, i64::MAX)] {
            let mut known = Judged::between(first, last);
            known.set(8, Judgement::Passes);
            known.set(9, Judgement::Fails);
            assert!(known.of(7) == Judgement::Unknown && known.of(8) == Judgement::Passes);
            assert!(known.of(9) == Judgement::Fails);
        }
        let mut few = Judged::between(7, 9);
        few.set(10, Judgement::Passes);
        assert!(few.of(10) == Judgement::Fails && few.of(6) == Judgement::Fails, "there are no such locks");
    }
}
