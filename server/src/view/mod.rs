//! Viewers' questions, kept answered: filter, order and window are evaluated here, never in the browser.
//!
//! - [`ordered`]: a sorted sequence with cheap changes and cheap windows.
//! - [`keys`]: what locks are ordered by.
//! - [`filter`]: which locks are an answer.
//! - [`due`]: which of them have to be looked at again because time passes.
//! - [`answer`]: one question's answers in order, shared by all who ask the same.
//! - [`groups`]: the same put together by holder, prefix or dialect.
//! - [`shown`]: how many answers each further filter would leave.
//! - [`tally`]: how many locks there are, shared by all who see the same.
//! - [`census`]: how many locks of each kind there are and for how long they have been held, for charts.
//! - [`viewers`]: who looks at which window of which answer, and what each was last told.
//!
//! Which locks a viewer may see is part of the question. A change costs each distinct question one filter test and one
//! move in its order; a frame costs each distinct window its own length. Neither depends on how many locks there are, nor
//! on how many viewers ask the same.

mod answer;
mod bits;
mod census;
mod due;
mod filter;
mod groups;
mod keys;
mod ordered;
mod shown;
mod tally;
#[cfg(test)]
mod tests;
mod viewers;

use std::collections::HashMap;

use lockkeeper_model::search::Search;
use lockkeeper_model::wire::DialectCount;
use lockkeeper_model::{Question, Time};

pub use census::{AGE_BOUNDS_S, Counted};
pub use groups::Group;
pub use viewers::{Around, FRAME_MS, Part};

use crate::access::Reach;
use crate::registry::{Registry, Slot};
use crate::source::SourceId;
use answer::Answer;
use census::Census;
use filter::Filter;
use keys::{Keys, window_of};
use tally::Tally;
use viewers::Viewers;

/// An answer that nobody looks at is kept this long, in milliseconds: a person who leaves a page comes back within a
/// minute, and scripts ask again and again.
const KEEP_UNWATCHED_MS: i64 = 60_000;

/// Answers that nobody looks at are kept up to this number. Each costs a test and a move for every change.
const MAX_UNWATCHED: usize = 16;

/// An answer in the making that nobody has asked after for so long is abandoned, in milliseconds. Whoever waits for it asks at
/// every step.
const ABANDONED_MS: i64 = 10_000;

type AnswerId = u32;

/// A question, and which locks there are for whoever asks it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// What was asked. It must have been checked.
    pub question: Question,
    /// Other locks than these do not exist.
    pub reach: Reach,
}

/// All questions and who asked them.
#[derive(Debug)]
pub struct Views {
    keys: Vec<Keys>,
    dialects: Dialects,
    census: Census,
    /// One for each reach that somebody has; that of all locks is always there, and first.
    tallies: Vec<Tally>,
    answers: HashMap<AnswerId, Answer>,
    by_question: HashMap<Asked, AnswerId>,
    next_answer: AnswerId,
    /// The second as of which it is known what time changes: conditions on it are about seconds to hours, and nobody
    /// tells a second later from now.
    now: Time,
    viewers: Viewers,
    scratch: Vec<u8>,
}

impl Default for Views {
    fn default() -> Views {
        Views {
            keys: Vec::new(),
            dialects: Dialects::default(),
            census: Census::default(),
            tallies: vec![Tally::from_the_start(Reach::ALL, Time(0))],
            answers: HashMap::new(),
            by_question: HashMap::new(),
            next_answer: 0,
            now: Time(0),
            viewers: Viewers::default(),
            scratch: Vec::new(),
        }
    }
}

impl Views {
    /// Takes note of a lock that changed.
    pub fn change(&mut self, registry: &Registry, slot: Slot) {
        let Some(record) = registry.record(slot) else { return };
        let at = slot as usize;
        if at >= self.keys.len() {
            self.keys.resize(at + 1, Keys::default());
        }
        let old = self.keys[at];
        let dialect = self.dialects.place_of(record.recognition.dialect);
        let new = Keys::of(registry, record, old.version.wrapping_add(1), dialect);
        for answer in self.answers.values_mut() {
            answer.before_change(registry, &self.keys, slot, &new);
        }
        self.keys[at] = new;
        self.census.change(record.source, &old, &new);
        for tally in &mut self.tallies {
            tally.change(registry, slot, record, &old, &new);
        }
        for answer in self.answers.values_mut() {
            answer.after_change(registry, slot, &new, self.now, &mut self.scratch);
        }
    }

