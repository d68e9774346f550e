//! What is so and for how long: told of changes and of moments, it says what opens and what is over.
//!
//! - [`open`]: one warning that is so. [`whole`]: what is so of a source as a whole, and of holders of many locks.
//! - [`restart`]: what an earlier run knew. [`people`]: acknowledgements and mutes.

mod open;
mod people;
mod restart;
mod whole;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use lockkeeper_model::{LockId, LockWarning, Mute, Severity, Time, TransitionKind, WarningRule, WarningState, words};
use open::{Id, Open, id_of, id_of_lock};
use smallvec::SmallVec;

use super::judge::{self, Found, OF_LOCKS};
use super::parties::Parties;
use super::rules::{Limit, Rules, Setting};
use super::store::Remembered;
use super::usual::Usual;
use crate::access::Reach;
use crate::registry::{LoggedEvent, Record, Registry, Slot};
use crate::source::SourceId;

/// Warnings that are open at once: of more, nobody reads one by one. Others are counted.
pub(super) const MAX_OPEN: usize = 10_000;

/// Warnings that were resolved and are still listed.
pub(super) const MAX_RESOLVED: usize = 2_000;

/// …for this long, in milliseconds: whoever comes to work sees what happened at night.
pub(super) const KEEP_RESOLVED_MS: i64 = 86_400_000;

/// Mutes at once: each is compared with every warning.
pub(super) const MAX_MUTES: usize = 1_000;

/// Locks that are looked at in one step: some milliseconds, in which the board does nothing else.
const SLOTS_AT_ONCE: usize = 4_096;

/// What found no room is looked at again after this time, in milliseconds.
const AGAIN_MS: i64 = 60_000;

/// Moments of slots beyond as many as there are slots.
const SPARE_MOMENTS: usize = 1_024;

/// A source as far as it bears on warnings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// What is shown of it is current: it answers, and was seen whole since the last gap.
    pub current: bool,
    /// It drops keys that locks are among when its memory is full.
    pub evicts: bool,
}

/// Something to write down, and perhaps to tell others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The warning as it is now.
    pub warning: LockWarning,
    /// The lock's key; `None`: it is about none alone.
    pub key: Option<Bytes>,
    /// What others are told of it: `opened`, `acknowledged`, `resolved`; `None`: nothing.
    pub event: Option<&'static str>,
    /// The highest severity with which others were told that it opened; `None`: they were not. Whoever was told so is told
    /// the rest, whatever it matters by now.
    pub told_as: Option<Severity>,
}

impl Told {
    fn of(open: &Open, event: Option<&'static str>) -> Told {
        Told { warning: open.warning.clone(), key: open.key.clone(), event, told_as: open.told_as }
    }
}

#[derive(Debug)]
struct Source {
    name: String,
    condition: Condition,
    /// It was seen whole once.
    was_current: bool,
    evicts_since: Option<i64>,
    /// Locks that are to be looked at when it is current again.
    parked: HashSet<Slot>,
}

/// Every rule over every lock.
#[derive(Debug)]
pub struct Watch {
    rules: Rules,
    sources: Vec<Source>,
    usual: Usual,
    parties: Parties,
    /// When a lock is looked at again although nothing happens to it; one live entry a slot.
    wake_at: Vec<i64>,
    moments: BinaryHeap<Reverse<(i64, Slot)>>,
    open: HashMap<Id, Open>,
    of_slot: HashMap<Slot, SmallVec<[Id; 2]>>,
    /// Open ones of an earlier run whose lock was not met yet.
    carried: HashMap<(SourceId, Bytes), SmallVec<[Id; 2]>>,
    ends: BinaryHeap<Reverse<(i64, Id)>>,
    resolved: VecDeque<(Id, LockWarning, Option<Bytes>)>,
    mutes: Vec<Mute>,
    /// Locks with something for which there is no room.
    beyond: HashSet<Slot>,
    told: Vec<Told>,
    /// How long holds lasted in earlier runs is still being read.
    learning: bool,
    /// Changes whenever the answer to anything may be another.
    version: u64,
}

