//! Numbers for what would otherwise stand in every row: locks, tokens, sources, forms.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use lockkeeper_model::{LockState, Mode};

use super::forms;
use super::schema::HistoryError;
use super::waits::Sight;
use crate::recorder::db::{Connection, Insert, Value, inserts};
use crate::source::Recognition;

const LOCKS: Insert = inserts!("locks (id, source, form, name)", "($1, $2, $3, $4)");
const TOKENS: Insert = inserts!("tokens (id, name)", "($1, $2)");

/// Names that are known by heart, beyond a few for each lock that is held: some twenty megabytes. Beyond this they are
/// forgotten at the next checkpoint.
const SOFT_LIMIT: usize = 400_000;

/// …and at once beyond this, some hundred megabytes: who rebuilds the board across that moment looks up tokens by their
/// texts.
const HARD_LIMIT: usize = 4_000_000;

/// What a name takes in the file, about, in bytes.
const NAME_BYTES: u64 = 64;

/// Names that are known by heart cannot be cut off: they may be a sixteenth of the file, and never more than an eighth.
const SOFT_SHARE: u64 = 16;
const HARD_SHARE: u64 = 8;

/// Names for each lock that is held: its own and its holder's, now and before.
const NAMES_PER_LOCK: usize = 4;

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A lock of this source in this form.
    Lock { source: i64, form: i64 },
    /// A source as a whole. The number 0 is every source.
    Source { source: i64 },
    /// A token, or a text.
    Token,
}

type FormKey = (&'static Recognition, Mode, LockState);

/// Names that have a number. What is behind a number is in the file; here it is found by two keyed hashes, of which no
/// two names share both.
#[derive(Debug)]
pub(super) struct Names {
    known: HashMap<(u64, u64), i64>,
    forms: Vec<(FormKey, i64)>,
    next: i64,
    soft_limit: usize,
    hard_limit: usize,
    hashers: [RandomState; 2],
    /// Everything was forgotten since the last transaction.
    pub(super) era_begins: bool,
}

impl Names {
    /// None are known; `next` is the number of the first one, and `max_bytes` how large the file may be.
    pub(super) fn new(next: i64, max_bytes: u64) -> Names {
        let share = |share: u64| usize::try_from(max_bytes / share / NAME_BYTES).unwrap_or(usize::MAX);
        Names {
            soft_limit: SOFT_LIMIT.min(share(SOFT_SHARE)),
            hard_limit: HARD_LIMIT.min(share(HARD_SHARE)),
            known: HashMap::new(),
            forms: Vec::new(),
            next,
            hashers: [RandomState::new(), RandomState::new()],
            era_begins: true,
        }
    }

    /// The number of the next name that has none.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Whether it would be good to forget them at the next checkpoint.
    pub(super) fn are_many(&self, held: usize) -> bool {
        self.known.len() > self.soft_limit + NAMES_PER_LOCK * held
    }

    pub(super) fn are_too_many(&self) -> bool {
        self.known.len() > self.hard_limit
    }

    /// Forgets all, keeping the numbers that were given. Needed when those of the last transaction were not written, too.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.forms.clear();
        self.era_begins = true;
    }

    /// The number of a name, written down if it has none.
    pub(super) fn number(&mut self, kind: Kind, name: &[u8], connection: &Connection) -> Result<i64, HistoryError> {
        let key = (self.hashers[0].hash_one((kind, name)), self.hashers[1].hash_one((kind, name)));
        if let Some(&id) = self.known.get(&key) {
            return Ok(id);
        }
        let (source, form) = match kind {
            Kind::Lock { source, form } => (source, Some(form)),
            Kind::Source { source } => (source, None),
            Kind::Token => {
                connection.insert(&TOKENS, &[self.next.into(), name.into()])?;
                return Ok(self.given(key));
            }
        };
        connection.insert(&LOCKS, &[self.next.into(), source.into(), form.into(), name.into()])?;
        Ok(self.given(key))
    }

    fn given(&mut self, key: (u64, u64)) -> i64 {
        self.known.insert(key, self.next);
        self.next += 1;
        self.next - 1
    }

    /// The number of a form.
    pub(super) fn form(
        &mut self,
        recognition: &'static Recognition,
        mode: Mode,
        state: LockState,
        connection: &Connection,
    ) -> Result<i64, HistoryError> {
        let same = |known: &FormKey| std::ptr::eq(known.0, recognition) && (known.1, known.2) == (mode, state);
        if let Some((_, id)) = self.forms.iter().find(|(known, _)| same(known)) {
            return Ok(*id);
        }
        forms::met(recognition);
        let Recognition { dialect, certainty, because, .. } = recognition;
        let words = [dialect, certainty.word(), because, mode_word(mode), state.word()].map(Value::Text);
        let find = "SELECT id FROM forms WHERE (dialect, certainty, because, mode, state) = ($1, $2, $3, $4, $5)";
        let id = match connection.number(find, &words)? {
            Some(id) => id,
            None => {
                let insert = "INSERT INTO forms (dialect, certainty, because, mode, state)
                              VALUES ($1, $2, $3, $4, $5) RETURNING id";
                connection.number(insert, &words)?.unwrap_or(0)
            }
        };
        if let Some(how) = Sight::of(recognition.traits).number() {
            let insert =
                "INSERT INTO seen (form, how) VALUES ($1, $2) ON CONFLICT (form) DO UPDATE SET how = excluded.how";
            connection.execute(insert, &[id.into(), how.into()])?;
        }
        self.forms.push(((recognition, mode, state), id));
        Ok(id)
    }
}

/// Modes by the words that stand in the file.
pub(super) const MODES: [(&str, Mode); 4] = [
    ("exclusive", Mode::Exclusive),
    ("shared", Mode::Shared),
    ("semaphore", Mode::Semaphore),
    ("leader", Mode::Leader),
];

fn mode_word(mode: Mode) -> &'static str {
    MODES.iter().find(|(_, known)| *known == mode).map_or("exclusive", |(word, _)| word)
}
