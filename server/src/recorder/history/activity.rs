//! How much happened when, and what was missed: whole segments know it by the minute, and only the newest rows are counted.

use std::ops::Range;

use lockkeeper_model::{Activity, Time, TransitionKind};

use super::minutes::{self, MINUTE_MS};
use super::read::{COLUMNS, Direction, Filter, Raw, Reader, Stretch, Table};
use super::schema::HistoryError;
use super::{History, codes};
use crate::access::Reach;
use crate::recorder::db::Value;

/// Gaps that are told of at once: a hundred restarts of a server and as many lost links.
const MAX_GAPS: usize = 200;

/// Which time, and whose locks.
#[derive(Clone, Debug)]
pub struct Span {
    /// Other locks than these do not exist.
    pub reach: Reach,
    /// Only of this source.
    pub source: Option<String>,
    /// From here…
    pub from: Time,
    /// …to here, without it.
    pub to: Time,
    /// In so many steps at most; at least one.
    pub steps: u32,
}

impl History {
    /// How much happened in each of some steps of a time.
    ///
    /// # Errors
    /// When nothing is kept or the file cannot be read.
    pub async fn activity(&self, span: Span) -> Result<Activity, HistoryError> {
        self.flush().await;
        self.ask(move |reader| reader.activity(&span)).await
    }
}

/// Steps of whole minutes.
pub(super) struct Steps {
    first_minute: i64,
    minutes: i64,
    counts: Vec<Option<u64>>,
}

impl Steps {
    pub(super) fn of(span: &Span) -> Steps {
        let first_minute = span.from.0.div_euclid(MINUTE_MS);
        let after = span.to.0.saturating_add(MINUTE_MS - 1).div_euclid(MINUTE_MS).max(first_minute.saturating_add(1));
        let all = after - first_minute;
        let minutes = all.unsigned_abs().div_ceil(u64::from(span.steps.max(1))).max(1).cast_signed();
        let steps = all.unsigned_abs().div_ceil(minutes.unsigned_abs());
        let counts = vec![Some(0); usize::try_from(steps).unwrap_or(1)];
        Steps { first_minute, minutes, counts }
    }

    /// That many transitions in a minute; `None`: nobody knows how many.
    fn add(&mut self, minute: i64, count: Option<u64>) {
        if let Some(known) = self.place(minute).and_then(|step| self.counts.get_mut(step)) {
            *known = known.zip(count).map(|(known, count)| known.saturating_add(count));
        }
    }

    /// Nothing is known of what was before this minute.
    fn begin(&mut self, minute: i64) {
        let begun = (minute - self.first_minute).div_euclid(self.minutes).max(0);
        let before = usize::try_from(begun).unwrap_or(usize::MAX).min(self.counts.len());
        self.counts[..before].fill(None);
    }

    /// In which of them a minute is.
    pub(super) fn place(&self, minute: i64) -> Option<usize> {
        let step = usize::try_from((minute - self.first_minute).div_euclid(self.minutes)).ok()?;
        (step < self.counts.len()).then_some(step)
    }

    /// How long each of them is, in milliseconds.
    pub(super) fn step_ms(&self) -> i64 {
        self.minutes * MINUTE_MS
    }

    /// The time of each of them.
    pub(super) fn each(&self) -> impl Iterator<Item = Range<i64>> + '_ {
        let first = self.first_minute * MINUTE_MS;
        (0..self.counts.len() as i64).map(move |at| first + at * self.step_ms()..first + (at + 1) * self.step_ms())
    }

    /// All of it.
    pub(super) fn time(&self) -> Range<i64> {
        let first = self.first_minute * MINUTE_MS;
        first..first + self.step_ms() * i64::try_from(self.counts.len()).unwrap_or(1)
    }
}

impl Reader {
    fn activity(&mut self, span: &Span) -> Result<Activity, HistoryError> {
        let mut steps = Steps::of(span);
        let time = steps.time();
        let (from, to) = (Some(Time(time.start)), Some(Time(time.end)));
        let kind = Some(TransitionKind::Gap);
        let filter = Filter { source: span.source.clone(), kind, from, to, ..Filter::of(span.reach.clone()) };
        let (mut gaps, mut more_gaps) = (Vec::new(), 0);
        for stretch in self.stretches()?.iter().rev().filter(|stretch| stretch.touches(from, to)) {
            let found = match stretch.segment {
                Some(segment) => {
                    self.count_segment(segment, span, &mut steps)?;
                    self.gaps_of(segment, stretch)?
                }
                None => self.count_rows(stretch, span, &mut steps)?,
            };
            for raw in found.iter().rev() {
                let Some(gap) = self.told(raw, &filter)? else { continue };
                if gaps.len() < MAX_GAPS {
                    gaps.push(gap);
                } else {
                    more_gaps += 1;
                }
            }
        }
        match self.begins_at()? {
            Some(begins) => steps.begin(begins.0.div_euclid(MINUTE_MS)),
            None => steps.counts.fill(None),
        }
        gaps.reverse();
        let (step_ms, counts) = (steps.step_ms(), steps.counts);
        Ok(Activity { from: Time(time.start), to: span.to, step_ms, counts, gaps, more_gaps })
    }

