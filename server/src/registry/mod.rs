//! What is known of every lock: a pure, synchronous fold from sights to transitions.
//!
//! No IO and no clock: time arrives in what is applied. The board's task is the only one that calls it.
//!
//! - [`record`]: what is kept of one lock, small enough for a million of them.
//! - [`fold`]: the rules, one sight against what was known; [`hold`]: those for one holder, [`gone`]: for what ended.
//! - [`history`]: the bounded ring of transitions per lock, and the log of recent ones of all. [`past`]: the board as it
//!   was at some moment.
//! - [`contention`]: who waits and how long, by the minute. [`waits`]: what of it is written down. [`clients`]: whose connections are open.
//! - [`reported`]: what clients say of themselves. [`sampled`]: what traces showed. [`graph`]: who waits for whom.
//! - [`flags`]: what is dangerous, and what to do about it. [`others`]: what else a holder has. [`holders`]: who has how
//!   much. [`minutes`]: where time is lost to waiting.
//! - [`trouble`]: since when something is so that somebody should be told of.
//! - [`show`]: a record in the words of the contract and of the app. [`story`]: what happened to it.

mod clients;
mod contention;
mod flags;
mod fold;
mod forced;
mod gone;
pub mod graph;
mod group;
mod history;
mod hold;
pub mod holders;
pub mod minutes;
mod others;
pub mod past;
mod record;
mod reported;
mod sampled;
mod show;
mod story;
#[cfg(test)]
pub(crate) mod tests;
mod trouble;
pub mod waits;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};
use lockkeeper_model::{Connection, Identity, Time};
use slab::Slab;

pub(crate) use contention::weaker;
use forced::Forced;
pub use history::{Cause, Entry, LOG_EVENTS, LoggedEvent, Stood};
pub use others::Whose;
use record::{Failover, Releasing, UNCOUNTED};
pub use record::{Hold, Record, Slot};
pub use show::name_of;
pub(crate) use story::{RELEASE_LOST_CAUSE, event};
pub use trouble::Unserved;

use crate::source::{Among, DialectTraits, Report, SourceId, WaitersSeen};

/// Ended locks whose history is kept. A person looks back at minutes, not at weeks; this is some megabytes.
const MAX_ENDED: usize = 20_000;

/// For how long an ended lock's history is kept at most, in milliseconds.
const KEEP_ENDED_MS: i64 = 15 * 60_000;

/// Gaps per source that are remembered, to be drawn into timelines.
const MAX_GAPS: usize = 64;

/// A lapsed lease is looked at this long after its deadline, so that rounding to milliseconds on both sides does not
/// make the first look come too early.
const LOOK_AFTER_DEADLINE_MS: i64 = 2;

/// Deadlines of locks that are gone, beyond as many as there are locks.
const SPARE_DEADLINES: usize = 1_024;

/// Locks whose contention is kept, per source: some twenty-five megabytes. More locks than this are not contended at once.
const MAX_CONTENDED: usize = 100_000;

/// How often what went on too long ago is left out, in milliseconds.
const ROLL_EVERY_MS: i64 = 10_000;

/// What one application of a report changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Locks whose shown state changed. May name one twice.
    pub dirty: Vec<Slot>,
    /// What happened, in order.
    pub events: Vec<LoggedEvent>,
    /// Keys to read again, because something is in doubt.
    pub look: Vec<(SourceId, Bytes)>,
    /// Locks with one token that is used once: they are one lock.
    pub together: Vec<(SourceId, Vec<Bytes>)>,
    /// What is shown of many locks may be another now, although none changed.
    pub repaint: bool,
    /// What is to be written down of those who waited.
    pub waits: Vec<waits::Waits>,
}

impl Changes {
    /// Forgets all, keeping the memory.
    pub fn clear(&mut self) {
        self.dirty.clear();
        self.events.clear();
        self.look.clear();
        self.together.clear();
        self.repaint = false;
        self.waits.clear();
    }
}

