//! How many locks there are, as far as one reach goes.

use lockkeeper_model::Time;
use lockkeeper_model::wire::{DialectCount, Facets};

use super::answer::EXAMINED_PER_STEP;
use super::bits::Bits;
use super::keys::Keys;
use crate::access::Reach;
use crate::registry::{Record, Registry, Slot};
use crate::source::SourceId;

/// The held locks of one reach, counted. Whoever sees the same shares it, so that a change costs a test for each
/// distinct reach and not for each viewer.
#[derive(Debug)]
pub(crate) struct Tally {
    reach: Reach,
    pub(crate) all: u64,
    pub(crate) facets: Facets,
    /// Locks by the place of their dialect.
    dialects: Vec<u64>,
    /// Locks by the number of their source.
    sources: Vec<u64>,
    counted: Bits,
    /// The next slot to examine; `None` once all were.
    examining: Option<usize>,
    /// When somebody last needed it.
    pub(crate) used_at: Time,
}

impl Tally {
    /// A tally that begins to count.
    pub(crate) fn new(reach: Reach, now: Time) -> Tally {
        Tally { examining: Some(0), ..Tally::from_the_start(reach, now) }
    }

    /// A tally that is there before any lock is, and so never has to catch up.
    pub(crate) fn from_the_start(reach: Reach, now: Time) -> Tally {
        Tally {
            reach,
            all: 0,
            facets: Facets::default(),
            dialects: Vec::new(),
            sources: Vec::new(),
            counted: Bits::default(),
            examining: None,
            used_at: now,
        }
    }

    /// Of which locks.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Whether some locks were not looked at yet.
    pub(crate) fn is_unexamined(&self) -> bool {
        self.examining.is_some()
    }

    /// Counts some more, if something is left.
    pub(crate) fn examine(&mut self, registry: &Registry, keys: &[Keys]) {
        let Some(from) = self.examining else { return };
        let end = registry.slots();
        let to = (from + EXAMINED_PER_STEP).min(end);
        for slot in from..to {
            // What the views have not taken note of yet is counted when they do.
            if let (Some(record), Some(keys)) = (registry.record(slot as Slot), keys.get(slot)) {
                self.add(registry, slot as Slot, record, keys);
            }
        }
        self.examining = (to < end).then_some(to);
    }

    /// Takes note of a lock that changed.
    pub(crate) fn change(&mut self, registry: &Registry, slot: Slot, record: &Record, old: &Keys, new: &Keys) {
        if self.counted.get(slot) {
            self.counted.set(slot, false);
            self.count(record.source, old, -1);
        }
        if self.examining.is_none_or(|next| (slot as usize) < next) {
            self.add(registry, slot, record, new);
        }
    }

    /// Locks by dialect, given the names by their places.
    pub(crate) fn dialects<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<DialectCount> {
        let mut held: Vec<(&str, u64)> = names.zip(self.dialects.iter().copied()).filter(|(_, n)| *n > 0).collect();
        held.sort_unstable();
        held.into_iter().map(|(name, locks)| DialectCount { name: name.to_owned(), locks }).collect()
    }

    /// Locks of one source.
    pub(crate) fn of_source(&self, source: SourceId) -> u64 {
        self.sources.get(usize::from(source.0)).copied().unwrap_or(0)
    }

    fn add(&mut self, registry: &Registry, slot: Slot, record: &Record, keys: &Keys) {
        if keys.held && self.reach.has(registry.source_name(record.source), &record.key) {
            self.counted.set(slot, true);
            self.count(record.source, keys, 1);
        }
    }

    fn count(&mut self, source: SourceId, keys: &Keys, by: i64) {
        let add = |to: &mut u64, is_so: bool| *to = to.saturating_add_signed(if is_so { by } else { 0 });
        add(&mut self.all, true);
        add(&mut self.facets.waiting, keys.waiting);
        add(&mut self.facets.no_expiry, keys.no_expiry);
        add(at(&mut self.dialects, usize::from(keys.dialect)), true);
        add(at(&mut self.sources, usize::from(source.0)), true);
    }
}

/// The number at a place, which is made if there is none.
fn at(numbers: &mut Vec<u64>, place: usize) -> &mut u64 {
    if place >= numbers.len() {
        numbers.resize(place + 1, 0);
    }
    &mut numbers[place]
}