impl Watch {
    /// These rules over these sources, with what was so when the server ended last.
    #[must_use]
    pub fn new(sources: impl IntoIterator<Item = String>, rules: Rules, remembered: Remembered, now: Time) -> Watch {
        let sources: Vec<Source> = sources
            .into_iter()
            .map(|name| Source {
                name,
                condition: Condition::default(),
                was_current: false,
                evicts_since: None,
                parked: HashSet::new(),
            })
            .collect();
        let mut watch = Watch {
            rules,
            sources,
            usual: Usual::default(),
            parties: Parties::default(),
            wake_at: Vec::new(),
            moments: BinaryHeap::new(),
            open: HashMap::new(),
            of_slot: HashMap::new(),
            carried: HashMap::new(),
            ends: BinaryHeap::new(),
            resolved: VecDeque::new(),
            mutes: remembered.mutes.into_iter().take(MAX_MUTES).collect(),
            beyond: HashSet::new(),
            told: Vec::new(),
            learning: true,
            version: 0,
        };
        for kept in remembered.warnings {
            watch.remember(kept, now);
        }
        // Mutes ended meanwhile.
        for id in watch.open.keys().copied().collect::<Vec<_>>() {
            watch.mute_again(id, now);
        }
        watch
    }

    /// Takes note of a lock that changed.
    pub fn change(&mut self, registry: &Registry, slot: Slot, now: Time) {
        let Some(record) = registry.record(slot) else { return self.forgotten(slot, now) };
        let at = usize::from(record.source.0);
        let Some(source) = self.sources.get(at) else { return };
        let limit = self.rules.of(WarningRule::ManyLocks, &source.name, None).map(|setting| match setting.limit {
            Limit::Locks(locks) => locks,
            _ => u32::MAX,
        });
        self.parties.change(registry, slot, limit, now.0);
        if !source.condition.current && (source.was_current || !registry.is_current(record)) {
            // Nobody knows what is so. It is judged when that is known again.
            self.sources[at].parked.insert(slot);
            return;
        }
        self.judge(registry, slot, record, now);
    }

    /// A lock ended while nobody knew what is so, and is not known any more by the time that it is.
    fn forgotten(&mut self, slot: Slot, now: Time) {
        self.beyond.remove(&slot);
        for id in self.of_slot.remove(&slot).unwrap_or_default() {
            self.away(id, now.0, judge::UNSEEN.to_owned());
        }
    }

    fn judge(&mut self, registry: &Registry, slot: Slot, record: &Record, now: Time) {
        let before = self.before(slot, record);
        let mut still: SmallVec<[Id; 2]> = SmallVec::new();
        let mut too_short: SmallVec<[Id; 2]> = SmallVec::new();
        let mut next = i64::MAX;
        self.beyond.remove(&slot);
        if !record.is_ended() {
            let nearly = self.usual.of(record.source, &record.key);
            for rule in OF_LOCKS {
                let source = &self.sources[usize::from(record.source.0)].name;
                let Some(setting) = self.rules.of(rule, source, Some(&record.key)) else { continue };
                let found = judge::judge(rule, &setting, registry, record, nearly.as_ref());
                let is_due = found.is_some_and(|found| found.due <= now.0);
                if !is_due {
                    next = next.min(found.map_or(i64::MAX, |found| found.due));
                    if before.is_empty() {
                        continue;
                    }
                }
                let id = id_of_lock(rule, source, record);
                let Some(found) = found else {
                    if self.is_taken_on_trust(id, rule) {
                        still.push(id);
                    }
                    continue;
                };
                if self.goes_on(id, &found, is_due) {
                    self.back(id);
                    still.push(id);
                } else if is_due && self.raise(id, rule, &setting, &found, registry, record, now) {
                    still.push(id);
                } else if is_due {
                    self.beyond.insert(slot);
                    next = next.min(now.0 + AGAIN_MS);
                } else {
                    too_short.push(id);
                }
            }
        }
        for id in before {
            if !still.contains(&id) {
                self.over(id, record, &too_short, now);
            }
        }
        if !still.is_empty() {
            self.of_slot.insert(slot, still);
        }
        if next != i64::MAX {
            self.wake(slot, next);
        }
    }

