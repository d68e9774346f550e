//! What an earlier run knew: it goes on where this one sees the same hold, and is over where it does not.

use bytes::Bytes;
use lockkeeper_model::{LockWarning, Time, WarningRule, WarningState};
use smallvec::SmallVec;

use super::open::{Id, NOT_SEEN_YET, Open};
use super::{MAX_OPEN, Watch};
use crate::recorder::history::HoldTimes;
use crate::registry::{Record, Registry, Slot};
use crate::source::SourceId;
use crate::warning::judge::{self, Found};
use crate::warning::store::Kept;

impl Watch {
    pub(super) fn remember(&mut self, kept: Kept, now: Time) {
        let Kept { warning, told_as } = kept;
        let Ok(id) = Id::from_str_radix(&warning.id, 16) else { return };
        let key = warning.lock.as_ref().and_then(|lock| lock.key().ok()).map(|key| Bytes::copy_from_slice(&key));
        if warning.state == WarningState::Resolved {
            self.resolved.push_back((id, warning, key));
            return;
        }
        if self.open.len() >= MAX_OPEN {
            return;
        }
        let source = self.source_id(&warning.source);
        let setting = self.rules.of(warning.rule, &warning.source, key.as_deref());
        let (rule, opened_at) = (warning.rule, warning.opened_at.0);
        let happened = rule == WarningRule::ReleasedByForce;
        // Until its source was seen, it is the word of an earlier run.
        let warning = LockWarning { stale: true, ..warning };
        let open = Open::of(warning, key.clone(), setting.map_or(0, |setting| setting.clear_ms));
        self.open.insert(id, Open { told_as, carried: Some(NOT_SEEN_YET), ..open });
        match (source, key) {
            (None, _) => self.resolve(id, now.0, "It is not watched any more.".to_owned()),
            _ if setting.is_none() => self.resolve(id, now.0, judge::SWITCHED_OFF.to_owned()),
            _ if happened => self.away(id, opened_at, judge::ended(rule, None, false)),
            (Some(source), Some(key)) => self.carried.entry((source, key)).or_default().push(id),
            (Some(_), None) => {}
        }
    }

    /// Whether one that is open is so again, or still: by what was seen now, or by that together with the word of an earlier
    /// run, as long as nothing began anew since.
    pub(super) fn goes_on(&mut self, id: Id, found: &Found, is_due: bool) -> bool {
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

    /// Whether one goes on by the word of an earlier run because nothing can be compared yet: how long holds last is still
    /// being read.
    pub(super) fn is_taken_on_trust(&self, id: Id, rule: WarningRule) -> bool {
        let is_carried = || self.open.get(&id).is_some_and(|open| open.carried.is_some());
        self.learning && judge::compares(rule) && is_carried()
    }

    /// Those that were so of the lock in a slot.
    pub(super) fn before(&mut self, slot: Slot, record: &Record) -> SmallVec<[Id; 2]> {
        let mut before = self.of_slot.remove(&slot).unwrap_or_default();
        if !self.carried.is_empty()
            && let Some(carried) = self.carried.remove(&(record.source, Bytes::copy_from_slice(&record.key)))
        {
            before.extend(carried);
        }
        before
    }

    /// Adds what is known from earlier runs of how long the holds of locks last. Those locks are judged anew, and so is what
    /// went on because that was not known yet.
    pub fn learn(&mut self, registry: &Registry, learned: Vec<HoldTimes>, now: Time) {
        self.learning = false;
        for times in learned {
            let Some(source) = self.source_id(&times.source) else { continue };
            if let Some(slot) = registry.find(source, &times.key) {
                self.wake(slot, now.0);
            }
            self.usual.learn(source, times.key, &times.held, times.renewed);
        }
        let trusted = |id: &Id| self.open.get(id).is_some_and(|open| judge::compares(open.warning.rule));
        let again = self.of_slot.iter().filter(|(_, ids)| ids.iter().any(trusted));
        let again: Vec<Slot> = again.map(|(slot, _)| *slot).collect();
        again.into_iter().for_each(|slot| self.wake(slot, now.0));
    }

    /// What was so in an earlier run of locks that are not there any more.
    pub(super) fn let_go_of_carried(&mut self, source: SourceId, now: Time) {
        let gone: Vec<Id> =
            self.carried.iter().filter(|((of, _), _)| *of == source).flat_map(|(_, ids)| ids.iter().copied()).collect();
        self.carried.retain(|(of, _), _| *of != source);
        for id in gone {
            self.away(id, now.0, "It ended while the server was not there to see it.".to_owned());
        }
        let holders: Vec<Id> = self.open_of(source, WarningRule::ManyLocks).collect();
        for id in holders {
            // Holders are told apart by this run's own numbers.
            self.away(id, now.0, judge::ended(WarningRule::ManyLocks, None, false));
        }
    }
}
