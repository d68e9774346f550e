//! The locks that are an answer to one question, in its order, kept up to date change by change.

use std::collections::HashSet;

use lockkeeper_model::Time;

use super::Asked;
use super::bits::Bits;
use super::due::Due;
use super::filter::Filter;
use super::groups::Groups;
use super::keys::{Keys, compare, sort_all};
use super::ordered::Ordered;
use super::shown::Shown;
use crate::registry::{Record, Registry, Slot};

/// Locks that are examined in one step of a first answer: a few milliseconds even if each of them is one, so that everybody else's
/// frames go on. Whoever types waits for the step that is under way and for one of their own before they see anything.
pub(super) const EXAMINED_PER_STEP: usize = 5_000;

/// Locks that are looked at again in one step, each second, because time has passed: ten milliseconds or so.
const AGED_PER_STEP: usize = 20_000;

/// Up to this many new answers are put in their places one by one; more are sorted and merged in one pass.
const ONE_BY_ONE: usize = 4_096;

/// While very many new answers arrive (a first scan), they are merged this often, in milliseconds: a pass over a
/// million locks takes a tenth of that.
const MERGE_EVERY_MS: i64 = 1_000;

/// The answer to one question.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) asked: Asked,
    filter: Filter,
    ordered: Ordered,
    /// Answers that have no place in `ordered` yet.
    incoming: HashSet<Slot>,
    members: Bits,
    /// How many of them each further filter would leave.
    pub(super) shown: Shown,
    /// The same put together, where that was asked for.
    pub(super) groups: Option<Groups>,
    /// Those that may become answers, or cease to be, as time passes.
    due: Due,
    /// The next slot to examine; `None` once all were.
    examining: Option<usize>,
    /// Those of the slots to examine that may have an answer, where that is known: whoever types narrows an answer that is there.
    candidates: Option<Bits>,
    merged_at: Time,
    /// Grows with every change of an answer's order or content.
    pub(crate) epoch: u64,
    /// When it was last asked.
    pub(crate) used_at: Time,
    /// Windows that are open on it.
    pub(crate) watched: usize,
    /// It was asked for since it was last examined.
    pub(super) wanted: bool,
}

impl Answer {
    pub(crate) fn new(asked: Asked, now: Time) -> Answer {
        Answer {
            filter: Filter::new(&asked),
            groups: asked.question.group.filter(|_| asked.question.within.is_none()).map(Groups::new),
            asked,
            ordered: Ordered::default(),
            incoming: HashSet::new(),
            members: Bits::default(),
            shown: Shown::default(),
            due: Due::default(),
            examining: Some(0),
            candidates: None,
            merged_at: Time(0),
            epoch: 0,
            used_at: now,
            watched: 0,
            wanted: true,
        }
    }

