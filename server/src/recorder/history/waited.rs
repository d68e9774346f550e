//! How long was waited for which lock, step by step of a time.

use std::hash::BuildHasher as _;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashMap};
use lockkeeper_model::{LockId, Time, WaitedLock, WaitedSteps, WaitersBasis};
use smallvec::SmallVec;

use super::activity::{Span, Steps};
use super::contention::{length, own};
use super::minutes::MINUTE_MS;
use super::read::{Reader, Table};
use super::schema::HistoryError;
use super::waits::Sight;
use super::{History, forms};
use crate::clock;
use crate::recorder::db::DbError;
use crate::registry::waits::Waited;
use crate::registry::{name_of, weaker};
use crate::source::Recognition;

/// Who waited in a minute is told when it is over and nothing more comes of it, and what waits is looked at every few seconds. What
/// was told no longer ago than this, in milliseconds, goes on.
const TOLD_LATELY_MS: i64 = 75_000;

impl History {
    /// How long was waited in each of some steps of a time, of so many locks: those that were waited for longest. `None` where
    /// that is too much to go through at once.
    ///
    /// # Errors
    /// When nothing is kept or the file cannot be read.
    pub async fn waited(&self, span: Span, most: usize) -> Result<Option<WaitedSteps>, HistoryError> {
        self.flush().await;
        self.ask(move |reader| reader.waited(&span, most)).await
    }
}

/// The numbers of a lock, one for each form that it had, and how long was waited for it, in milliseconds.
type Numbered = (SmallVec<[i64; 1]>, u64);

/// What is told of one lock.
#[derive(Debug, Default)]
struct Line {
    source: i64,
    key: Vec<u8>,
    /// The last one.
    form: i64,
    sight: Option<Sight>,
    basis: Option<WaitersBasis>,
    steps: Vec<u64>,
}

impl Reader {
    fn waited(&mut self, span: &Span, most: usize) -> Result<Option<WaitedSteps>, HistoryError> {
        let steps = Steps::of(span);
        let whole = steps.time();
        let end =
            span.to.0.saturating_add(MINUTE_MS - 1).div_euclid(MINUTE_MS).saturating_mul(MINUTE_MS).min(whole.end);
        let minutes = whole.start.div_euclid(MINUTE_MS)..end.div_euclid(MINUTE_MS);
        let first_name = self.connection().number("SELECT min(id) FROM locks", &[])?.unwrap_or(i64::MAX);
        // Whose name was cut off may be one that was asked for.
        let mut known_from = whole.start;
        let mut numbers: HashMap<i64, u64> = HashMap::new();
        let is_all = self.each_wait(&minutes, |lock, waited| {
            if lock < first_name {
                known_from = (waited.minute + 1) * MINUTE_MS;
            } else if waited.waited_ms > 0 {
                let known = numbers.entry(lock).or_default();
                *known = known.saturating_add(waited.waited_ms);
            }
        })?;
        if !is_all {
            return Ok(None);
        }
        let (longest, more_locks) = self.longest(&numbers, span, most)?;
        let places: HashMap<i64, usize> =
            longest.iter().enumerate().flat_map(|(place, (ids, _))| ids.iter().map(move |id| (*id, place))).collect();
        let mut lines: Vec<Line> = Vec::new();
        lines.resize_with(longest.len(), || Line { steps: vec![0; steps.each().count()], ..Line::default() });
        self.each_wait(&minutes, |lock, Waited { minute, waited_ms, basis, .. }| {
            let line = places.get(&lock).and_then(|place| lines.get_mut(*place));
            if let Some((line, step)) = line.zip(steps.place(minute)).filter(|_| waited_ms > 0) {
                line.steps[step] = line.steps[step].saturating_add(waited_ms);
                line.basis = Some(line.basis.map_or(basis, |known| weaker(known, basis)));
            }
        })?;
        let sights = self.forms_seen()?;
        self.each_name(Table::Locks, places.keys().copied().collect(), |id, row| {
            let (source, form): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
            if let Some(line) = places.get(&id).and_then(|place| lines.get_mut(*place)) {
                let form = form.unwrap_or_default();
                let sight = sights.get(&form).copied().unwrap_or(Sight::Unseen);
                (line.source, line.key, line.form) = (source, row.bytes(3).to_vec(), form);
                line.sight = Some(line.sight.map_or(sight, |known| known.max(sight)));
            }
            Ok(())
        })?;

        let time = known_from.max(whole.start)..end;
        let followed = self.stretches_followed(&time)?;
        let recognitions = self.recognitions()?;
        let locks = lines.into_iter().zip(longest).map(|(line, (_, waited_ms))| {
            let own = match line.sight {
                None | Some(Sight::Unseen) => Vec::new(),
                Some(sight) => own(&followed, line.source, sight, &time),
            };
            let told = |(step, ms): (Range<i64>, u64)| {
                if ms > 0 { Some(ms) } else { is_followed(&own, step.start..step.end.min(end)).then_some(0) }
            };
            let traits = recognitions.get(&line.form).map(|recognition| recognition.traits);
            WaitedLock {
                source: self.sources.get(&line.source).map_or_else(String::new, |name| name.to_string()),
                id: LockId::of_key(&line.key),
                name: name_of(&line.key, traits.map_or("", |traits| traits.strip_prefix)),
                waited_ms,
                basis: line.basis.unwrap_or(WaitersBasis::Unknown),
                steps: steps.each().zip(line.steps).map(told).collect(),
            }
        });
        let locks = locks.collect();
        let step_ms = steps.step_ms();
        Ok(Some(WaitedSteps { from: Time(whole.start), to: span.to, step_ms, locks, more_locks }))
    }