    /// Lets the locks grow older. To be called every second or so, so that each call has little to do. Says whether an
    /// answer is another one because of that.
    pub fn grow_older(&mut self, registry: &Registry, now: Time) -> bool {
        self.now = self.now.max(whole_second(now));
        self.census.grow_older(now);
        let mut changed = false;
        for answer in self.answers.values_mut() {
            changed |= answer.grow_older(registry, &self.keys, self.now, &mut self.scratch);
        }
        changed
    }

    /// How many locks of each kind a source has.
    #[must_use]
    pub fn counted(&self, source: SourceId) -> Counted {
        self.census.of(source, &self.dialects.0)
    }

    /// How many held locks of the reach each dialect has, in the order of their names; as far as they were counted.
    pub fn dialects(&mut self, registry: &Registry, reach: &Reach, now: Time) -> Vec<DialectCount> {
        let place = self.tally(registry, reach, now);
        self.tallies[place].dialects(self.dialects.0.iter().copied())
    }

    /// How many held locks of the reach each of the first `sources` sources has; as far as they were counted.
    pub fn by_source(&mut self, registry: &Registry, reach: &Reach, sources: usize, now: Time) -> Vec<u64> {
        let place = self.tally(registry, reach, now);
        (0..sources).map(|n| self.tallies[place].of_source(SourceId(u16::try_from(n).unwrap_or(u16::MAX)))).collect()
    }

    /// Whether the locks of the reach are counted; begins to count them if they are not.
    pub fn is_counted(&mut self, registry: &Registry, reach: &Reach, now: Time) -> bool {
        let place = self.tally(registry, reach, now);
        !self.tallies[place].is_unexamined()
    }

    /// Goes on with questions that are being answered for the first time.
    pub fn examine(&mut self, registry: &Registry) {
        for answer in self.answers.values_mut().filter(|answer| answer.is_awaited()) {
            answer.examine(registry, &self.keys, self.now, &mut self.scratch);
        }
        for tally in &mut self.tallies {
            tally.examine(registry, &self.keys);
        }
    }

    /// Whether a question that somebody waits for is being answered, or a reach counted, for the first time.
    #[must_use]
    pub fn has_unexamined(&self) -> bool {
        self.answers.values().any(Answer::is_awaited) || self.tallies.iter().any(Tally::is_unexamined)
    }

    /// Whether the question has its whole answer; begins to answer it if it has none.
    pub fn is_ready(&mut self, registry: &Registry, asked: &Asked, now: Time) -> bool {
        let id = self.answer_to(registry, asked, now);
        self.answers.get(&id).is_some_and(|answer| answer.examined().is_none())
    }

    /// A page of the answer: how many there are, and the slots.
    pub fn page(&mut self, registry: &Registry, asked: &Asked, offset: u64, limit: u32, now: Time) -> (u64, Vec<Slot>) {
        let id = self.answer_to(registry, asked, now);
        let Some(answer) = self.answers.get_mut(&id) else { return (0, Vec::new()) };
        answer.grow_older(registry, &self.keys, self.now, &mut self.scratch);
        answer.settle(registry, &self.keys, now, true);
        (answer.total(), answer.window(offset, limit).collect())
    }

    /// The first groups of the answer to a question that asks for groups: how many there are, how many locks they have, and
    /// those.
    pub fn groups(&mut self, registry: &Registry, asked: &Asked, limit: usize, now: Time) -> (u64, u64, Vec<Group>) {
        let id = self.answer_to(registry, asked, now);
        let Some(answer) = self.answers.get_mut(&id) else { return (0, 0, Vec::new()) };
        answer.grow_older(registry, &self.keys, self.now, &mut self.scratch);
        let Some(groups) = &answer.groups else { return (0, 0, Vec::new()) };
        (groups.len(), answer.total(), groups.first(limit))
    }