    fn count_segment(&self, segment: i64, span: &Span, steps: &mut Steps) -> Result<(), HistoryError> {
        let sql = "SELECT minutes FROM segments WHERE id = $1";
        let found = self.connection().one(sql, &[segment.into()], |row| row.get::<Vec<u8>>(0))?;
        let bytes = found.unwrap_or_default();
        minutes::each(&bytes, |source, minute, count| {
            let Some(name) = self.sources.get(&source) else { return };
            if span.source.as_deref().is_some_and(|wanted| wanted != &**name) || !span.reach.touches(name) {
                return;
            }
            // How many of them are in scope was not counted.
            steps.add(minute, span.reach.has_all_of(name).then_some(count));
        });
        Ok(())
    }

    fn gaps_of(&mut self, segment: i64, stretch: &Stretch) -> Result<Vec<Raw>, HistoryError> {
        let everything = Filter::of(Reach::ALL);
        let mut rows = self.posted(segment, stretch, &everything, Direction::Before(i64::MAX))?;
        rows.sort_unstable();
        self.raws(&rows)
    }

    /// Counts the newest rows and returns the gaps among them.
    fn count_rows(&mut self, stretch: &Stretch, span: &Span, steps: &mut Steps) -> Result<Vec<Raw>, HistoryError> {
        let time = steps.time();
        let sql = format!("SELECT {COLUMNS} FROM transitions WHERE row >= $1 AND at >= $2 AND at < $3 ORDER BY row");
        let bounds = [stretch.first_row, time.start, time.end].map(Value::Number);
        let rows = self.connection().all(&sql, &bounds, Raw::of)?;
        let (gaps, rows): (Vec<Raw>, Vec<Raw>) = rows.into_iter().partition(|raw| raw.kind() == TransitionKind::Gap);
        let mut is_counted = hashbrown::HashMap::new();
        self.each_name(Table::Locks, rows.iter().map(|raw| raw.lock).collect(), |id, row| {
            let number: i64 = row.get(1)?;
            let source = self.sources.get(&number).map_or("", |name| &**name);
            let key = row.bytes(3);
            let is_wanted = span.source.as_deref().is_none_or(|wanted| wanted == source);
            is_counted.insert(id, is_wanted && span.reach.has(source, key));
            Ok(())
        })?;
        let rows = rows.iter().filter(|raw| codes::counted(raw.what).is_some());
        for raw in rows.filter(|raw| is_counted.get(&raw.lock) == Some(&true)) {
            steps.add(raw.at.div_euclid(MINUTE_MS), Some(1));
        }
        Ok(gaps)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn steps_are_whole_minutes_no_more_than_asked_and_cover_the_time(
            from in 0_i64..1 << 45, length in 1_i64..1 << 36, steps in 1_u32..500,
        ) {
            let span = Span { reach: Reach::ALL, source: None, from: Time(from), to: Time(from + length), steps };
            let made = Steps::of(&span);
            let time = made.time();
            prop_assert!(made.counts.len() <= steps as usize && time.start <= from && from + length <= time.end);
            prop_assert!(from - time.start < MINUTE_MS && time.start % MINUTE_MS == 0);
            prop_assert!(time.end - from - length < (made.minutes + 1) * MINUTE_MS);
        }
    }

    #[test]
    fn what_is_not_known_stays_so_and_what_was_before_the_beginning_is_not_known() {
        let span = Span { reach: Reach::ALL, source: None, from: Time(0), to: Time(6 * MINUTE_MS), steps: 3 };
        let mut steps = Steps::of(&span);
        for (minute, count) in [(2, Some(3)), (3, Some(4)), (4, None), (5, Some(1)), (-1, Some(9)), (6, Some(9))] {
            steps.add(minute, count);
        }
        assert_eq!(steps.counts, [Some(0), Some(7), None]);
        steps.begin(2);
        assert_eq!(steps.counts, [None, Some(7), None]);
    }
}
