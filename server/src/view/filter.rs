//! A question's filters, made ready to be asked of a million locks.

use lockkeeper_model::search::{Condition, Search, Side};
use lockkeeper_model::{Flag, GroupBy, LockState, Time};
use memchr::memmem::Finder;

use super::Asked;
use crate::access::Reach;
use crate::registry::{Record, Registry};

/// No expiry, in [`Record::expires`].
const NEVER: i64 = i64::MAX;

/// Tests one lock after the other.
#[derive(Debug)]
pub(crate) struct Filter {
    tests: Vec<Test>,
    /// Those whose answer changes as time passes.
    timed: Vec<Timed>,
    reach: Reach,
    everything: bool,
}

/// Something that is so of a lock until the lock changes.
#[derive(Debug)]
struct Test {
    excluded: bool,
    what: What,
}

#[derive(Debug)]
enum What {
    Text(Finder<'static>),
    Name(Finder<'static>),
    Holder(Finder<'static>),
    Source(String),
    Dialect(String),
    State(LockState),
    Waiters(u32),
    Flag(Flag),
    Group(GroupBy, String),
}

/// Something that comes to be so, or ceases to be, as time passes.
#[derive(Debug)]
struct Timed {
    excluded: bool,
    clock: Clock,
    side: Side,
    ms: i64,
}

/// What the time is counted from, or to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Held,
    Wait,
    Left,
}

impl Filter {
    /// The filters of a question, which must have been checked.
    pub(crate) fn new(asked: &Asked) -> Filter {
        let Asked { question, reach } = asked;
        let mut filter = Filter {
            tests: Vec::new(),
            timed: Vec::new(),
            reach: reach.clone(),
            everything: question.is_unfiltered() && reach.is_all(),
        };
        let mut test = |what| filter.tests.push(Test { excluded: false, what });
        if let Some(word) = &question.state {
            test(state(word));
        }
        if let Some(flag) = question.flag.as_deref().and_then(|word| Flag::ALL.into_iter().find(|f| f.word() == word)) {
            test(What::Flag(flag));
        }
        if let Some(name) = &question.dialect {
            test(What::Dialect(name.clone()));
        }
        if let (Some(by), Some(value)) = (question.group, &question.within) {
            test(What::Group(by, value.clone()));
        }
        if let Some(name) = &question.source {
            test(What::Source(name.clone()));
        }
        for term in Search::parse(&question.q).unwrap_or_default().terms {
            let excluded = term.excluded;
            let (clock, side, ms) = match term.condition {
                Condition::Held(side, ms) => (Clock::Held, side, ms),
                Condition::Wait(side, ms) => (Clock::Wait, side, ms),
                Condition::Left(side, ms) => (Clock::Left, side, ms),
                untimed => {
                    filter.tests.push(Test { excluded, what: what(untimed) });
                    continue;
                }
            };
            filter.timed.push(Timed { excluded, clock, side, ms });
        }
        // What costs least first.
        filter
            .tests
            .sort_by_key(|test| matches!(test.what, What::Text(_) | What::Name(_) | What::Holder(_) | What::Group(..)));
        filter
    }

    /// Whether a held lock is an answer as far as time does not matter. `scratch` is memory to reuse.
    pub(crate) fn could_match(&self, registry: &Registry, record: &Record, scratch: &mut Vec<u8>) -> bool {
        self.everything
            || self.reach.has(registry.source_name(record.source), &record.key)
                && self.tests.iter().all(|test| test.what.is_so(registry, record, scratch) != test.excluded)
    }

    /// Whether every lock that is an answer here is one there, for certain.
    pub(crate) fn is_within(&self, wider: &Filter) -> bool {
        let implies = |test: &Test, wider: &Test| match (test.excluded, wider.excluded) {
            (false, false) => test.what.implies(&wider.what),
            (true, true) => wider.what.implies(&test.what),
            _ => false,
        };
        // What time alone may bring is not among the answers yet.
        !wider.is_timed()
            && self.reach == wider.reach
            && wider.tests.iter().all(|wider| self.tests.iter().any(|test| implies(test, wider)))
    }

    /// Whether it is an answer as far as time matters.
    pub(crate) fn is_time(&self, record: &Record, now: Time) -> bool {
        self.timed.iter().all(|timed| timed.is_so(record, now.0) != timed.excluded)
    }

    /// Whether time matters at all.
    pub(crate) fn is_timed(&self) -> bool {
        !self.timed.is_empty()
    }

    /// The next moment at which [`Filter::is_time`] may say something else, if the lock stays as it is.
    pub(crate) fn turns_at(&self, record: &Record, now: Time) -> Option<i64> {
        self.timed.iter().filter_map(|timed| timed.turns_at(record)).filter(|at| *at > now.0).min()
    }
}

fn state(word: &str) -> What {
    // `waiting` is no state of a lock as a whole: it can be held as well.
    LockState::ALL.into_iter().find(|state| state.word() == word).map_or(What::Waiters(0), What::State)
}

fn what(condition: Condition) -> What {
    let finder = |text: &str| Finder::new(text.to_ascii_lowercase().as_bytes()).into_owned();
    match condition {
        Condition::Text(text) => What::Text(finder(&text)),
        Condition::Name(text) => What::Name(finder(&text)),
        Condition::Holder(text) => What::Holder(finder(&text)),
        Condition::Source(name) => What::Source(name),
        Condition::Dialect(name) => What::Dialect(name),
        Condition::State(word) => state(word),
        Condition::Flag(flag) => What::Flag(flag),
        Condition::Waiters(number) => What::Waiters(number),
        // Taken out before.
        Condition::Held(..) | Condition::Wait(..) | Condition::Left(..) => What::Text(finder("")),
    }
}

impl What {
    fn is_so(&self, registry: &Registry, record: &Record, scratch: &mut Vec<u8>) -> bool {
        match self {
            What::Text(word) => {
                contains(word, &record.key, scratch)
                    || record.holds.iter().any(|hold| contains(word, &hold.token, scratch))
            }
            What::Name(word) => contains(word, &record.key, scratch),
            What::Holder(word) => record.holds.iter().any(|hold| {
                contains(word, &hold.token, scratch)
                    || registry.who(record, hold).is_some_and(|who| contains(word, who.as_bytes(), scratch))
            }),
            What::Source(name) => registry.source_name(record.source) == name,
            What::Dialect(name) => record.recognition.dialect == name,
            What::State(state) => record.state == *state,
            What::Waiters(number) => record.waiting() > *number,
            What::Flag(flag) => registry.has_flag(record, *flag),
            What::Group(by, value) => registry.group(record, *by) == value.as_str(),
        }
    }
}

impl What {
    /// Whether the other is so of each lock of which this is so.
    fn implies(&self, other: &What) -> bool {
        match (self, other) {
            (What::Text(word), What::Text(part))
            | (What::Name(word), What::Name(part) | What::Text(part))
            | (What::Holder(word), What::Holder(part)) => part.find(word.needle()).is_some(),
            (What::Source(name), What::Source(other)) | (What::Dialect(name), What::Dialect(other)) => name == other,
            (What::State(state), What::State(other)) => state == other,
            (What::Waiters(more_than), What::Waiters(fewer)) => more_than >= fewer,
            (What::Flag(flag), What::Flag(other)) => flag == other,
            (What::Group(by, value), What::Group(other, other_value)) => by == other && value == other_value,
            _ => false,
        }
    }
}

impl Timed {
    /// The moment that decides, as far as it is known for certain on this side: what was met held has been held for at
    /// least as long as it was seen, and nobody knows for how long at most.
    fn moment(&self, record: &Record) -> Option<i64> {
        match (self.clock, self.side) {
            (Clock::Held, Side::More) => Some(record.since()).filter(|since| *since != i64::MAX),
            (Clock::Held, Side::Less) => {
                let earliest = |hold: &crate::registry::Hold| hold.not_before();
                record.holds.iter().map(earliest).min().flatten()
            }
            (Clock::Wait, _) => record.waits_since(),
            (Clock::Left, _) => (!record.holds.is_empty()).then(|| record.expires()),
        }
    }

    fn is_so(&self, record: &Record, now: i64) -> bool {
        let Some(moment) = self.moment(record) else { return false };
        let ms = match self.clock {
            Clock::Held | Clock::Wait => now.saturating_sub(moment),
            Clock::Left => moment.saturating_sub(now),
        };
        match self.side {
            Side::More => ms > self.ms,
            Side::Less => ms < self.ms,
        }
    }

    fn turns_at(&self, record: &Record) -> Option<i64> {
        let moment = self.moment(record)?;
        Some(match (self.clock, self.side) {
            (Clock::Left, _) if moment == NEVER => return None,
            (Clock::Held | Clock::Wait, Side::More) => moment.saturating_add(self.ms).saturating_add(1),
            (Clock::Held | Clock::Wait, Side::Less) => moment.saturating_add(self.ms),
            (Clock::Left, Side::More) => moment.saturating_sub(self.ms),
            (Clock::Left, Side::Less) => moment.saturating_sub(self.ms).saturating_add(1),
        })
    }
}

fn contains(word: &Finder<'_>, text: &[u8], scratch: &mut Vec<u8>) -> bool {
    scratch.clear();
    scratch.extend(text.iter().map(u8::to_ascii_lowercase));
    word.find(scratch).is_some()
}