/// What the registry knows of a source as a whole.
#[derive(Debug)]
struct Known {
    name: String,
    /// Everything was seen since the last gap.
    complete: bool,
    /// A lock that a scan meets for the first time was absent at the beginning of this earlier scan.
    previous_scan_began: Option<Time>,
    scan_began: Option<Time>,
    /// Every change before this has been applied.
    confirmed_at: Option<Time>,
    gaps: VecDeque<(Time, String)>,
    /// Those with somebody waiting, when the source last counted; `None` before it ever did.
    waiting: Option<Vec<Slot>>,
    /// Taken since the source last counted those who wait.
    uncounted: Vec<Slot>,
    /// With something to say of the last minutes, and when what is too long ago was last left out.
    contended: Vec<Slot>,
    rolled_at: i64,
    following: waits::Following,
    clients: clients::Clients,
    reported: reported::Reported,
    samples: sampled::Samples,
    locks: u64,
}

/// Where a token stands.
#[derive(Clone, Copy, Debug)]
struct Stand {
    /// One of the locks; [`Slot::MAX`] when that is not known any more.
    one: Slot,
    locks: u32,
}

/// Every lock of every source.
#[derive(Debug)]
pub struct Registry {
    sources: Vec<Known>,
    records: Slab<Record>,
    by_key: HashTable<Slot>,
    /// In how many locks a token stands, by its hash with its source; only tokens that can stand in several.
    tokens: HashMap<u64, Stand, DefaultHashBuilder>,
    hasher: DefaultHashBuilder,
    /// Moments at which a lock must be looked at again. At most one live entry per lock: see `Record::wake_at`.
    deadlines: BinaryHeap<Reverse<(i64, Slot)>>,
    /// When the last of the queues that are to be looked at again has its turn, in milliseconds.
    queue_turn: i64,
    ended: VecDeque<(i64, Slot, u32)>,
    history_entries: usize,
    history_hand: usize,
    next_seq: u64,
    next_generation: u64,
    next_born: u32,
    /// Makes generations of one run unlike those of another.
    salt: u64,
}

impl Registry {
    /// An empty registry for these sources. `salt` should differ from run to run.
    #[must_use]
    pub fn new(sources: impl IntoIterator<Item = String>, salt: u64) -> Registry {
        Registry {
            sources: sources
                .into_iter()
                .map(|name| Known {
                    name,
                    complete: false,
                    previous_scan_began: None,
                    scan_began: None,
                    confirmed_at: None,
                    gaps: VecDeque::new(),
                    waiting: None,
                    uncounted: Vec::new(),
                    contended: Vec::new(),
                    rolled_at: 0,
                    following: waits::Following::default(),
                    clients: clients::Clients::default(),
                    reported: reported::Reported::default(),
                    samples: sampled::Samples::default(),
                    locks: 0,
                })
                .collect(),
            records: Slab::new(),
            by_key: HashTable::new(),
            tokens: HashMap::default(),
            hasher: DefaultHashBuilder::default(),
            deadlines: BinaryHeap::new(),
            queue_turn: 0,
            ended: VecDeque::new(),
            history_entries: 0,
            history_hand: 0,
            next_seq: 1,
            next_generation: 1,
            next_born: 0,
            salt,
        }
    }

    /// Folds one report in.
    pub fn apply(&mut self, source: SourceId, report: Report, out: &mut Changes) {
        match report {
            Report::Sights { sights, scan } => {
                for sight in sights {
                    self.apply_sight(source, sight, scan, out);
                }
            }
            Report::ScanBegan { at } => self.known_mut(source).scan_began = Some(at),
            Report::ScanEnded { began_at } => self.scan_ended(source, began_at, out),
            Report::Gap { at, because } => self.gap(source, at, because, out),
            Report::Waiting { counts, at } => self.waiting(source, &counts, at, out),
            Report::WaitingUnknown => self.waiting_unknown(source, out),
            Report::Said { said, at } => self.said(source, said, at, out),
            Report::SaidUnknown => self.said_unknown(source, out),
            Report::Traced(report) => self.traced(source, &report, out),
            Report::Confirmed { at } => {
                self.known_mut(source).confirmed_at = Some(at);
                self.follow(source, at, out);
                self.roll(source, at, out);
            }
            Report::Clients { clients, at } => out.repaint |= self.known_mut(source).clients.saw(clients, at),
            Report::Withdrawn { at, among } => self.withdraw_all(source, at, &among, out),
            Report::FailedOver { at, copied, among } => self.failed_over(source, Failover { at, copied }, &among, out),
        }
    }

