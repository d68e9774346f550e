//! Every lock that is met on the way to a moment: those of a checkpoint, and what happened to them since.

use std::hash::BuildHasher as _;

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use lockkeeper_model::{Basis, LockState, Mode, Time, TransitionKind};
use smallvec::SmallVec;

use super::read::{Raw, Reader, Table};
use super::schema::HistoryError;
use crate::registry::Hold;
use crate::registry::past::HeldThen;
use crate::source::{Recognition, SourceId};

/// A line of a checkpoint.
pub(super) struct Loaded {
    /// What happened up to this row is in it already.
    pub(super) valid_from: i64,
    pub(super) lock: i64,
    pub(super) holder: i64,
    /// Without its token.
    pub(super) hold: Hold,
}

/// What a form was.
#[derive(Clone, Copy)]
pub(super) struct FormThen {
    pub(super) recognition: &'static Recognition,
    pub(super) mode: Mode,
    pub(super) state: LockState,
}

/// One lock.
struct LockThen {
    source: i64,
    key: Bytes,
    /// Of the name under which it was last taken.
    form: i64,
    valid_from: i64,
    /// Holds by the number of their token.
    holds: SmallVec<[(i64, Hold); 1]>,
}

/// Every lock that is met on the way to a moment.
pub(super) struct Past {
    locks: Vec<LockThen>,
    /// Where in `locks` a number's lock is, and the form that the number stands for.
    by_number: HashMap<i64, (usize, i64)>,
    /// Places by source and key: one lock has several numbers where its form changed, or where names were numbered anew.
    by_key: HashTable<usize>,
    hasher: DefaultHashBuilder,
    later: Later,
}

/// From some row on a token may have another number than before.
struct Later {
    first_row: i64,
    has_begun: bool,
    /// The number of each token that was met since, or was a holder then: the first that it had.
    first: HashMap<Box<[u8]>, i64>,
    /// That, by the number that it has now.
    same: HashMap<i64, i64>,
}

impl Past {
    /// Nothing is held. From `later_numbers` on locks and tokens may have other numbers than before.
    pub(super) fn new(later_numbers: Option<i64>) -> Past {
        let later = Later {
            first_row: later_numbers.unwrap_or(i64::MAX),
            has_begun: false,
            first: HashMap::new(),
            same: HashMap::new(),
        };
        let (by_key, hasher) = (HashTable::new(), DefaultHashBuilder::default());
        Past { locks: Vec::new(), by_number: HashMap::new(), by_key, hasher, later }
    }

    /// Takes over what a checkpoint says.
    pub(super) fn load(&mut self, reader: &Reader, held: Vec<Loaded>) -> Result<(), HistoryError> {
        self.locks.reserve(held.len());
        self.learn(reader, held.iter().map(|line| line.lock).collect())?;
        for Loaded { valid_from, lock, holder, hold } in held {
            let Some(&(place, form)) = self.by_number.get(&lock) else { continue };
            let lock = &mut self.locks[place];
            (lock.form, lock.valid_from) = (form, valid_from);
            lock.holds.push((holder, hold));
        }
        Ok(())
    }

    /// Takes over what happened, in order.
    pub(super) fn apply(&mut self, reader: &Reader, rows: &[Raw]) -> Result<(), HistoryError> {
        let unknown = rows.iter().map(|raw| raw.lock).filter(|lock| !self.by_number.contains_key(lock)).collect();
        self.learn(reader, unknown)?;
        let (before, since) = rows.split_at(rows.partition_point(|raw| raw.row < self.later.first_row));
        before.iter().for_each(|raw| self.apply_one(raw));
        if !since.is_empty() {
            self.learn_tokens(reader, since)?;
            since.iter().for_each(|raw| self.apply_one(raw));
        }
        Ok(())
    }

    /// Finds a place for each of these locks.
    fn learn(&mut self, reader: &Reader, numbers: Vec<i64>) -> Result<(), HistoryError> {
        let Past { locks, by_number, by_key, hasher, .. } = self;
        by_number.reserve(numbers.len());
        let hash = |source: i64, key: &[u8]| hasher.hash_one((source, key));
        by_key.reserve(numbers.len(), |&place: &usize| hash(locks[place].source, &locks[place].key));
        reader.each_name(Table::Locks, numbers, |number, row| {
            let (source, form): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
            let key = row.bytes(3);
            let form = form.unwrap_or(0);
            let is_it = |&place: &usize| locks[place].source == source && locks[place].key == key;
            let place = match by_key.find(hash(source, key), is_it) {
                Some(&place) => place,
                None => {
                    let again = |&place: &usize| hash(locks[place].source, &locks[place].key);
                    by_key.insert_unique(hash(source, key), locks.len(), again);
                    let key = Bytes::copy_from_slice(key);
                    locks.push(LockThen { source, key, form, valid_from: i64::MIN, holds: SmallVec::new() });
                    locks.len() - 1
                }
            };
            by_number.insert(number, (place, form));
            Ok(())
        })
    }

