//! How long was waited for which lock, step by step of a time.

use std::cmp::Reverse;
use std::ops::Range;

use hashbrown::HashMap;
use lockkeeper_model::{LockId, Time, WaitedLock, WaitedSteps, WaitersBasis};

use super::activity::{Span, Steps};
use super::contention::{length, own};
use super::minutes::MINUTE_MS;
use super::read::{Filter, Reader, Table};
use super::schema::HistoryError;
use super::waits::Sight;
use super::{History, forms};
use crate::clock;
use crate::recorder::db::DbError;
use crate::registry::waits::Waited;
use crate::registry::{name_of, weaker};
use crate::source::Recognition;

/// Who waits is told each second. What was told later than this many milliseconds ago goes on.
const TOLD_LATELY_MS: i64 = 5_000;

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

/// Of one lock. Steps in which nobody is known to have waited are left out.
#[derive(Debug, Default)]
struct Added {
    together: u64,
    steps: Vec<(usize, u64)>,
    basis: Option<WaitersBasis>,
}

impl Added {
    fn add(&mut self, step: usize, waited_ms: u64, basis: WaitersBasis) {
        self.together = self.together.saturating_add(waited_ms);
        match self.steps.last_mut() {
            Some((last, ms)) if *last == step => *ms = ms.saturating_add(waited_ms),
            _ => self.steps.push((step, waited_ms)),
        }
        self.basis = Some(self.basis.map_or(basis, |known| weaker(known, basis)));
    }

    /// The same lock in another form.
    fn merge(&mut self, other: Added) {
        self.together = self.together.saturating_add(other.together);
        self.steps.extend(other.steps);
        self.basis = self.basis.into_iter().chain(other.basis).reduce(weaker);
    }
}

/// A lock, and as what it was known last.
struct Named {
    source: i64,
    key: Vec<u8>,
    form: i64,
    sight: Sight,
    added: Added,
}

impl Reader {
    fn waited(&mut self, span: &Span, most: usize) -> Result<Option<WaitedSteps>, HistoryError> {
        let steps = Steps::of(span);
        let time = steps.time();
        let first_name = self.connection().number("SELECT min(id) FROM locks", &[])?.unwrap_or(i64::MAX);
        // Whose name was cut off may be one that was asked for.
        let mut known_from = time.start;
        let mut numbers: HashMap<i64, Added> = HashMap::new();
        let minutes = time.start.div_euclid(MINUTE_MS)..time.end.div_euclid(MINUTE_MS);
        let is_all = self.each_wait(&minutes, |lock, Waited { minute, waited_ms, basis, .. }| {
            if lock < first_name {
                known_from = (minute + 1) * MINUTE_MS;
            } else if let Some(step) = steps.place(minute) {
                numbers.entry(lock).or_default().add(step, waited_ms, basis);
            }
        })?;
        if !is_all {
            return Ok(None);
        }
        let mut locks = self.named(numbers, span)?;
        let more_locks = locks.len().saturating_sub(most) as u64;
        locks.truncate(most);

        let time = known_from.max(time.start)..time.end;
        let followed = self.stretches_followed(&time)?;
        let recognitions = self.recognitions()?;
        let locks = locks.into_iter().map(|lock| {
            let own = match lock.sight {
                Sight::Unseen => Vec::new(),
                sight => own(&followed, lock.source, sight, &time),
            };
            let mut told: Vec<Option<u64>> = steps.each().map(|step| is_followed(&own, step).then_some(0)).collect();
            for (step, ms) in lock.added.steps {
                if let Some(told) = told.get_mut(step) {
                    *told = Some(told.unwrap_or(0).saturating_add(ms));
                }
            }
            let traits = recognitions.get(&lock.form).map(|recognition| recognition.traits);
            WaitedLock {
                source: self.sources.get(&lock.source).map_or_else(String::new, |name| name.to_string()),
                id: LockId::of_key(&lock.key),
                name: name_of(&lock.key, traits.map_or("", |traits| traits.strip_prefix)),
                waited_ms: lock.added.together,
                basis: lock.added.basis.unwrap_or(WaitersBasis::Unknown),
                steps: told,
            }
        });
        let locks = locks.collect();
        Ok(Some(WaitedSteps {
            from: Time(steps.time().start),
            to: span.to,
            step_ms: steps.step_ms(),
            locks,
            more_locks,
        }))
    }

    /// Those that pass, each one once whatever its form was, the longest waited for first.
    fn named(&self, mut numbers: HashMap<i64, Added>, span: &Span) -> Result<Vec<Named>, HistoryError> {
        let filter = Filter { source: span.source.clone(), ..Filter::of(span.reach.clone()) };
        let sights = self.forms_seen()?;
        let mut found: HashMap<(i64, Vec<u8>), Named> = HashMap::new();
        self.each_name(Table::Locks, numbers.keys().copied().collect(), |id, row| {
            let (source, form): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
            let key = row.bytes(3);
            let source_name = self.sources.get(&source).map_or("", |name| &**name);
            if let Some(form) = form
                && filter.source.as_deref().is_none_or(|wanted| wanted == source_name)
                && filter.reach.has(source_name, key)
                && let Some(added) = numbers.remove(&id)
            {
                let sight = sights.get(&form).copied().unwrap_or(Sight::Unseen);
                let empty = || Named { source, key: key.to_vec(), form, sight, added: Added::default() };
                let named = found.entry((source, key.to_vec())).or_insert_with(empty);
                (named.form, named.sight) = (form, named.sight.max(sight));
                named.added.merge(added);
            }
            Ok(())
        })?;
        let mut found: Vec<Named> = found.into_values().collect();
        found.sort_by(|a, b| {
            (Reverse(a.added.together), a.source, &a.key).cmp(&(Reverse(b.added.together), b.source, &b.key))
        });
        Ok(found)
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