    /// One is not so any more, of the lock that is in its slot now. `too_short`: those that are so and have not lasted for
    /// long enough.
    fn over(&mut self, id: Id, record: &Record, too_short: &[Id], now: Time) {
        let Some(open) = self.open.get(&id) else { return };
        let rule = open.warning.rule;
        if open.key.as_deref() != Some(&*record.key) {
            // The slot was given to another lock while nobody knew what is so.
            return self.away(id, now.0, judge::UNSEEN.to_owned());
        }
        let since = record.end().filter(|_| record.is_ended()).map_or(now.0, |end| end.at);
        let is_same = id == id_of_lock(rule, &open.warning.source, record);
        let how = match too_short.contains(&id) && judge::is_of_hold(rule) {
            true => judge::TOO_SHORT.to_owned(),
            false => judge::ended(rule, Some(record), is_same),
        };
        self.away(id, since.min(now.0), how);
    }

    /// Opens one. False: there is no room.
    #[expect(clippy::too_many_arguments, reason = "what a warning is made of")]
    fn raise(
        &mut self,
        id: Id,
        rule: WarningRule,
        setting: &Setting,
        found: &Found,
        registry: &Registry,
        record: &Record,
        now: Time,
    ) -> bool {
        let nearly = self.usual.of(record.source, &record.key);
        let says = judge::says(rule, setting, registry, record, found, nearly.as_ref());
        let about = Registry::shown_name(record);
        let key = Bytes::copy_from_slice(&record.key);
        self.open(id, rule, setting, record.source, Some(key), about, found.since, says, now)
    }

    #[expect(clippy::too_many_arguments, reason = "what a warning is made of")]
    fn open(
        &mut self,
        id: Id,
        rule: WarningRule,
        setting: &Setting,
        source: SourceId,
        key: Option<Bytes>,
        about: String,
        since: i64,
        says: String,
        now: Time,
    ) -> bool {
        if self.open.len() >= MAX_OPEN {
            return false;
        }
        let before = self.resolved.iter().position(|(known, ..)| *known == id);
        let before = before.and_then(|at| self.resolved.remove(at));
        let (why, todo) = judge::advice(rule);
        let warning = LockWarning {
            id: format!("{id:032x}"),
            rule,
            severity: setting.severity,
            state: WarningState::Open,
            source: self.sources[usize::from(source.0)].name.clone(),
            lock: key.as_ref().map(|key| LockId::of_key(key)),
            about,
            since: Time(since),
            opened_at: now,
            says,
            why: why.to_owned(),
            todo: todo.to_owned(),
            times: before.map_or(1, |(_, before, _)| before.times.saturating_add(1)),
            acknowledged: None,
            muted: None,
            resolved_at: None,
            resolved: None,
            stale: false,
        };
        self.open.insert(id, Open::of(warning, key, setting.clear_ms));
        self.mute_again(id, now);
        self.announce(id);
        true
    }

    /// It is so again, or still.
    fn back(&mut self, id: Id) {
        let Some(open) = self.open.get_mut(&id) else { return };
        if open.away.take().is_some() {
            open.over_at = i64::MAX;
        }
        if open.is_untold() && open.is_so_now() {
            self.announce(id);
        }
    }

    /// It is so no more; when that has lasted, it is over.
    fn away(&mut self, id: Id, since: i64, how: String) {
        if let Some(open) = self.open.get_mut(&id).filter(|open| open.away.is_none()) {
            open.over_at = since.saturating_add(open.clear_ms);
            open.away = Some((since, how));
            self.ends.push(Reverse((open.over_at, id)));
        }
    }