    /// Of those that pass the ones that were waited for longest, the longest first; and how many more there are.
    fn longest(
        &self,
        numbers: &HashMap<i64, u64>,
        span: &Span,
        most: usize,
    ) -> Result<(Vec<Numbered>, u64), HistoryError> {
        // A lock has several numbers where its form changed. Names are many: two keyed hashes tell them apart.
        let hashers = [DefaultHashBuilder::default(), DefaultHashBuilder::default()];
        let mut found: HashMap<(u64, u64), Numbered> = HashMap::new();
        self.each_name(Table::Locks, numbers.keys().copied().collect(), |id, row| {
            let (source, form): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
            let key = row.bytes(3);
            let name = self.sources.get(&source).map_or("", |name| &**name);
            let is_wanted = span.source.as_deref().is_none_or(|wanted| wanted == name);
            if form.is_some() && is_wanted && span.reach.has(name, key) {
                let [one, other] = &hashers;
                let (ids, sum) = found.entry((one.hash_one((source, key)), other.hash_one((source, key)))).or_default();
                ids.push(id);
                *sum = sum.saturating_add(numbers.get(&id).copied().unwrap_or_default());
            }
            Ok(())
        })?;
        let mut found: Vec<Numbered> = found.into_values().collect();
        let more = found.len().saturating_sub(most) as u64;
        let order = |one: &Numbered, other: &Numbered| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0));
        if more > 0 {
            found.select_nth_unstable_by(most, order);
            found.truncate(most);
        }
        found.sort_unstable_by(order);
        Ok((found, more))
    }

    /// What the forms of locks are, by their numbers.
    fn recognitions(&self) -> Result<HashMap<i64, &'static Recognition>, DbError> {
        let sql = "SELECT id, dialect, certainty, because FROM forms";
        let forms = self.connection().all(sql, &[], |row| {
            let words: [String; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
            Ok::<(i64, &'static Recognition), DbError>((row.get(0)?, forms::written(&words[0], &words[1], &words[2])))
        })?;
        Ok(forms.into_iter().collect())
    }
}

/// Whether everybody was seen in all of a step, as far as it has passed.
fn is_followed(own: &[Range<i64>], step: Range<i64>) -> bool {
    let Some(told) = own.last().map(|last| last.end) else { return false };
    let now = clock::now().0;
    let passed = if now - told <= TOLD_LATELY_MS { told } else { now };
    let step = step.start..step.end.min(passed);
    let within: Vec<Range<i64>> = own
        .iter()
        .map(|range| range.start.max(step.start)..range.end.min(step.end))
        .filter(|range| !range.is_empty())
        .collect();
    !step.is_empty() && length(&within) == step.end - step.start
}
