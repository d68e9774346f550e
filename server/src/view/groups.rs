//! The locks of an answer put together: how many there are of each group, how much is waited for them, and the worst that is so
//! of one. A change costs the place of one group; how many locks there are does not matter.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lockkeeper_model::{GroupBy, LockState, NO_GROUP};
use serde::Serialize;
use utoipa::ToSchema;

use super::keys::Keys;
use crate::registry::{Record, Registry, Slot};

/// A slot that is in no group.
const NOWHERE: u32 = u32::MAX;

/// What can be so of a lock, the worst first, as the words by which it is filtered.
const CONDITIONS: [&str; 7] =
    ["no_quorum", "waiting_only", "renewal-stopped", "unknown_holder", "waiting", "no-expiry", "held"];

/// Some of the locks that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Group {
    /// Names it in `within`; `none` for what is in no other group.
    pub value: String,
    /// What to call it on a screen; null for what is in no other group.
    pub name: Option<String>,
    /// How many locks it has.
    pub locks: u64,
    /// How many are known to wait for one of them.
    pub waiters: u64,
    /// How long all who waited in the last minutes have waited together.
    pub blocked_ms: u64,
    /// The worst that is so of one of them, a word to filter by: `no_quorum`, `waiting_only`, `renewal-stopped`,
    /// `unknown_holder`, `waiting`, `no-expiry` or `held`.
    pub worst: &'static str,
    /// Of how many of them.
    pub worst_locks: u64,
}

/// Where a group stands: what costs most first, then what is waited for most, then the largest, then by name.
type Place = (Reverse<u64>, Reverse<u64>, Reverse<u64>, Arc<str>);

#[derive(Debug)]
struct Sums {
    value: Arc<str>,
    name: Option<String>,
    locks: u64,
    waiters: u64,
    blocked_s: u64,
    conditions: [u64; CONDITIONS.len()],
}

impl Sums {
    fn place(&self) -> Place {
        (Reverse(self.blocked_s), Reverse(self.waiters), Reverse(self.locks), Arc::clone(&self.value))
    }

    fn count(&mut self, keys: &Keys, by: i64) {
        let add = |to: &mut u64, n: u32| *to = to.saturating_add_signed(by * i64::from(n));
        add(&mut self.locks, 1);
        add(&mut self.waiters, keys.waiters);
        add(&mut self.blocked_s, keys.blocked_s);
        add(&mut self.conditions[condition(keys)], 1);
    }

    fn told(&self) -> Group {
        let worst = self.conditions.iter().position(|locks| *locks > 0).unwrap_or(CONDITIONS.len() - 1);
        let is_rest = *self.value == *NO_GROUP;
        Group {
            value: self.value.to_string(),
            name: (!is_rest).then(|| self.name.clone().unwrap_or_else(|| self.value.to_string())),
            locks: self.locks,
            waiters: self.waiters,
            blocked_ms: self.blocked_s * 1_000,
            worst: CONDITIONS[worst],
            worst_locks: self.conditions[worst],
        }
    }
}

/// The place of the worst that is so of a lock among [`CONDITIONS`].
fn condition(keys: &Keys) -> usize {
    match LockState::ALL.get(usize::from(keys.state)) {
        Some(LockState::NoQuorum) => 0,
        Some(LockState::WaitingOnly) => 1,
        _ if keys.quiet => 2,
        Some(LockState::UnknownHolder) => 3,
        _ if keys.waiting => 4,
        _ if keys.no_expiry => 5,
        _ => 6,
    }
}

/// The groups of one answer.
#[derive(Debug)]
pub(super) struct Groups {
    by: GroupBy,
    numbers: HashMap<Arc<str>, u32>,
    sums: slab::Slab<Sums>,
    /// The group of each slot.
    of: Vec<u32>,
    order: BTreeSet<Place>,
}

impl Groups {
    pub(super) fn new(by: GroupBy) -> Groups {
        Groups { by, numbers: HashMap::new(), sums: slab::Slab::new(), of: Vec::new(), order: BTreeSet::new() }
    }

    /// A lock comes to be an answer.
    pub(super) fn put(&mut self, registry: &Registry, record: &Record, slot: Slot, keys: &Keys) {
        let value = registry.group(record, self.by);
        let number = match self.numbers.get(&*value) {
            Some(number) => *number,
            None => {
                let value: Arc<str> = value.into();
                let sums = Sums {
                    value: Arc::clone(&value),
                    name: registry.group_name(record, self.by),
                    locks: 0,
                    waiters: 0,
                    blocked_s: 0,
                    conditions: [0; CONDITIONS.len()],
                };
                // There are not more groups than slots, which are numbered in 32 bits.
                let number = self.sums.insert(sums) as u32;
                self.numbers.insert(value, number);
                number
            }
        };
        let at = slot as usize;
        if at >= self.of.len() {
            self.of.resize(at + 1, NOWHERE);
        }
        self.of[at] = number;
        self.count(number, keys, 1);
    }

    /// A lock ceases to be an answer, or is about to be another one; these are the keys it was put in with.
    pub(super) fn take(&mut self, slot: Slot, keys: &Keys) {
        let Some(number) = self.of.get_mut(slot as usize).map(|number| std::mem::replace(number, NOWHERE)) else {
            return;
        };
        if number != NOWHERE {
            self.count(number, keys, -1);
        }
    }

    fn count(&mut self, number: u32, keys: &Keys, by: i64) {
        let Some(sums) = self.sums.get_mut(number as usize) else { return };
        self.order.remove(&sums.place());
        sums.count(keys, by);
        if sums.locks > 0 {
            self.order.insert(sums.place());
        } else {
            self.numbers.remove(&sums.value);
            self.sums.remove(number as usize);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.order.len() as u64
    }

    /// The first of them, in order.
    pub(super) fn first(&self, limit: usize) -> Vec<Group> {
        let sums = |place: &Place| self.sums.get(*self.numbers.get(&place.3)? as usize);
        self.order.iter().take(limit).filter_map(sums).map(Sums::told).collect()
    }
}