    /// Forgets answers and tallies that nobody has looked at for a while.
    pub fn forget_unused(&mut self, now: Time) {
        // One that somebody waits for would be begun anew, and if there are many of them, none would ever be finished.
        let is_idle = |answer: &Answer| {
            answer.watched == 0 && (answer.examined().is_none() || now.since(answer.used_at) >= ABANDONED_MS)
        };
        let mut unwatched: Vec<(Time, AnswerId)> =
            self.answers.iter().filter(|(_, answer)| is_idle(answer)).map(|(&id, a)| (a.used_at, id)).collect();
        unwatched.sort_unstable_by(|a, b| b.cmp(a));
        for (rank, (used_at, id)) in unwatched.into_iter().enumerate() {
            if (rank >= MAX_UNWATCHED || now.since(used_at) >= KEEP_UNWATCHED_MS)
                && let Some(answer) = self.answers.remove(&id)
            {
                self.by_question.remove(&answer.asked);
            }
        }
        let mut first = true;
        let (answers, viewers) = (&self.answers, &self.viewers);
        self.tallies.retain(|tally| {
            std::mem::take(&mut first)
                || now.since(tally.used_at) < KEEP_UNWATCHED_MS
                || viewers.have(tally.reach())
                || answers.values().any(|answer| answer.asked.reach == *tally.reach())
        });
    }

    /// The place of the reach's tally, which begins to count if there was none.
    fn tally(&mut self, registry: &Registry, reach: &Reach, now: Time) -> usize {
        let place = self.tallies.iter().position(|tally| tally.reach() == reach).unwrap_or_else(|| {
            let mut tally = Tally::new(reach.clone(), now);
            // A small board is counted in this one step.
            tally.examine(registry, &self.keys);
            self.tallies.push(tally);
            self.tallies.len() - 1
        });
        self.tallies[place].used_at = now;
        place
    }

    fn answer_to(&mut self, registry: &Registry, asked: &Asked, now: Time) -> AnswerId {
        let Asked { question, reach } = asked;
        self.now = self.now.max(whole_second(now));
        // Before the answer, so that it is counted by the time that everything is answered.
        self.tally(registry, reach, now);
        let question = Question {
            q: Search::parse(&question.q).map(|search| search.to_string()).unwrap_or_default(),
            order: Some(question.order()),
            ..question.clone()
        };
        let asked = Asked { question, reach: reach.clone() };
        let id = match self.by_question.get(&asked) {
            Some(&id) => id,
            None => {
                let id = self.next_answer;
                self.next_answer = self.next_answer.wrapping_add(1);
                let mut answer = Answer::new(asked.clone(), now);
                answer.narrow(self.answers.values(), registry.slots());
                // A small board is answered in this one step.
                answer.examine(registry, &self.keys, self.now, &mut self.scratch);
                self.answers.insert(id, answer);
                self.by_question.insert(asked, id);
                id
            }
        };
        if let Some(answer) = self.answers.get_mut(&id) {
            answer.used_at = now;
            answer.wanted = true;
        }
        id
    }
}

/// A page of the answer to a question that is asked once, of a board that does not change.
#[must_use]
pub fn once(registry: &Registry, asked: &Asked, offset: u64, limit: u32, now: Time) -> (u64, Vec<Slot>) {
    let (now, filter) = (whole_second(now), Filter::new(asked));
    let (sort, order) = (asked.question.sort, asked.question.order());
    let mut scratch = Vec::new();
    let ranked: Vec<(u64, Slot)> = (0..registry.slots())
        .filter_map(|slot| {
            let slot = slot as Slot;
            let record = registry.record(slot).filter(|record| !record.is_ended())?;
            let is_answer = filter.could_match(registry, record, &mut scratch) && filter.is_time(record, now);
            is_answer.then(|| (Keys::to_order(record).rank(sort, order), slot))
        })
        .collect();
    let total = ranked.len() as u64;
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    (total, window_of(registry, sort, order, ranked, offset, limit as usize))
}

fn whole_second(at: Time) -> Time {
    Time(at.0 - at.0.rem_euclid(1_000))
}

/// The dialects that were seen. There are as many as the recognisers know: a few dozen.
#[derive(Debug, Default)]
struct Dialects(Vec<&'static str>);

impl Dialects {
    fn place_of(&mut self, name: &'static str) -> u8 {
        let at = self.0.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.0.push(name);
            self.0.len() - 1
        });
        u8::try_from(at).unwrap_or(u8::MAX)
    }
}