    /// Finds out which tokens of these rows are known by another number.
    fn learn_tokens(&mut self, reader: &Reader, rows: &[Raw]) -> Result<(), HistoryError> {
        let Later { has_begun, first, same, .. } = &mut self.later;
        if !std::mem::replace(has_begun, true) {
            let holders = self.locks.iter().flat_map(|lock| &lock.holds).map(|(holder, _)| *holder).collect();
            reader.each_name(Table::Tokens, holders, |number, row| {
                first.insert(row.bytes(3).into(), number);
                Ok(())
            })?;
        }
        let tokens = rows.iter().flat_map(|raw| [raw.holder, raw.previous]).flatten();
        let unknown = tokens.filter(|number| !same.contains_key(number)).collect();
        reader.each_name(Table::Tokens, unknown, |number, row| {
            let token = row.bytes(3);
            same.insert(number, *first.entry_ref(token).or_insert(number));
            Ok(())
        })
    }

    fn apply_one(&mut self, raw: &Raw) {
        let Some(&(place, form)) = self.by_number.get(&raw.lock) else { return };
        let lock = &mut self.locks[place];
        if raw.row <= lock.valid_from {
            return;
        }
        let kind = raw.kind();
        let same = |number: i64| self.later.same.get(&number).copied().unwrap_or(number);
        let holder = same(raw.holder.unwrap_or(0));
        if kind.ends() {
            lock.holds.retain(|(known, _)| *known != holder);
            return;
        }
        let expires = raw.lease.map_or(i64::MAX, |lease| raw.at.saturating_add(lease));
        let count = raw.number.and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
        match kind {
            TransitionKind::Acquired | TransitionKind::HandedOver | TransitionKind::TakenOver => {
                if kind != TransitionKind::Acquired {
                    let previous = raw.previous.map(same);
                    lock.holds.retain(|(known, _)| Some(*known) != previous);
                }
                // As it is recognised from now on.
                lock.form = form;
                lock.holds.retain(|(known, _)| *known != holder);
                lock.holds.push((holder, taken(raw, count, expires)));
            }
            _ => {
                let Some((_, hold)) = lock.holds.iter_mut().find(|(known, _)| *known == holder) else { return };
                (hold.count, hold.expires, hold.expires_before_ms) = (count, expires, 0);
                if kind == TransitionKind::Renewed {
                    hold.was_renewed(Time(raw.at));
                }
            }
        }
    }

    /// Who held what in the end, of those sources and forms.
    pub(super) fn held(
        self,
        reader: &Reader,
        places: &HashMap<i64, SourceId>,
        forms: &HashMap<i64, FormThen>,
    ) -> Result<Vec<HeldThen>, HistoryError> {
        let mut held = Vec::with_capacity(self.locks.len());
        // By token, so that their texts are found in one pass.
        let mut waiting: Vec<(i64, usize)> = Vec::with_capacity(self.locks.len());
        for mut lock in self.locks {
            let (Some(&source), Some(form)) = (places.get(&lock.source), forms.get(&lock.form)) else { continue };
            let last = lock.holds.len().saturating_sub(1);
            for (place, (holder, hold)) in lock.holds.into_iter().enumerate() {
                waiting.push((holder, held.len()));
                let FormThen { recognition, mode, state } = *form;
                // Nearly every lock has one holder, who gets the name itself.
                let key = if place == last { std::mem::take(&mut lock.key) } else { lock.key.clone() };
                held.push(HeldThen { source, key, recognition, mode, state, hold });
            }
        }
        waiting.sort_unstable();
        let mut waiting = waiting.into_iter().peekable();
        let numbers = waiting.clone().map(|(holder, _)| holder).collect();
        reader.each_name(Table::Tokens, numbers, |number, row| {
            let token = row.bytes(3);
            while let Some((holder, place)) = waiting.next_if(|(holder, _)| *holder <= number) {
                if holder == number {
                    held[place].hold.token = token.into();
                }
            }
            Ok(())
        })?;
        Ok(held)
    }
}

/// A hold as the transition by which it began tells of it.
fn taken(raw: &Raw, count: u32, expires: i64) -> Hold {
    Hold {
        token: Box::default(),
        count,
        basis: Basis::Observed,
        since: raw.at,
        since_before_ms: u32::MAX,
        expires,
        expires_before_ms: 0,
        lease_ms: raw.lease.and_then(|lease| u32::try_from(lease).ok()).unwrap_or(0),
        renewals: 0,
        renewed_at: 0,
        period_ms: 0,
        generation: 0,
        extra: None,
    }
}
