//! The rules for what is not there: a lock that ended, one that turned out to be part of another, and a key that is none.

use lockkeeper_model::{Certainty, LockState, Mode, Time, TransitionKind};
use smallvec::SmallVec;

use super::history::Cause;
use super::record::{End, NEVER, Record, Slot, width};
use super::{Changes, Registry};
use crate::source::{Among, DialectTraits, Hint, Recognition, Sight, SourceId};

impl Registry {
    /// A lock that was known and is not there.
    pub(super) fn gone(&mut self, slot: Slot, sight: &Sight, scan: bool, out: &mut Changes) {
        let record = &mut self.records[slot as usize];
        record.read(sight.asked_at, sight.read_at);
        if record.is_ended() {
            return;
        }
        let at = sight.noticed_at.unwrap_or(sight.read_at);
        let source = record.source;
        if record.followed() > 0 {
            // Until now; the next holder's time is counted from when it is seen.
            self.count_waiting(slot, true, sight.read_at.0, out);
        }
        let record = &mut self.records[slot as usize];
        let watched = self.sources[usize::from(source.0)].complete && !std::mem::take(&mut record.unwatched);
        let failed_over = record.failed_over().is_some();
        let holds = std::mem::take(&mut record.holds);
        // What is left over of a lock ends no hold when it goes.
        let had_owner = std::mem::take(&mut record.has_owner);
        let traits = record.recognition.traits;
        record.there = false;
        record.extra = None;
        let released_here = record.rare.as_mut().and_then(|rare| rare.releasing.take()).filter(|release| release.freed);
        self.remember_beginning(slot, &holds);
        for hold in &holds {
            self.token_left(slot, &hold.token, traits);
        }
        let mut last: Option<(End, Cause)> = None;
        for hold in &holds {
            let overdue = hold.expires_min() <= sight.read_at.0;
            let (transition, cause) = match sight.hint {
                _ if released_here.as_ref().is_some_and(|release| release.token == hold.token) => {
                    (TransitionKind::Forced, Cause::Release)
                }
                Hint::Evicted => (TransitionKind::Evicted, Cause::Announced),
                Hint::Expired => (TransitionKind::Expired, Cause::Announced),
                Hint::Deleted => (TransitionKind::Released, Cause::Announced),
                _ if overdue => (TransitionKind::Expired, Cause::Deadline),
                _ if !watched && failed_over => (TransitionKind::Lost, Cause::MaybeNotCopied),
                _ if !watched => (TransitionKind::Lost, Cause::Unwatched),
                _ if scan => (TransitionKind::Released, Cause::FoundByScan),
                _ if hold.expires == NEVER => (TransitionKind::Released, Cause::NoDeadline),
                Hint::None | Hint::New | Hint::WasPart => (TransitionKind::Released, Cause::BeforeDeadline),
            };
            // A lapse is announced late: it ended at its deadline, not when that was noticed.
            let ended_at = if transition == TransitionKind::Expired { at.0.min(hold.expires) } else { at.0 };
            let end = End {
                transition,
                at: ended_at,
                held_ms: Some((ended_at - hold.since).max(0)),
                token: hold.token.clone(),
            };
            last = Some((end, cause));
            if let Some((end, cause)) = last.as_ref().filter(|_| had_owner) {
                self.happened(slot, end.transition, Time(end.at), &end.token.clone(), None, *cause, end.held_ms, out);
            }
        }
        let record = &mut self.records[slot as usize];
        record.last_change = at.0;
        record.waiters = 0;
        record.times_ended = record.times_ended.wrapping_add(1);
        let rare = record.rare.get_or_insert_default();
        rare.ended = last.map(|(end, _)| end);
        rare.reported = 0;
        let times = record.times_ended;
        self.ended.push_back((sight.read_at.0, slot, times));
        self.known_mut(source).locks -= 1;
        out.dirty.push(slot);
    }

    /// What was shown as a lock is a part of another one: it is not shown any more, and not said to have been let go.
    pub(super) fn withdraw(&mut self, slot: Slot, sight: &Sight, out: &mut Changes) {
        self.withdraw_at(slot, sight.asked_at, sight.read_at, out);
    }

    /// By other rules these may be no locks: they are not shown any more, and not said to have been let go.
    pub(super) fn withdraw_all(&mut self, source: SourceId, at: Time, among: &Among, out: &mut Changes) {
        let is_one = |record: &Record| record.source == source && !record.is_ended() && among.has(&record.key);
        let slots: Vec<Slot> =
            self.records.iter().filter(|(_, record)| is_one(record)).map(|(slot, _)| slot as Slot).collect();
        for slot in slots {
            self.withdraw_at(slot, at, at, out);
        }
    }

    fn withdraw_at(&mut self, slot: Slot, asked_at: Time, read_at: Time, out: &mut Changes) {
        let record = &mut self.records[slot as usize];
        record.read(asked_at, read_at);
        if record.is_ended() {
            return;
        }
        let traits = record.recognition.traits;
        record.there = false;
        record.extra = None;
        record.waiters = 0;
        if let Some(rare) = &mut record.rare {
            rare.reported = 0;
            rare.sampled = None;
        }
        record.times_ended = record.times_ended.wrapping_add(1);
        let (source, times) = (record.source, record.times_ended);
        let holds = std::mem::take(&mut record.holds);
        let had_owner = std::mem::take(&mut record.has_owner);
        self.remember_beginning(slot, &holds);
        for hold in &holds {
            self.token_left(slot, &hold.token, traits);
            if had_owner {
                // Or whoever looks back would find it held for ever. How long it is held is not known.
                let (kind, cause) = (TransitionKind::Lost, Cause::NoLongerWatched);
                self.happened(slot, kind, read_at, &hold.token, None, cause, None, out);
            }
        }
        self.ended.push_back((read_at.0, slot, times));
        self.known_mut(source).locks -= 1;
        out.dirty.push(slot);
    }

    /// A key that was never known as a lock and is none now.
    pub(super) fn absent(&mut self, source: SourceId, sight: &Sight) {
        let slot = self.insert(Record {
            source,
            born: 0,
            key: sight.key.as_ref().into(),
            recognition: &ABSENT,
            mode: Mode::Exclusive,
            there: false,
            state: LockState::Held,
            holds: SmallVec::new(),
            extra: None,
            expiry_lost: false,
            came_back: false,
            has_owner: false,
            lease_over: false,
            quiet: false,
            starves: false,
            unwatched: false,
            waiters: 0,
            waiting_since: 0,
            as_of: sight.read_at.0,
            asked_before_ms: width(sight.read_at.since(sight.asked_at)),
            last_change: sight.read_at.0,
            wake_at: i64::MAX,
            times_ended: 0,
            rare: None,
        });
        self.ended.push_back((sight.read_at.0, slot, 0));
    }
}

/// Stands where nothing was recognised.
static ABSENT: Recognition = Recognition {
    dialect: "",
    certainty: Certainty::Ambiguous,
    because: "",
    traits: &DialectTraits { stored_as: "none", ..DialectTraits::PLAIN },
};