    /// Looks only at those that may be an answer, if one of these says which.
    pub(super) fn narrow<'a>(&mut self, others: impl Iterator<Item = &'a Answer>, slots: usize) {
        let left = |other: &Answer| other.total() + other.examining.map_or(0, |next| slots.saturating_sub(next) as u64);
        let wider = others.filter(|other| self.filter.is_within(&other.filter)).min_by_key(|other| left(other));
        self.candidates = wider.map(|wider| {
            let mut candidates = wider.members.clone();
            if let Some(next) = wider.examining {
                candidates.set_all(next..slots);
            }
            candidates
        });
    }

    /// Locks that are an answer, as far as examined.
    pub(crate) fn total(&self) -> u64 {
        (self.ordered.len() + self.incoming.len()) as u64
    }

    /// How many slots were examined; `None` once all were.
    pub(crate) fn examined(&self) -> Option<u64> {
        self.examining.map(|next| next as u64)
    }

    /// Whether something is left to examine, and somebody waits for it. Whoever types asks a question with each letter, and only
    /// the last of them is to be answered.
    pub(crate) fn is_awaited(&self) -> bool {
        self.examining.is_some() && (self.watched > 0 || self.wanted)
    }

    /// Examines some more, if something is left.
    pub(crate) fn examine(&mut self, registry: &Registry, keys: &[Keys], now: Time, scratch: &mut Vec<u8>) {
        let Some(from) = self.examining else { return };
        self.wanted = false;
        let end = registry.slots();
        let mut next = from;
        for _ in 0..EXAMINED_PER_STEP {
            let slot = match &self.candidates {
                Some(candidates) => candidates.next_from(next).unwrap_or(end),
                None => next,
            };
            next = slot + 1;
            if slot >= end {
                break;
            }
            let slot = slot as Slot;
            // What the views have not taken note of yet comes when they do.
            if let (Some(record), Some(keys)) = (registry.record(slot), keys.get(slot as usize)) {
                self.consider(registry, record, slot, keys, now, scratch);
            }
        }
        self.epoch += 1;
        self.examining = (next < end).then_some(next);
        if self.examining.is_none() {
            self.candidates = None;
        }
    }

    /// A lock is about to change: takes it out if its place may be another afterwards. `keys` are still the old ones.
    pub(crate) fn before_change(&mut self, registry: &Registry, keys: &[Keys], slot: Slot, new: &Keys) {
        if !self.members.get(slot) {
            return;
        }
        let (Some(record), Some(old)) = (registry.record(slot), keys.get(slot as usize)) else { return };
        self.uncount(record, slot, old);
        let (sort, order) = (self.asked.question.sort, self.asked.question.order());
        let stays = old.rank(sort, order) == new.rank(sort, order);
        if new.held && stays && self.asked.question.is_unfiltered() {
            return;
        }
        self.take_out(registry, keys, slot);
    }

    /// Takes an answer out of its place, where it is by these keys.
    fn take_out(&mut self, registry: &Registry, keys: &[Keys], slot: Slot) {
        let (sort, order) = (self.asked.question.sort, self.asked.question.order());
        self.members.set(slot, false);
        if !self.incoming.remove(&slot) {
            self.ordered.remove(slot, |a, b| compare(registry, keys, sort, order, a, b));
        }
        self.epoch += 1;
    }

    /// A lock has changed, and so have its keys: puts it in if it is an answer.
    pub(crate) fn after_change(
        &mut self,
        registry: &Registry,
        slot: Slot,
        new: &Keys,
        now: Time,
        scratch: &mut Vec<u8>,
    ) {
        if self.examining.is_some_and(|next| slot as usize >= next) {
            // It may be one now.
            if let Some(candidates) = &mut self.candidates {
                candidates.set(slot, true);
            }
            return;
        }
        let Some(record) = registry.record(slot) else { return };
        if self.members.get(slot) {
            self.count(registry, record, slot, new);
            self.epoch += 1;
            return;
        }
        self.consider(registry, record, slot, new, now, scratch);
    }

    /// Puts a lock in if it is an answer, and takes note of when that has to be asked again.
    fn consider(
        &mut self,
        registry: &Registry,
        record: &Record,
        slot: Slot,
        keys: &Keys,
        now: Time,
        scratch: &mut Vec<u8>,
    ) {
        if record.is_ended() || !self.filter.could_match(registry, record, scratch) {
            return;
        }
        self.schedule(record, slot, now);
        if self.filter.is_time(record, now) {
            self.members.set(slot, true);
            self.incoming.insert(slot);
            self.count(registry, record, slot, keys);
            self.epoch += 1;
        }
    }

    /// Adds an answer to the numbers that are told beside the window.
    fn count(&mut self, registry: &Registry, record: &Record, slot: Slot, keys: &Keys) {
        self.shown.count(record.source, keys, 1);
        if let Some(groups) = &mut self.groups {
            groups.put(registry, record, slot, keys);
        }
    }

    /// Takes it out of them again; `keys` are those that it was counted with.
    fn uncount(&mut self, record: &Record, slot: Slot, keys: &Keys) {
        self.shown.count(record.source, keys, -1);
        if let Some(groups) = &mut self.groups {
            groups.take(slot, keys);
        }
    }

    fn schedule(&mut self, record: &Record, slot: Slot, now: Time) {
        if let Some(at) = self.filter.turns_at(record, now) {
            self.due.put(slot, at);
        }
    }

    /// Lets locks in and out whose time has come, a bounded number at once. Says whether any came or went.
    pub(crate) fn grow_older(&mut self, registry: &Registry, keys: &[Keys], now: Time, scratch: &mut Vec<u8>) -> bool {
        if !self.filter.is_timed() {
            return false;
        }
        let epoch = self.epoch;
        for _ in 0..AGED_PER_STEP {
            let Some(slot) = self.due.pop(now) else { break };
            let (Some(record), Some(keys_of)) = (registry.record(slot), keys.get(slot as usize)) else { continue };
            if !self.members.get(slot) {
                self.consider(registry, record, slot, keys_of, now, scratch);
                continue;
            }
            self.schedule(record, slot, now);
            if !self.filter.is_time(record, now) {
                self.uncount(record, slot, keys_of);
                self.take_out(registry, keys, slot);
            }
        }
        self.epoch != epoch
    }

    /// Gives new answers their places, all of them if `at_once`, else unless there are very many and it was done just
    /// now.
    pub(crate) fn settle(&mut self, registry: &Registry, keys: &[Keys], now: Time, at_once: bool) {
        if self.incoming.is_empty() {
            return;
        }
        let (sort, order) = (self.asked.question.sort, self.asked.question.order());
        let cmp = |a, b| compare(registry, keys, sort, order, a, b);
        if self.incoming.len() <= ONE_BY_ONE {
            for slot in self.incoming.drain() {
                self.ordered.insert(slot, cmp);
            }
            return;
        }
        if !at_once && now.since(self.merged_at) < MERGE_EVERY_MS {
            return;
        }
        self.merged_at = now;
        let slots: Vec<Slot> = self.incoming.drain().collect();
        self.incoming.shrink_to_fit();
        self.ordered.merge(sort_all(registry, keys, sort, order, slots), cmp);
        // Windows that were told before are other ones now.
        self.epoch += 1;
    }

    /// Whether [`Answer::settle`] left something for later.
    pub(crate) fn unsettled(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// How many answers are before this one; `None` if it is none, or has no place yet.
    pub(crate) fn place_of(&self, registry: &Registry, keys: &[Keys], slot: Slot) -> Option<u64> {
        if !self.members.get(slot) || self.incoming.contains(&slot) {
            return None;
        }
        let (sort, order) = (self.asked.question.sort, self.asked.question.order());
        self.ordered.place_of(slot, |a, b| compare(registry, keys, sort, order, a, b)).map(|place| place as u64)
    }

    /// A window of the answers that have their place.
    pub(crate) fn window(&self, offset: u64, limit: u32) -> impl Iterator<Item = Slot> + '_ {
        self.ordered.window(usize::try_from(offset).unwrap_or(usize::MAX), limit as usize)
    }
}