    /// Announces a release, the attempt `audit` of the audit: until [`Registry::released`], an end of this hold is not
    /// concluded.
    pub fn releasing(&mut self, source: SourceId, key: &[u8], token: &[u8], audit: u64, now: Time) {
        if let Some(slot) = self.find(source, key) {
            let releasing = Releasing { token: token.into(), at: now.0, freed: false, audit, failover: None };
            self.records[slot as usize].rare.get_or_insert_default().releasing = Some(releasing);
        }
    }

    /// Says whether that release freed the hold, and has the lock read again.
    pub fn released(&mut self, source: SourceId, key: &[u8], freed: bool, now: Time, out: &mut Changes) {
        let Some(slot) = self.find(source, key) else { return };
        let Record { rare, holds, .. } = &mut self.records[slot as usize];
        if let Some(rare) = rare {
            match &mut rare.releasing {
                Some(releasing) if freed => {
                    releasing.freed = true;
                    releasing.at = now.0;
                    let hold = holds.iter().find(|hold| hold.token == releasing.token).cloned();
                    let (audit, failover) = (releasing.audit, releasing.failover.take());
                    rare.forced = Some(Forced { audit, at: now.0, hold, failover });
                }
                releasing => *releasing = None,
            }
            out.look.push((source, Bytes::copy_from_slice(key)));
        }
    }

    /// A lock that was released from here is about to be given back to this holder: that it has it again will not mean
    /// that its client took it again. `None`: it was not given back after all.
    pub fn putting_back(&mut self, source: SourceId, key: &[u8], token: Option<&[u8]>) {
        if let Some(slot) = self.find(source, key) {
            let rare = self.records[slot as usize].rare.get_or_insert_default();
            rare.putting_back = token.map(Into::into);
        }
    }

    /// The fencing counter of the hold with this token was raised to this value: its holder's own number is lower.
    pub fn raised(&mut self, source: SourceId, key: &[u8], token: &[u8], value: &str, out: &mut Changes) {
        let Some(slot) = self.find(source, key) else { return };
        let record = &mut self.records[slot as usize];
        if let Some(hold) = record.holds.iter().find(|hold| *hold.token == *token) {
            let raised = (hold.generation, value.into());
            record.rare.get_or_insert_default().raised = Some(raised);
            // The counter is another key, which may not be watched.
            out.look.push((source, Bytes::copy_from_slice(key)));
            out.dirty.push(slot);
        }
    }

    /// The connection of one who held a lock since this moment, where its token or its identity is the name of one.
    #[must_use]
    pub fn connection_of(
        &self,
        source: SourceId,
        token: &[u8],
        identity: &Identity,
        held_since: Time,
    ) -> Option<Connection> {
        let (connection, _) = self.known(source).clients.of(token, identity, held_since.0)?;
        Some(connection)
    }

    /// Locks whose lease is over at `now` and must be looked at; and forgets what ended long ago.
    pub fn tick(&mut self, now: Time, out: &mut Changes) {
        while let Some(&Reverse((due, slot))) = self.deadlines.peek() {
            if due > now.0 {
                break;
            }
            self.deadlines.pop();
            let Some(record) = self.records.get_mut(slot as usize) else { continue };
            if record.wake_at != due {
                continue;
            }
            record.wake_at = i64::MAX;
            let (mut next, mut queue_read_at) = (i64::MAX, None);
            let over = |at: i64| at.saturating_add(LOOK_AFTER_DEADLINE_MS) <= now.0;
            if record.queue().is_some() {
                let again = record.as_of + fold::QUEUE_AGAIN_MS;
                if over(again) {
                    out.look.push((record.source, Bytes::copy_from_slice(&record.key)));
                } else {
                    queue_read_at = Some(record.as_of);
                }
            }
            match record.sampled_until() {
                Some(until) if over(until) => {
                    record.forget_sample();
                    out.dirty.push(slot);
                }
                Some(until) => next = next.min(until),
                None => {}
            }
            match record.first_deadline() {
                Some(deadline) if over(deadline) => {
                    record.lease_over = true;
                    out.look.push((record.source, Bytes::copy_from_slice(&record.key)));
                    // The row now says "over, not confirmed".
                    out.dirty.push(slot);
                }
                Some(deadline) => next = next.min(deadline),
                None => {}
            }
            match record.beat_due() {
                Some(due) if !record.quiet && over(due) => {
                    record.quiet = true;
                    out.dirty.push(slot);
                }
                Some(due) if !record.quiet => next = next.min(due),
                _ => {}
            }
            if next != i64::MAX {
                self.wake(slot, next);
            }
            if let Some(read_at) = queue_read_at {
                self.wake_for_queue(slot, read_at);
            }
        }
    }

