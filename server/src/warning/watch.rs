//! What is so and for how long: told of changes and of moments, it says what opens and what is over.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use lockkeeper_model::{
    Acknowledgement, LockId, LockWarning, Mute, MutedBy, Severity, Time, TransitionKind, WarningRule, WarningState,
    words,
};
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::judge::{self, Found, OF_LOCKS};
use super::parties::Parties;
use super::rules::{Limit, Rules, Setting};
use super::store::Remembered;
use super::usual::Usual;
use crate::access::Reach;
use crate::glob;
use crate::recorder::history::HoldTimes;
use crate::registry::{LoggedEvent, Record, Registry, Slot};
use crate::source::SourceId;

/// Warnings that are open at once: of more, nobody reads one by one. Others are counted.
pub(super) const MAX_OPEN: usize = 10_000;

/// Warnings that were resolved and are still listed.
const MAX_RESOLVED: usize = 2_000;

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

/// Of those who have more locks than a limit, this share of it has to be given back before it is over.
const GIVEN_BACK: u32 = 10;

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
}

pub(super) type Id = u128;

/// One that is so.
#[derive(Clone, Debug)]
struct Open {
    warning: LockWarning,
    key: Option<Bytes>,
    clear_ms: i64,
    /// It is away, since when, and how that came about.
    away: Option<(i64, String)>,
    /// When that has lasted for long enough.
    over_at: i64,
    /// Others were told that it opened.
    announced: bool,
    /// It was open when an earlier run ended, and since when this run has seen it: it lasted long enough before that.
    carried: Option<i64>,
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
            version: 0,
        };
        for warning in remembered.warnings {
            watch.remember(warning, now);
        }
        watch
    }

    fn remember(&mut self, warning: LockWarning, now: Time) {
        let Ok(id) = Id::from_str_radix(&warning.id, 16) else { return };
        let key = warning.lock.as_ref().and_then(|lock| lock.key().ok()).map(|key| Bytes::copy_from_slice(&key));
        if warning.state == WarningState::Resolved {
            self.resolved.push_back((id, warning, key));
            return;
        }
        let Some(source) = self.source_id(&warning.source).filter(|_| self.open.len() < MAX_OPEN) else {
            // What it was about is not watched any more.
            self.open.insert(id, Open { announced: true, ..Open::of(warning, key, 0) });
            self.resolve(id, now.0, "It is not watched any more.".to_owned());
            return;
        };
        let setting = self.rules.of(warning.rule, &warning.source, key.as_deref());
        let clear_ms = setting.map_or(0, |setting| setting.clear_ms);
        let happened = warning.rule == WarningRule::ReleasedByForce;
        let opened_at = warning.opened_at.0;
        if let Some(key) = key.clone().filter(|_| !happened) {
            self.carried.entry((source, key)).or_default().push(id);
        }
        let announced = warning.muted.is_none();
        // Until its source was seen, it is the word of an earlier run.
        let warning = LockWarning { stale: true, ..warning };
        self.open.insert(id, Open { announced, carried: Some(i64::MAX), ..Open::of(warning, key, clear_ms) });
        if happened {
            self.away(id, opened_at, judge::ended(WarningRule::ReleasedByForce, None));
        }
    }

    /// Takes note of a lock that changed.
    pub fn change(&mut self, registry: &Registry, slot: Slot, now: Time) {
        let Some(record) = registry.record(slot) else { return };
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

    fn judge(&mut self, registry: &Registry, slot: Slot, record: &Record, now: Time) {
        let before = self.before(slot, record);
        let mut still: SmallVec<[Id; 2]> = SmallVec::new();
        let mut next = i64::MAX;
        self.beyond.remove(&slot);
        if !record.is_ended() {
            let nearly = self.usual.of(record.source, &record.key);
            for rule in OF_LOCKS {
                let source = &self.sources[usize::from(record.source.0)].name;
                let Some(setting) = self.rules.of(rule, source, Some(&record.key)) else { continue };
                let Some(found) = judge::judge(rule, &setting, registry, record, nearly.as_ref()) else { continue };
                let is_due = found.due <= now.0;
                if !is_due {
                    next = next.min(found.due);
                    if before.is_empty() {
                        continue;
                    }
                }
                let id = id_of_lock(rule, source, record);
                if self.goes_on(id, &found, is_due) {
                    self.back(id);
                    still.push(id);
                } else if is_due && self.raise(id, rule, &setting, &found, registry, record, now) {
                    still.push(id);
                } else if is_due {
                    self.beyond.insert(slot);
                    next = next.min(now.0 + AGAIN_MS);
                }
            }
        }
        for id in before {
            if !still.contains(&id)
                && let Some(open) = self.open.get(&id)
            {
                let since = record.end().filter(|_| record.is_ended()).map_or(now.0, |end| end.at);
                let how = judge::ended(open.warning.rule, Some(record));
                self.away(id, since.min(now.0), how);
            }
        }
        if !still.is_empty() {
            self.of_slot.insert(slot, still);
        }
        if next != i64::MAX {
            self.wake(slot, next);
        }
    }

    /// Whether one that is open is so again, or still: by what was seen now, or by that together with the word of an earlier
    /// run, as long as nothing began anew since.
    fn goes_on(&mut self, id: Id, found: &Found, is_due: bool) -> bool {
        let Some(open) = self.open.get_mut(&id) else { return false };
        match &mut open.carried {
            carried if is_due => {
                *carried = None;
                true
            }
            Some(since) => {
                *since = found.since.min(*since);
                found.since <= *since
            }
            None => false,
        }
    }

    /// Those that were so of the lock in a slot.
    fn before(&mut self, slot: Slot, record: &Record) -> SmallVec<[Id; 2]> {
        let mut before = self.of_slot.remove(&slot).unwrap_or_default();
        if !self.carried.is_empty()
            && let Some(carried) = self.carried.remove(&(record.source, Bytes::copy_from_slice(&record.key)))
        {
            before.extend(carried);
        }
        before
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
        if let Some(open) = self.open.get_mut(&id)
            && open.away.take().is_some()
        {
            open.over_at = i64::MAX;
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
        open.warning.resolved_at = Some(Time(at));
        open.warning.resolved = Some(how);
        open.warning.state = WarningState::Resolved;
        open.warning.stale = false;
        // Whoever was never told that it began is not told that it is over.
        let event = open.announced.then_some("resolved");
        self.told.push(Told { warning: open.warning.clone(), key: open.key.clone(), event });
        self.resolved.retain(|(known, ..)| *known != id);
        if self.resolved.len() >= MAX_RESOLVED {
            self.resolved.pop_front();
        }
        self.resolved.push_back((id, open.warning, open.key));
        self.version += 1;
    }

    /// Writes it down, and has others told of it unless it is muted.
    fn announce(&mut self, id: Id) {
        let Some(open) = self.open.get_mut(&id) else { return };
        let event = (!open.announced && open.warning.muted.is_none()).then_some("opened");
        open.announced |= event.is_some();
        self.told.push(Told { warning: open.warning.clone(), key: open.key.clone(), event });
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
            self.away(id, at.0, judge::ended(rule, None));
        }
    }

    /// Adds what is known from earlier runs of how long the holds of a lock last.
    pub fn learn(&mut self, times: HoldTimes) {
        if let Some(source) = self.source_id(&times.source) {
            self.usual.learn(source, times.key, &times.held, times.renewed);
        }
    }

    /// Takes note of how the sources are watched. To be called every moment: what is counted of holders is judged here.
    pub fn conditions(&mut self, registry: &Registry, conditions: &[Condition], now: Time) {
        for (at, &condition) in conditions.iter().enumerate() {
            let Some(source) = self.sources.get_mut(at) else { continue };
            let id = SourceId(u16::try_from(at).unwrap_or(u16::MAX));
            let became_current = condition.current && !source.condition.current;
            let became_old = !condition.current && source.condition.current;
            source.condition = condition;
            source.was_current |= condition.current;
            if became_current {
                for slot in std::mem::take(&mut source.parked) {
                    self.wake(slot, now.0);
                }
                self.let_go_of_carried(id, now);
            }
            if became_current || became_old {
                self.mark(at, became_old);
            }
            self.evictable(id, condition, now);
        }
        self.many_locks(registry, now);
    }

    /// What was so in an earlier run of locks that are not there any more.
    fn let_go_of_carried(&mut self, source: SourceId, now: Time) {
        let gone: Vec<Id> =
            self.carried.iter().filter(|((of, _), _)| *of == source).flat_map(|(_, ids)| ids.iter().copied()).collect();
        self.carried.retain(|(of, _), _| *of != source);
        for id in gone {
            self.away(id, now.0, "It ended while the server was not there to see it.".to_owned());
        }
        let holders: Vec<Id> = self.open_of(source, WarningRule::ManyLocks).collect();
        for id in holders {
            // Holders are told apart by this run's own numbers.
            self.away(id, now.0, judge::ended(WarningRule::ManyLocks, None));
        }
    }

    fn open_of(&self, source: SourceId, rule: WarningRule) -> impl Iterator<Item = Id> {
        let name = self.sources.get(usize::from(source.0)).map_or("", |source| &source.name);
        self.open
            .iter()
            .filter(move |(_, open)| open.warning.rule == rule && open.warning.source == name)
            .map(|(id, _)| *id)
    }

    /// Whether what is said of a source is old.
    fn mark(&mut self, at: usize, stale: bool) {
        let name = &self.sources[at].name;
        for open in self.open.values_mut().filter(|open| open.warning.source == *name) {
            open.warning.stale = stale;
        }
        self.version += 1;
    }

    fn evictable(&mut self, source: SourceId, condition: Condition, now: Time) {
        let rule = WarningRule::Evictable;
        let Some(known) = self.sources.get_mut(usize::from(source.0)).filter(|_| condition.current) else { return };
        let name = known.name.clone();
        let id = id_of(rule, &name, b"", b"");
        let setting = self.rules.of(rule, &name, None).filter(|_| condition.evicts);
        let Some(setting) = setting else {
            known.evicts_since = None;
            self.away(id, now.0, judge::ended(rule, None));
            return;
        };
        let since = *known.evicts_since.get_or_insert(now.0);
        if self.open.contains_key(&id) {
            self.back(id);
        } else if now.0 - since >= setting.for_ms {
            let says =
                format!("`{}` drops keys when its memory is full, and its locks are among them.", words::shown(&name));
            self.open(id, rule, &setting, source, None, words::shown(&name), since, says, now);
        }
    }

    fn many_locks(&mut self, registry: &Registry, now: Time) {
        let rule = WarningRule::ManyLocks;
        let mut found: Vec<(Id, bool, Option<TooMany>)> = Vec::new();
        let (rules, sources, open) = (&self.rules, &self.sources, &self.open);
        self.parties.over(|party, over, locks| {
            let Some(source) = sources.get(usize::from(over.source.0)) else { return false };
            let id = id_of(rule, &source.name, b"", &party.to_be_bytes());
            let setting = rules.of(rule, &source.name, None);
            let limit = setting.and_then(|setting| match setting.limit {
                Limit::Locks(limit) => Some((setting, limit)),
                _ => None,
            });
            let Some((setting, limit)) = limit.filter(|(_, limit)| locks > limit - limit / GIVEN_BACK) else {
                found.push((id, false, None));
                return false;
            };
            if open.contains_key(&id) {
                found.push((id, true, None));
            } else if now.0 - over.since >= setting.for_ms && locks > limit {
                let who = registry.record(over.one).and_then(Registry::first_holder).unwrap_or_default();
                let says = format!(
                    "`{who}` has had more than {} locks since {}: {} now.",
                    words::count(limit.into()),
                    Time(over.since),
                    words::count(locks.into())
                );
                let (source, since) = (over.source, over.since);
                found.push((id, true, Some(TooMany { setting, source, who, since, says })));
            }
            true
        });
        for (id, is_over, new) in found {
            match new {
                Some(TooMany { setting, source, who, since, says }) => {
                    self.open(id, rule, &setting, source, None, who, since, says, now);
                }
                None if is_over => self.back(id),
                None => self.away(id, now.0, judge::ended(rule, None)),
            }
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
            self.resolve(id, now.0, "Its rule is switched off.".to_owned());
        }
        // Holders are counted anew, and are over a limit again when that shows.
        let holders = self.open.iter().filter(|(_, open)| open.warning.rule == WarningRule::ManyLocks);
        let holders: Vec<Id> = holders.map(|(id, _)| *id).collect();
        for id in holders {
            self.away(id, now.0, judge::ended(WarningRule::ManyLocks, None));
        }
        for slot in 0..registry.slots() {
            self.wake(slot as Slot, now.0);
        }
        self.version += 1;
    }

    /// Takes note that somebody looks into a warning; `None`: there is no such warning that is so.
    pub fn acknowledge(&mut self, id: &str, acknowledgement: Acknowledgement) -> Option<LockWarning> {
        let id = Id::from_str_radix(id, 16).ok()?;
        let open = self.open.get_mut(&id)?;
        open.warning.acknowledged = Some(acknowledgement);
        open.settle();
        let event = open.announced.then_some("acknowledged");
        self.told.push(Told { warning: open.warning.clone(), key: open.key.clone(), event });
        self.version += 1;
        Some(open.warning.clone())
    }

    /// The mutes that are in force.
    #[must_use]
    pub fn mutes(&self) -> &[Mute] {
        &self.mutes
    }

    /// Has nobody told of what this mute is about. False: there are too many.
    pub fn mute(&mut self, mute: Mute, now: Time) -> bool {
        if self.mutes.len() >= MAX_MUTES {
            return false;
        }
        self.mutes.push(mute);
        self.mute_all(now);
        true
    }

    /// Takes a mute away; `None`: there is no such mute.
    pub fn unmute(&mut self, id: &str, now: Time) -> Option<Mute> {
        let at = self.mutes.iter().position(|mute| mute.id == id)?;
        let mute = self.mutes.remove(at);
        self.mute_all(now);
        Some(mute)
    }

    fn mute_all(&mut self, now: Time) {
        let ids: Vec<Id> = self.open.keys().copied().collect();
        for id in ids {
            if self.mute_again(id, now) {
                self.announce(id);
            }
        }
        self.version += 1;
    }

    /// Finds the mute of one that is open. Says whether it is another than before.
    fn mute_again(&mut self, id: Id, now: Time) -> bool {
        let Some(open) = self.open.get_mut(&id) else { return false };
        let fits = |mute: &&Mute| mute.until > now && is_about(mute, &open.warning, open.key.as_deref());
        let muted = self.mutes.iter().filter(fits).max_by_key(|mute| mute.until).map(|mute| MutedBy {
            id: mute.id.clone(),
            until: mute.until,
            by: mute.by.clone(),
            reason: mute.reason.clone(),
        });
        let changed = open.warning.muted != muted;
        open.warning.muted = muted;
        open.settle();
        changed
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

impl Open {
    fn of(warning: LockWarning, key: Option<Bytes>, clear_ms: i64) -> Open {
        Open { warning, key, clear_ms, away: None, over_at: i64::MAX, announced: false, carried: None }
    }

    fn settle(&mut self) {
        self.warning.state = match (&self.warning.muted, &self.warning.acknowledged) {
            (Some(_), _) => WarningState::Muted,
            (None, Some(_)) => WarningState::Acknowledged,
            (None, None) => WarningState::Open,
        };
    }
}

/// Somebody with more locks than a limit, of whom nobody was told yet.
struct TooMany {
    setting: Setting,
    source: SourceId,
    who: String,
    since: i64,
    says: String,
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

fn is_about(mute: &Mute, warning: &LockWarning, key: Option<&[u8]>) -> bool {
    let is_lock = match (&mute.lock, &mute.pattern, key) {
        (Some(_), ..) => mute.lock == warning.lock,
        (None, Some(pattern), Some(key)) => glob::matches(pattern.as_bytes(), key),
        (None, Some(pattern), None) => pattern == "*",
        (None, None, _) => false,
    };
    is_lock && mute.source == warning.source && mute.rule.is_none_or(|rule| rule == warning.rule)
}

/// Names a warning about a lock: about this hold of it, where the rule is about one.
fn id_of_lock(rule: WarningRule, source: &str, record: &Record) -> Id {
    let token = record.holds.iter().min_by_key(|hold| hold.since).filter(|_| judge::is_of_hold(rule));
    id_of(rule, source, &record.key, token.map_or(&[][..], |hold| &hold.token))
}

/// The same in every run. A token is a secret, which the hash does not tell.
fn id_of(rule: WarningRule, source: &str, key: &[u8], subject: &[u8]) -> Id {
    let mut hash = Sha256::new();
    for part in [rule.word().as_bytes(), source.as_bytes(), key, subject] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest[..16].iter().fold(0, |id, byte| id << 8 | Id::from(*byte))
}