    fn resolve(&mut self, id: Id, at: i64, how: String) {
        let Some(mut open) = self.open.remove(&id) else { return };
        // A lapse is noticed late, and it may have opened meanwhile.
        open.warning.resolved_at = Some(Time(at).max(open.warning.opened_at));
        open.warning.resolved = Some(how);
        open.warning.state = WarningState::Resolved;
        open.warning.stale = false;
        // Whoever was never told that it began is not told that it is over.
        let event = open.told_as.map(|_| "resolved");
        self.told.push(Told::of(&open, event));
        self.resolved.retain(|(known, ..)| *known != id);
        if self.resolved.len() >= MAX_RESOLVED {
            self.resolved.pop_front();
        }
        self.resolved.push_back((id, open.warning, open.key));
        self.version += 1;
    }

    /// Writes it down, and has others told of it unless it is muted or nobody knows whether it is still so.
    fn announce(&mut self, id: Id) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let event = (open.is_untold() && open.is_so_now()).then_some("opened");
        if event.is_some() {
            open.told_as = Some(open.warning.severity);
        }
        self.told.push(Told::of(open, event));
        self.version += 1;
    }

    /// Takes note of what happened.
    pub fn happened(&mut self, registry: &Registry, event: &LoggedEvent, now: Time) {
        self.usual.happened(event);
        let (TransitionKind::Forced, Some(key)) = (event.entry.kind, &event.key) else { return };
        let rule = WarningRule::ReleasedByForce;
        let Some(source) = self.sources.get(usize::from(event.source.0)).map(|source| source.name.clone()) else {
            return;
        };
        let Some(setting) = self.rules.of(rule, &source, Some(key)) else { return };
        let record = registry.find(event.source, key).and_then(|slot| registry.record(slot));
        let about = record.map_or_else(|| words::shown(LockId::of_key(key).as_str()), Registry::shown_name);
        let entry = event.entry.audit.map_or_else(String::new, |entry| format!("; it is entry {entry} of the audit"));
        let held = event.entry.held_ms.map_or_else(String::new, |ms| format!(" after {}", words::duration(ms)));
        let at = event.entry.at;
        let says = format!("It was released from Lockkeeper at {at}{held}{entry}.");
        let id = id_of(rule, &source, key, at.to_string().as_bytes());
        if self.open(id, rule, &setting, event.source, Some(key.clone()), about, at.0, says, now) {
            self.away(id, at.0, judge::ended(rule, None, false));
        }
    }

    /// Looks at what has lasted for long enough, or is over.
    pub fn tick(&mut self, registry: &Registry, now: Time) {
        for _ in 0..SLOTS_AT_ONCE {
            let Some(&Reverse((due, slot))) = self.moments.peek() else { break };
            if due > now.0 {
                break;
            }
            self.moments.pop();
            if self.wake_at.get(slot as usize) == Some(&due) {
                self.wake_at[slot as usize] = i64::MAX;
                self.change(registry, slot, now);
            }
        }
        while let Some(&Reverse((over_at, id))) = self.ends.peek() {
            if over_at > now.0 {
                break;
            }
            self.ends.pop();
            if let Some(open) = self.open.get(&id).filter(|open| open.over_at == over_at)
                && let Some((since, how)) = open.away.clone()
            {
                self.resolve(id, since, how);
            }
        }
        while self
            .resolved
            .front()
            .is_some_and(|(_, warning, _)| warning.resolved_at.is_none_or(|at| now.since(at) >= KEEP_RESOLVED_MS))
        {
            self.resolved.pop_front();
            self.version += 1;
        }
        if self.mutes.iter().any(|mute| mute.until <= now) {
            self.mutes.retain(|mute| mute.until > now);
            self.mute_all(now);
        }
        if self.ends.len() > 2 * self.open.len() + SPARE_MOMENTS {
            let away = self.open.iter().filter(|(_, open)| open.away.is_some());
            self.ends = away.map(|(id, open)| Reverse((open.over_at, *id))).collect();
        }
        if self.moments.len() > 2 * self.wake_at.len() + SPARE_MOMENTS {
            let live = self.wake_at.iter().enumerate().filter(|(_, at)| **at != i64::MAX);
            self.moments = live.map(|(slot, at)| Reverse((*at, slot as Slot))).collect();
        }
    }

    /// When [`Watch::tick`] has something to do next.
    #[must_use]
    pub fn next_moment(&self) -> Option<Time> {
        let moment = self.moments.peek().map(|Reverse((at, _))| *at);
        let end = self.ends.peek().map(|Reverse((at, _))| *at);
        let mute = self.mutes.iter().map(|mute| mute.until.0).min();
        moment.into_iter().chain(end).chain(mute).min().map(Time)
    }

    fn wake(&mut self, slot: Slot, at: i64) {
        let place = slot as usize;
        if place >= self.wake_at.len() {
            self.wake_at.resize(place + 1, i64::MAX);
        }
        if at < self.wake_at[place] {
            self.wake_at[place] = at;
            self.moments.push(Reverse((at, slot)));
        }
    }

    /// Other rules are in force. Every lock is looked at again, some at a time.
    pub fn follow(&mut self, registry: &Registry, rules: Rules, now: Time) {
        if self.rules == rules {
            return;
        }
        self.rules = rules;
        self.parties.forget();
        for open in self.open.values_mut() {
            if let Some(setting) = self.rules.of(open.warning.rule, &open.warning.source, open.key.as_deref()) {
                open.warning.severity = setting.severity;
                open.clear_ms = setting.clear_ms;
            }
        }
        let off: Vec<Id> = self
            .open
            .iter()
            .filter(|(_, open)| self.rules.of(open.warning.rule, &open.warning.source, open.key.as_deref()).is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in off {
            self.resolve(id, now.0, judge::SWITCHED_OFF.to_owned());
        }
        // Holders are counted anew, and are over a limit again when that shows.
        let holders = self.open.iter().filter(|(_, open)| open.warning.rule == WarningRule::ManyLocks);
        let holders: Vec<Id> = holders.map(|(id, _)| *id).collect();
        for id in holders {
            self.away(id, now.0, judge::ended(WarningRule::ManyLocks, None, false));
        }
        for slot in 0..registry.slots() {
            self.wake(slot as Slot, now.0);
        }
        self.version += 1;
    }

    /// What is to be written down and told.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Changes whenever the answer to anything may be another.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Locks with something for which there was no room.
    #[must_use]
    pub fn not_listed(&self) -> u64 {
        self.beyond.len() as u64
    }

    /// Each that there is for whoever has this reach, in no order, with its lock.
    pub fn seen<'a>(&'a self, reach: &'a Reach) -> impl Iterator<Item = (&'a LockWarning, Option<&'a Bytes>)> {
        let open = self.open.values().map(|open| (&open.warning, open.key.as_ref()));
        let resolved = self.resolved.iter().map(|(_, warning, key)| (warning, key.as_ref()));
        open.chain(resolved).filter(|(warning, key)| sees(reach, warning, key.map(|key| &**key)))
    }

    /// How many there are for whoever has this reach that nobody has acknowledged or muted, and the worst of them.
    #[must_use]
    pub fn to_look_at(&self, reach: &Reach) -> (u64, Option<Severity>) {
        let open = self.open.values().filter(|open| open.warning.state == WarningState::Open);
        let seen = open.filter(|open| sees(reach, &open.warning, open.key.as_deref()));
        seen.fold((0, None), |(count, worst), open| (count + 1, worst.max(Some(open.warning.severity))))
    }

    /// The sources that are watched.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|source| source.name.as_str())
    }

    fn source_id(&self, name: &str) -> Option<SourceId> {
        let at = self.sources.iter().position(|source| source.name == name)?;
        u16::try_from(at).ok().map(SourceId)
    }
}

/// Whether there is this warning for whoever has this reach. One about a holder of several locks counts them, so that it
/// is for those who see all of them.
pub(super) fn sees(reach: &Reach, warning: &LockWarning, key: Option<&[u8]>) -> bool {
    match key {
        Some(key) => reach.has(&warning.source, key),
        None if warning.rule == WarningRule::ManyLocks => reach.has_all_of(&warning.source),
        None => reach.touches(&warning.source),
    }
}