    /// When [`Registry::tick`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadlines.peek().map(|&Reverse((due, _))| Time(due))
    }

    /// Forgets locks that ended long ago, or too many of them. To be called when the views have taken note of all that
    /// changed: a slot may be given to another lock afterwards.
    pub fn forget_ended(&mut self, now: Time) {
        while let Some(&(at, slot, times)) = self.ended.front() {
            if self.ended.len() <= MAX_ENDED && now.0 - at < KEEP_ENDED_MS {
                break;
            }
            self.ended.pop_front();
            let still_ended =
                self.records.get(slot as usize).is_some_and(|record| record.is_ended() && record.times_ended == times);
            if still_ended {
                self.remove(slot);
            }
        }
        self.bound_history();
        self.bound_deadlines();
    }

    /// Entries of locks that are gone stay until their time; when they are the most, the queue is made anew.
    fn bound_deadlines(&mut self) {
        if self.deadlines.len() > 2 * self.records.len() + SPARE_DEADLINES {
            self.deadlines = self
                .records
                .iter()
                .filter(|(_, record)| record.wake_at != i64::MAX)
                .map(|(slot, record)| Reverse((record.wake_at, slot as Slot)))
                .collect();
        }
    }

    /// The record in a slot that is in use.
    #[must_use]
    pub fn record(&self, slot: Slot) -> Option<&Record> {
        self.records.get(slot as usize)
    }

    /// One past the largest slot that was ever used.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.records.capacity().min(self.records.iter().next_back().map_or(0, |(slot, _)| slot + 1))
    }

    /// The slot of a key, held or ended.
    #[must_use]
    pub fn find(&self, source: SourceId, key: &[u8]) -> Option<Slot> {
        let hash = self.hash(source, key);
        self.by_key
            .find(hash, |&slot| {
                self.records.get(slot as usize).is_some_and(|record| record.source == source && *record.key == *key)
            })
            .copied()
    }

    /// A source's name.
    #[must_use]
    pub fn source_name(&self, source: SourceId) -> &str {
        self.sources.get(usize::from(source.0)).map_or("", |known| &known.name)
    }

    /// The sources' names, in their order.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|known| &*known.name)
    }

    /// Held locks of a source.
    #[must_use]
    pub fn locks_of(&self, source: SourceId) -> u64 {
        self.sources.get(usize::from(source.0)).map_or(0, |known| known.locks)
    }

    fn hash(&self, source: SourceId, key: &[u8]) -> u64 {
        self.hasher.hash_one((source.0, key))
    }

    fn known(&self, source: SourceId) -> &Known {
        &self.sources[usize::from(source.0)]
    }

    fn known_mut(&mut self, source: SourceId) -> &mut Known {
        &mut self.sources[usize::from(source.0)]
    }

    /// Makes room for so many more locks.
    fn reserve(&mut self, more: usize) {
        self.records.reserve(more);
        let (records, hasher) = (&self.records, &self.hasher);
        self.by_key.reserve(more, |&slot| {
            records.get(slot as usize).map_or(0, |record| hasher.hash_one((record.source.0, &*record.key)))
        });
    }

    fn insert(&mut self, mut record: Record) -> Slot {
        record.born = self.next_born;
        self.next_born = self.next_born.wrapping_add(1);
        let hash = self.hash(record.source, &record.key);
        let slot = Slot::try_from(self.records.insert(record)).unwrap_or(Slot::MAX);
        let (records, hasher) = (&self.records, &self.hasher);
        self.by_key.insert_unique(hash, slot, |&slot| {
            records.get(slot as usize).map_or(0, |record| hasher.hash_one((record.source.0, &*record.key)))
        });
        slot
    }

    fn token_hash(&self, source: SourceId, token: &[u8]) -> u64 {
        self.hasher.hash_one((source.0, token))
    }

    /// Whether a token stands in several locks of a source.
    fn stands_elsewhere(&self, source: SourceId, token: &[u8]) -> bool {
        self.tokens.get(&self.token_hash(source, token)).is_some_and(|stand| stand.locks > 1)
    }

    /// Takes note of a lock's token; says when another lock has the same where a token is used once.
    fn token_came(&mut self, slot: Slot, token: &[u8], out: &mut Changes) {
        let record = &self.records[slot as usize];
        let (source, traits) = (record.source, record.recognition.traits);
        if traits.token_is_one_use && !traits.may_span_keys {
            return;
        }
        let hash = self.token_hash(source, token);
        let Some(stand) = self.tokens.get_mut(&hash) else {
            self.tokens.insert(hash, Stand { one: slot, locks: 1 });
            return;
        };
        stand.locks = stand.locks.saturating_add(1);
        let twin = std::mem::replace(&mut stand.one, slot);
        let Some(other) = self.records.get(twin as usize).filter(|_| twin != slot) else { return };
        if other.source == source && other.holds.iter().any(|hold| *hold.token == *token) {
            out.dirty.push(twin);
            if traits.may_span_keys {
                let keys = [twin, slot].map(|slot| Bytes::copy_from_slice(&self.records[slot as usize].key));
                out.together.push((source, keys.into()));
            }
        }
    }

    /// A token is not in this lock any more, where it stood in a lock of these traits.
    fn token_left(&mut self, slot: Slot, token: &[u8], traits: &'static DialectTraits) {
        if traits.token_is_one_use && !traits.may_span_keys {
            return;
        }
        let source = self.records[slot as usize].source;
        let hash = self.token_hash(source, token);
        if let Some(stand) = self.tokens.get_mut(&hash) {
            stand.locks -= 1;
            if stand.locks == 0 {
                self.tokens.remove(&hash);
            } else if stand.one == slot {
                stand.one = Slot::MAX;
            }
        }
    }

    fn remove(&mut self, slot: Slot) {
        let Some(record) = self.records.try_remove(slot as usize) else { return };
        self.history_entries -= record.history().map_or(0, |ring| ring.len());
        let hash = self.hash(record.source, &record.key);
        if let Ok(entry) = self.by_key.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
    }

    /// Has the slot looked at once `deadline` has passed. Keeps one entry per lock: a later deadline waits for the
    /// earlier entry to come up, so renewals cost nothing here.
    fn wake(&mut self, slot: Slot, deadline: i64) {
        let due = deadline.saturating_add(LOOK_AFTER_DEADLINE_MS);
        let record = &mut self.records[slot as usize];
        if due < record.wake_at {
            record.wake_at = due;
            self.deadlines.push(Reverse((due, slot)));
        }
    }

    /// Has the slot's queue looked at again, some time after it was read at `read_at`.
    fn wake_for_queue(&mut self, slot: Slot, read_at: i64) {
        let soonest = read_at.saturating_add(fold::QUEUE_AGAIN_MS);
        let turn = self.queue_turn.saturating_add(fold::QUEUE_APART_MS);
        let due = turn.max(soonest).min(read_at.saturating_add(fold::QUEUE_LATEST_MS));
        if due.saturating_add(LOOK_AFTER_DEADLINE_MS) < self.records[slot as usize].wake_at {
            self.queue_turn = due;
            self.wake(slot, due);
        }
    }

    fn scan_ended(&mut self, source: SourceId, began_at: Time, out: &mut Changes) {
        let after_gap = !self.known(source).complete;
        for (slot, record) in &mut self.records {
            if record.source == source && !record.is_ended() && record.as_of < began_at.0 {
                record.unwatched = after_gap;
                out.look.push((source, Bytes::copy_from_slice(&record.key)));
                out.dirty.push(slot as Slot);
            }
        }
        let known = self.known_mut(source);
        // What was missed while it ran may be behind it: then the next scan decides.
        known.complete = known.gaps.back().is_none_or(|(gap, _)| *gap < began_at);
        known.scan_began = None;
        known.previous_scan_began = Some(began_at);
    }

    fn gap(&mut self, source: SourceId, at: Time, because: String, out: &mut Changes) {
        let known = self.known_mut(source);
        known.complete = false;
        known.confirmed_at = None;
        known.following.interrupt();
        known.previous_scan_began = None;
        if known.gaps.len() == MAX_GAPS {
            known.gaps.pop_front();
        }
        known.gaps.push_back((at, because.clone()));
        let seq = self.next_seq();
        out.events.push(LoggedEvent::gap(seq, at, source, because));
    }

    fn waiting(&mut self, source: SourceId, counts: &[(Bytes, WaitersSeen)], at: Time, out: &mut Changes) {
        let before = self.known_mut(source).waiting.take();
        let first_time = before.is_none();
        self.known_mut(source).following.counted(at.0);
        // Whoever listens at both counts has waited between them, whoever had the lock meanwhile.
        let waited = |slot: Slot| before.as_ref().is_some_and(|slots| slots.binary_search(&slot).is_ok());
        let mut now_waiting = Vec::with_capacity(counts.len());
        for (key, seen) in counts {
            let Some(slot) = self.find(source, key) else { continue };
            let record = &mut self.records[slot as usize];
            if record.is_ended() || seen.count == 0 {
                continue;
            }
            now_waiting.push(slot);
            let counted_before = record.followed() > 0 || waited(slot);
            if record.waiters != seen.count {
                if record.followed() == 0 {
                    record.waiting_since = at.0;
                }
                record.waiters = seen.count;
                out.dirty.push(slot);
            }
            self.count_waiting(slot, counted_before, at.0, out);
        }
        now_waiting.sort_unstable();
        for slot in before.unwrap_or_default() {
            if now_waiting.binary_search(&slot).is_err()
                && let Some(record) = self.records.get_mut(slot as usize)
                && record.source == source
                && record.counted() != 0
                && record.queue().is_none()
            {
                self.count_waiting(slot, true, at.0, out);
                let record = &mut self.records[slot as usize];
                record.waiters = 0;
                record.starves &= record.waiting() > 0;
                out.dirty.push(slot);
            }
        }
        self.known_mut(source).waiting = Some(now_waiting);
        for slot in std::mem::take(&mut self.known_mut(source).uncounted) {
            if let Some(record) = self.records.get_mut(slot as usize)
                && record.waiters == UNCOUNTED
            {
                record.waiters = 0;
                out.dirty.push(slot);
            }
        }
        if first_time {
            for (_, record) in &mut self.records {
                if record.source == source && record.waiters == UNCOUNTED {
                    record.waiters = 0;
                }
            }
            self.waiting_knowledge_changed(source, out);
        }
    }

    fn waiting_unknown(&mut self, source: SourceId, out: &mut Changes) {
        if let Some(before) = self.known_mut(source).waiting.take() {
            for slot in before {
                if let Some(record) = self.records.get_mut(slot as usize) {
                    record.waiters = UNCOUNTED;
                }
            }
            self.known_mut(source).uncounted.clear();
            self.waiting_knowledge_changed(source, out);
        }
    }

    /// "Unknown" became "nobody", or the other way round, for every lock of a family whose waiters are counted.
    fn waiting_knowledge_changed(&mut self, source: SourceId, out: &mut Changes) {
        let affected = self.records.iter().filter(|(_, record)| {
            record.source == source && !record.is_ended() && record.recognition.traits.waiters_counted
        });
        out.dirty.extend(affected.map(|(slot, _)| slot as Slot));
    }

    /// Those who wait for a lock were counted: adds up how long they have waited together. `before`: some had waited at
    /// the count before.
    fn count_waiting(&mut self, slot: Slot, before: bool, at: i64, out: &mut Changes) {
        let record = &mut self.records[slot as usize];
        let (waiting, basis) = (record.followed(), record.followed_basis());
        let starves = flags::starves(record, at);
        if starves != record.starves {
            record.starves = starves;
            out.dirty.push(slot);
        }
        let Some(contention) = self.contention_mut(slot) else { return };
        let blocked = contention.blocked_ms();
        if before {
            contention.waited(waiting, basis, at);
        } else {
            contention.begin(waiting, basis, at);
        }
        // A person sees seconds.
        if contention.blocked_ms() / 1_000 != blocked / 1_000 {
            out.dirty.push(slot);
        }
    }

    /// What goes on around a lock, kept from now on; `None` where it goes on around too many.
    fn contention_mut(&mut self, slot: Slot) -> Option<&mut contention::Contention> {
        let record = &mut self.records[slot as usize];
        let rare = record.rare.get_or_insert_default();
        if rare.contention.is_none() {
            let contended = &mut self.sources[usize::from(record.source.0)].contended;
            if contended.len() >= MAX_CONTENDED {
                self.sources[usize::from(record.source.0)].following.leaves_out();
                return None;
            }
            contended.push(slot);
        }
        Some(rare.contention.get_or_insert_default())
    }

    /// Now and then, leaves out what went on too long ago.
    fn roll(&mut self, source: SourceId, now: Time, out: &mut Changes) {
        let known = &mut self.sources[usize::from(source.0)];
        if now.0 - known.rolled_at < ROLL_EVERY_MS {
            return;
        }
        known.rolled_at = now.0;
        let mut reported = std::mem::take(&mut known.reported);
        reported.forget_holders(now.0, |key, token| {
            let record = self.find(source, key).and_then(|slot| self.record(slot));
            record.is_some_and(|record| record.holds.iter().any(|hold| *hold.token == *token))
        });
        let known = &mut self.sources[usize::from(source.0)];
        known.reported = reported;
        let mut samples = std::mem::take(&mut known.samples);
        samples.forget(now.0, |slot, generation| {
            let record = self.records.get(slot as usize);
            record.is_some_and(|record| record.holds.iter().any(|hold| hold.generation == generation))
        });
        let known = &mut self.sources[usize::from(source.0)];
        known.samples = samples;
        let records = &mut self.records;
        known.contended.retain(|&slot| {
            let rare = records.get_mut(slot as usize).filter(|record| record.source == source);
            let Some(rare) = rare.and_then(|record| record.rare.as_mut()) else { return false };
            let Some(contention) = &mut rare.contention else { return false };
            let blocked = contention.blocked_ms();
            let keep = contention.forget(now.0);
            if contention.blocked_ms() != blocked {
                out.dirty.push(slot);
            }
            if !keep {
                rare.contention = None;
            }
            keep
        });
    }

    /// Marks the locks that the new server may not know as they were; those that ended, too, because one whose end was
    /// not copied is there again.
    fn failed_over(&mut self, source: SourceId, failover: Failover, among: &Among, out: &mut Changes) {
        let since = failover.unsure_since();
        let failover = Arc::new(failover);
        for (slot, record) in &mut self.records {
            if record.source != source || !among.has(&record.key) {
                continue;
            }
            let is_touched = record.touched() >= since;
            let rare = if is_touched { Some(record.rare.get_or_insert_default()) } else { record.rare.as_mut() };
            let Some(rare) = rare else { continue };
            let mut is_released = false;
            if let Some(releasing) = &mut rare.releasing {
                releasing.failover = Some(Arc::clone(&failover));
                is_released = true;
            }
            if let Some(forced) = rare.forced.as_mut().filter(|forced| forced.at >= since) {
                forced.failover = Some(Arc::clone(&failover));
                is_released = true;
            }
            if is_touched || is_released {
                rare.failed_over = Some(Arc::clone(&failover));
                out.dirty.push(slot as Slot);
            }
        }
    }

    fn next_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    fn new_generation(&mut self) -> u64 {
        let generation = self.next_generation;
        self.next_generation += 1;
        generation
    }
}
