//! Viewers' questions, kept answered: filter, order and window are evaluated here, never in the browser.
//!
//! - [`ordered`]: a sorted sequence with cheap changes and cheap windows.
//! - [`keys`]: what locks are ordered by.
//! - [`filter`]: which locks are an answer.
//! - [`answer`]: one question's answers in order, shared by all who ask the same.
//! - [`viewers`]: who looks at which window of which answer, and what each was last told.
//!
//! A change costs each distinct question one filter test and one move in its order; a frame costs each distinct window
//! its own length. Neither depends on how many locks there are.

mod answer;
mod filter;
mod keys;
mod ordered;
#[cfg(test)]
mod tests;
mod viewers;

use std::collections::HashMap;

use lockkeeper_model::wire::{DialectCount, Facets};
use lockkeeper_model::{Question, Time};

pub use viewers::{Around, FRAME_MS};

use crate::registry::{Registry, Slot};
use answer::Answer;
use keys::Keys;
use viewers::Viewers;

/// An answer that nobody looks at is kept this long, in milliseconds: a person who leaves a page comes back within a
/// minute, and scripts ask again and again.
const KEEP_UNWATCHED_MS: i64 = 60_000;

/// Answers that nobody looks at are kept up to this number. Each costs a test and a move for every change.
const MAX_UNWATCHED: usize = 16;

type AnswerId = u32;

/// All questions and who asked them.
#[derive(Debug, Default)]
pub struct Views {
    keys: Vec<Keys>,
    facets: Facets,
    dialects: Dialects,
    all: u64,
    answers: HashMap<AnswerId, Answer>,
    by_question: HashMap<Question, AnswerId>,
    next_answer: AnswerId,
    viewers: Viewers,
    scratch: Vec<u8>,
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
        let new = Keys::of(record, old.version.wrapping_add(1), dialect);
        for answer in self.answers.values_mut() {
            answer.before_change(registry, &self.keys, slot, &new);
        }
        self.keys[at] = new;
        self.all = self.all + u64::from(new.held) - u64::from(old.held);
        self.facets.waiting = self.facets.waiting + u64::from(new.waiting) - u64::from(old.waiting);
        self.facets.no_expiry = self.facets.no_expiry + u64::from(new.no_expiry) - u64::from(old.no_expiry);
        self.dialects.count(old.dialect, old.held, false);
        self.dialects.count(new.dialect, new.held, true);
        for answer in self.answers.values_mut() {
            answer.after_change(registry, slot, &mut self.scratch);
        }
    }

    /// Held locks.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.all
    }

    /// How many held locks each dialect has, in the order of their names.
    #[must_use]
    pub fn dialects(&self) -> Vec<DialectCount> {
        let mut held: Vec<_> = self.dialects.0.iter().filter(|(_, locks)| *locks > 0).collect();
        held.sort_unstable();
        held.into_iter().map(|&(name, locks)| DialectCount { name: name.to_owned(), locks }).collect()
    }

    /// Goes on with questions that are being answered for the first time.
    pub fn examine(&mut self, registry: &Registry) {
        for answer in self.answers.values_mut() {
            answer.examine(registry, &mut self.scratch);
        }
    }

    /// Whether a question is being answered for the first time.
    #[must_use]
    pub fn has_unexamined(&self) -> bool {
        self.answers.values().any(|answer| answer.examined().is_some())
    }

    /// Whether the question has its whole answer; begins to answer it if it has none.
    pub fn is_ready(&mut self, registry: &Registry, question: &Question, now: Time) -> bool {
        let id = self.answer_to(registry, question, now);
        self.answers.get(&id).is_some_and(|answer| answer.examined().is_none())
    }

    /// A page of the answer: how many there are, and the slots.
    pub fn page(
        &mut self,
        registry: &Registry,
        question: &Question,
        offset: u64,
        limit: u32,
        now: Time,
    ) -> (u64, Vec<Slot>) {
        let id = self.answer_to(registry, question, now);
        let Some(answer) = self.answers.get_mut(&id) else { return (0, Vec::new()) };
        answer.settle(registry, &self.keys, now, true);
        (answer.total(), answer.window(offset, limit).collect())
    }

    /// Forgets answers that nobody has looked at for a while.
    pub fn forget_unused(&mut self, now: Time) {
        let mut unwatched: Vec<(Time, AnswerId)> =
            self.answers.iter().filter(|(_, answer)| answer.watched == 0).map(|(&id, a)| (a.used_at, id)).collect();
        unwatched.sort_unstable_by(|a, b| b.cmp(a));
        for (rank, (used_at, id)) in unwatched.into_iter().enumerate() {
            if (rank >= MAX_UNWATCHED || now.since(used_at) >= KEEP_UNWATCHED_MS)
                && let Some(answer) = self.answers.remove(&id)
            {
                self.by_question.remove(&answer.question);
            }
        }
    }

    fn answer_to(&mut self, registry: &Registry, question: &Question, now: Time) -> AnswerId {
        let question = Question {
            q: question.q.split_whitespace().collect::<Vec<_>>().join(" "),
            order: Some(question.order()),
            ..question.clone()
        };
        let id = match self.by_question.get(&question) {
            Some(&id) => id,
            None => {
                let id = self.next_answer;
                self.next_answer = self.next_answer.wrapping_add(1);
                let mut answer = Answer::new(question.clone(), now);
                // A small board is answered in this one step.
                answer.examine(registry, &mut self.scratch);
                self.answers.insert(id, answer);
                self.by_question.insert(question, id);
                id
            }
        };
        if let Some(answer) = self.answers.get_mut(&id) {
            answer.used_at = now;
        }
        id
    }
}

/// The dialects that were seen, each with its held locks. There are as many as the recognisers know: a few dozen.
#[derive(Debug, Default)]
struct Dialects(Vec<(&'static str, u64)>);

impl Dialects {
    fn place_of(&mut self, name: &'static str) -> u8 {
        let at = self.0.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.0.push((name, 0));
            self.0.len() - 1
        });
        u8::try_from(at).unwrap_or(u8::MAX)
    }

    fn count(&mut self, place: u8, held: bool, more: bool) {
        if let Some((_, locks)) = self.0.get_mut(usize::from(place)).filter(|_| held) {
            *locks = if more { *locks + 1 } else { locks.saturating_sub(1) };
        }
    }
}
