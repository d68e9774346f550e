//! The rules: one sight against what was known.

use bytes::Bytes;
use lockkeeper_model::{Basis, LockState, Standing, Time, TransitionKind};
use smallvec::SmallVec;

use super::forced::Forced;
use super::history::{Cause, Entry, LoggedEvent, Stood};
use super::hold::{Since, adopt, is_late_news, new_hold, stamp, update};
use super::record::{Hold, NEVER, Record, Slot, UNCOUNTED, UNKNOWN_MS, width};
use super::{Changes, Registry};
use crate::source::{self, Form, Hint, Seen, Sight, SourceId};

/// An attempt whose outcome is not told within this time, in milliseconds, has failed in some other way; what is seen is
/// then taken as it is. Longer than an attempt may last.
const AWAIT_RELEASE_MS: i64 = 30_000;

/// A queue of waiters is looked at again after this time, in milliseconds: a dead one leaves it without a word.
pub(super) const QUEUE_AGAIN_MS: i64 = 1_000;

/// …and where there are many, one after the other at this distance, in milliseconds: a look takes some twenty commands,
/// so that idle queues cost a store some four thousand commands a second at most.
pub(super) const QUEUE_APART_MS: i64 = 5;

/// …but within this time, in milliseconds, however many there are.
pub(super) const QUEUE_LATEST_MS: i64 = 60_000;

/// A lock that is taken within this time after its lease ran out was waited for, in milliseconds: the poll of the
/// slowest known library.
const AT_ONCE_MS: i64 = 1_000;

impl Registry {
    pub(super) fn apply_sight(&mut self, source: SourceId, sight: Sight, scan: bool, out: &mut Changes) {
        let found = self.find(source, &sight.key);
        let mut in_doubt = false;
        if let Some(slot) = found {
            let record = &self.records[slot as usize];
            let overlaps = sight.asked_at.0 < record.as_of;
            if sight.read_at.0 < record.asked_at() || (overlaps && scan) {
                // What is known is newer; or it was read because it changed, which a page of a scan was not.
                return;
            }
            if is_awaited(record, &sight) {
                return;
            }
            in_doubt = overlaps;
        }
        let changes_before = out.events.len();
        self.fold_sight(source, found, &sight, scan, out);
        // Two readings side by side on two connections do not say which was first: a third one does.
        if in_doubt && out.events.len() > changes_before {
            out.look.push((source, sight.key));
        }
    }

    fn fold_sight(&mut self, source: SourceId, found: Option<Slot>, sight: &Sight, scan: bool, out: &mut Changes) {
        match (&sight.seen, found) {
            // A page of a scan may have read it before it went and arrive after this: it must find this here.
            (Seen::Gone, None) if !scan && self.known(source).scan_began.is_some() => self.absent(source, sight),
            (Seen::Gone, None) => {}
            (Seen::Gone, Some(slot)) => self.gone(slot, sight, scan, out),
            (Seen::PartOfAnother, None) => {}
            (Seen::PartOfAnother, Some(slot)) => self.withdraw(slot, sight, out),
            (Seen::Held(form), None) => self.appeared(source, None, sight, form, scan, out),
            (Seen::Held(form), Some(slot)) if self.records[slot as usize].is_ended() => {
                self.appeared(source, Some(slot), sight, form, scan, out);
            }
            (Seen::Held(form), Some(slot)) => self.seen_again(slot, sight, form, out),
        }
    }

    /// A lock that was not known to be held.
    fn appeared(
        &mut self,
        source: SourceId,
        ended: Option<Slot>,
        sight: &Sight,
        form: &Form,
        scan: bool,
        out: &mut Changes,
    ) {
        let known = self.known(source);
        let complete = known.complete;
        let at = sight.noticed_at.unwrap_or(sight.read_at);
        let was_absent_at = match (scan, known.complete, ended) {
            _ if sight.hint == Hint::WasPart => None,
            // It ended in front of our eyes and is back.
            (_, true, Some(slot)) => {
                let end = self.records[slot as usize].end().map(|end| end.at);
                end.max(known.confirmed_at.map(|at| at.0))
            }
            // Noticed as it happened: it was not there when everything was last confirmed.
            (false, true, None) => known.confirmed_at.or(known.previous_scan_began).map(|at| at.0),
            // Met by a scan: it was not there when the scan before went by.
            (true, true, None) => known.previous_scan_began.map(|at| at.0),
            (_, false, _) => None,
        };
        let observed = sight.hint == Hint::New || was_absent_at.is_some();
        let since = Since {
            basis: if observed { Basis::Observed } else { Basis::FirstSeen },
            min: if observed { was_absent_at.map_or(i64::MIN, |absent| absent.min(at.0)) } else { i64::MIN },
            // Not when it was noticed: the notice may have been of an earlier change that is read together with this.
            max: sight.read_at.0,
        };
        let (came_back, previous) = match ended.and_then(|slot| self.records[slot as usize].end()) {
            Some(end) => (
                end.transition == TransitionKind::Forced
                    && form.state != LockState::UnknownHolder
                    && form.holds.iter().any(|hold| *hold.token == *end.token),
                Some(end.token.clone()),
            ),
            None => (false, None),
        };
        // Nobody took it: it was given.
        let is_put_back = ended.is_some_and(|slot| {
            let given = self.records[slot as usize].rare.as_mut().and_then(|rare| rare.putting_back.take());
            given.is_some_and(|token| form.holds.iter().any(|hold| hold.token == token))
        });
        let forced = ended.and_then(|slot| self.forced_before_failover(slot, complete));
        let traits = form.recognition.traits;
        let is_lost = |hold: &source::Hold| forced.as_ref().is_some_and(|forced| forced.is_lost(hold, sight, traits));
        let release_lost = !is_put_back && form.holds.iter().any(is_lost);
        // On a server that may not have heard of the release, that the token is there does not mean that it was taken.
        let came_back = came_back && !is_put_back && forced.is_none();
        let lapsed = ended.and_then(|slot| self.records[slot as usize].end()).is_some_and(|end| {
            end.transition == TransitionKind::Expired
                && at.0 - end.at <= AT_ONCE_MS
                && form.holds.iter().all(|hold| hold.token != end.token)
        });
        // One let go and another took it, at two looks.
        let taken_over = ended
            .and_then(|slot| self.records[slot as usize].end())
            .is_some_and(|end| at.0 - end.at <= AT_ONCE_MS && form.holds.iter().any(|hold| hold.token != end.token));
        let has_owner = form.standing() == Standing::Owned;
        let uncounted = if form.recognition.traits.waiters_counted { UNCOUNTED } else { 0 };
        let mut holds = self.new_holds(form, sight, since);
        if let Some(forced) = forced.as_ref().filter(|_| release_lost) {
            holds = holds.into_iter().zip(&form.holds).map(|(new, seen)| go_on(forced, new, is_lost(seen))).collect();
        }
        let slot = match ended {
            Some(slot) => {
                let record = &mut self.records[slot as usize];
                record.there = true;
                record.holds = holds;
                record.recognition = form.recognition;
                record.mode = form.mode;
                record.state = form.state;
                record.extra = form.extra.clone();
                record.expiry_lost = false;
                record.came_back = came_back;
                record.has_owner = has_owner;
                record.lease_over = false;
                record.quiet = false;
                record.starves = false;
                record.waiters = uncounted;
                if let Some(rare) = &mut record.rare {
                    rare.ended = None;
                    rare.releasing = None;
                    rare.release_lost = release_lost;
                    // On a new server it may stand there because its end was not copied.
                    rare.failed_over.take_if(|_| complete);
                }
                slot
            }
            None => self.insert(Record {
                source,
                born: 0,
                key: sight.key.as_ref().into(),
                recognition: form.recognition,
                mode: form.mode,
                there: true,
                state: form.state,
                holds,
                extra: form.extra.clone(),
                expiry_lost: false,
                came_back: false,
                has_owner,
                lease_over: false,
                quiet: false,
                starves: false,
                unwatched: false,
                waiters: uncounted,
                waiting_since: 0,
                as_of: sight.read_at.0,
                asked_before_ms: 0,
                last_change: at.0,
                wake_at: i64::MAX,
                times_ended: 0,
                rare: None,
            }),
        };
        if taken_over && let Some(contention) = self.contention_mut(slot) {
            contention.handed_over(at.0);
        }
        let record = &mut self.records[slot as usize];
        record.read(sight.asked_at, sight.read_at);
        record.last_change = at.0;
        if let Some(rare) = &mut record.rare {
            rare.lapses = if lapsed { rare.lapses.saturating_add(1) } else { 0 };
        }
        let deadline = record.first_deadline();
        let known = self.known_mut(source);
        known.locks += 1;
        // Before the first count all are uncounted, and that count finds them.
        if uncounted == UNCOUNTED && known.waiting.is_some() {
            known.uncounted.push(slot);
        }
        if let Some(deadline) = deadline {
            self.wake(slot, deadline);
        }
        self.watch_on(slot, sight, false, out);
        self.adopt_early(slot, sight.read_at.0, out);
        for hold in &form.holds {
            self.token_came(slot, &hold.token, out);
        }
        if (observed || release_lost) && has_owner {
            for hold in &form.holds {
                let cause = match () {
                    () if release_lost && is_lost(hold) => Cause::ReleaseLost,
                    () if !observed => continue,
                    () if is_put_back => Cause::PutBack,
                    () if came_back => Cause::CameBack,
                    () if scan => Cause::FoundByScan,
                    () => Cause::Seen,
                };
                self.happened(slot, TransitionKind::Acquired, at, &hold.token, previous.clone(), cause, None, out);
            }
        }
        out.dirty.push(slot);
    }

    /// A lock that was held and is held.
    fn seen_again(&mut self, slot: Slot, sight: &Sight, form: &Form, out: &mut Changes) {
        let at = sight.noticed_at.unwrap_or(sight.read_at);
        let record = &mut self.records[slot as usize];
        let complete = self.sources[usize::from(record.source.0)].complete;
        let looked_before = Time(record.as_of);
        let since_min = if complete { record.asked_at() } else { i64::MIN };
        record.read(sight.asked_at, sight.read_at);
        let is_first_since_gap = std::mem::take(&mut record.unwatched) || !complete;
        let forced_before = self.forced_before_failover(slot, complete);
        let traits = form.recognition.traits;
        let is_lost =
            |hold: &source::Hold| forced_before.as_ref().is_some_and(|forced| forced.is_lost(hold, sight, traits));
        let record = &mut self.records[slot as usize];
        let form_changed = record.recognition != form.recognition
            || record.state != form.state
            || record.mode != form.mode
            || record.extra != form.extra;
        let names_nobody = form.state == LockState::UnknownHolder;
        let waited_before = record.followed() > 0;
        let (stood, stands) = (record.standing(), form.standing());
        let traits_before = record.recognition.traits;
        record.recognition = form.recognition;
        record.mode = form.mode;
        record.state = form.state;
        if record.extra != form.extra {
            if form.extra.as_ref().is_some_and(|extra| extra.queue.is_some()) && record.followed() == 0 {
                record.waiting_since = at.0;
            }
            record.extra = form.extra.clone();
        }

        let before: Vec<Hold> = record.holds.drain(..).collect();
        let had_owner = record.has_owner;
        // Not decided: whoever had it may have it still.
        let has_owner = match stands {
            Standing::Owned => true,
            Standing::Nobody => false,
            Standing::Undecided => {
                had_owner && form.holds.iter().any(|hold| before.iter().any(|old| old.token == hold.token))
            }
        };
        record.has_owner = has_owner;
        let freed = record.rare.as_ref().and_then(|rare| rare.releasing.clone()).filter(|release| release.freed);
        // Released from here, and taken by another, or by the same again, before it was looked at. A reading that was asked
        // for before the release was told of may still show the token; one without it is of after the release.
        let forced = |hold: &Hold| {
            freed.as_ref().is_some_and(|release| {
                let is_there = form.holds.iter().any(|seen| seen.token == release.token);
                release.token == hold.token && (!is_there || sight.asked_at.0 >= release.at)
            })
        };
        // A token that stood on a minority and comes to own the lock takes it now.
        let taken_anew = |old: &Hold, seen: &source::Hold| {
            (sight.hint == Hint::New && (names_nobody || !is_late_news(old, seen, sight, looked_before)))
                || forced(old)
                || stamp(&old.extra) != stamp(&seen.extra)
                || (has_owner && !had_owner)
        };
        let mut holds: SmallVec<[Hold; 1]> = SmallVec::new();
        let mut happened: SmallVec<[Happened; 2]> = SmallVec::new();
        let mut left: Vec<&Hold> = before.iter().collect();
        let mut came: Vec<&source::Hold> = Vec::new();
        let mut changed = form_changed;
        for hold in &form.holds {
            match before.iter().find(|old| *old.token == *hold.token) {
                Some(old) if !taken_anew(old, hold) => {
                    left.retain(|other| other.token != old.token);
                    let mut kept = old.clone();
                    // The lease of an owner and what is left of a leftover are not measured alike.
                    let comparable = stood == Standing::Owned && stands == Standing::Owned;
                    let mut what = if comparable {
                        update(&mut kept, hold, sight, at, looked_before)
                    } else {
                        adopt(&mut kept, hold, sight);
                        (had_owner && !has_owner).then_some((TransitionKind::Released, Cause::QuorumLost))
                    };
                    let held_ms =
                        what.filter(|(kind, _)| *kind == TransitionKind::Released).map(|_| (at.0 - kept.since).max(0));
                    if names_nobody && matches!(what, Some((TransitionKind::Renewed, _))) {
                        // Its value names nobody: another may have it now. Nothing that was seen before binds it.
                        what = Some((TransitionKind::LeaseChanged, Cause::RenewedOrTakenAnew));
                        kept = Hold {
                            since_before_ms: kept
                                .not_before()
                                .map_or(UNKNOWN_MS, |earliest| width(sight.read_at.0 - earliest)),
                            since: sight.read_at.0,
                            renewals: 0,
                            period_ms: 0,
                            generation: self.next_generation,
                            ..kept
                        };
                        self.next_generation += 1;
                    }
                    changed |= what.is_some();
                    happened.extend(
                        what.map(|(kind, cause)| Happened { held_ms, ..Happened::of(kind, cause, &kept.token) }),
                    );
                    holds.push(kept);
                }
                _ => came.push(hold),
            }
        }

        // Of several holders nobody can say whose place another took; what was a leftover ended no hold, and what is one
        // begins none.
        let one_each = before.len() <= 1 && form.holds.len() <= 1;
        let release_lost = came.iter().any(|hold| is_lost(hold));
        let handed_over = one_each && had_owner && has_owner && !left.is_empty() && !came.is_empty() && !release_lost;
        for old in left.iter().filter(|_| had_owner) {
            let lapsed = old.expires < at.0;
            let again = came.iter().any(|new| *new.token == *old.token);
            // A hand-over tells both ends in one line, except where the former lease had run out.
            if !handed_over || lapsed || again || forced(old) {
                let (kind, cause) = match () {
                    () if forced(old) => (TransitionKind::Forced, Cause::Release),
                    // Whoever took it after the release: the new server has heard of neither.
                    () if release_lost && one_each => (TransitionKind::Lost, Cause::MaybeNotCopied),
                    () if lapsed => (TransitionKind::Expired, Cause::Deadline),
                    () if again => (TransitionKind::Released, Cause::TakenAnew),
                    () if came.is_empty() || !one_each => match old.expires {
                        NEVER => (TransitionKind::Released, Cause::NoDeadline),
                        _ => (TransitionKind::Released, Cause::BeforeDeadline),
                    },
                    () => (TransitionKind::Released, Cause::BetweenLooks),
                };
                happened.push(Happened {
                    held_ms: Some((at.0 - old.since).max(0)),
                    ..Happened::of(kind, cause, &old.token)
                });
            }
        }
        let mut came_back = false;
        // A queue may stand where nobody holds the lock: then it is not a new one that appears.
        let given = self.records[slot as usize].rare.as_mut().filter(|_| !came.is_empty());
        let given = given.and_then(|rare| rare.putting_back.take());
        for new in &came {
            let since = Since {
                basis: if complete { Basis::Observed } else { Basis::FirstSeen },
                min: since_min.min(at.0),
                max: sight.read_at.0,
            };
            let previous = left.first().copied().filter(|_| one_each && had_owner);
            let lapsed = previous.is_some_and(|old| old.expires < at.0);
            let kind = match previous {
                Some(old) if handed_over && !lapsed && !forced(old) && *old.token != *new.token => {
                    TransitionKind::HandedOver
                }
                _ => TransitionKind::Acquired,
            };
            let is_lost = is_lost(new);
            // As above: on a server that may not have heard of the release, it is not said that the token was taken again.
            let back = !names_nobody
                && forced_before.is_none()
                && left.iter().any(|old| forced(old) && old.token == new.token);
            came_back |= back;
            let cause = match complete {
                _ if is_lost => Cause::ReleaseLost,
                _ if given.as_ref() == Some(&new.token) => Cause::PutBack,
                _ if back => Cause::CameBack,
                true if !one_each => Cause::Seen,
                true => Cause::BetweenLooks,
                false => Cause::Unwatched,
            };
            if !has_owner || stands != Standing::Owned {
                let generation = self.new_generation();
                holds.push(new_hold(new, sight, since, generation, form.recognition.traits));
                continue;
            }
            happened.push(Happened {
                previous: previous.map(|old| old.token.clone()),
                held_ms: previous.filter(|_| kind == TransitionKind::HandedOver).map(|old| (at.0 - old.since).max(0)),
                ..Happened::of(kind, cause, &new.token)
            });
            let generation = self.new_generation();
            let met = new_hold(new, sight, since, generation, form.recognition.traits);
            holds.push(match &forced_before {
                Some(forced) => go_on(forced, met, is_lost),
                None => met,
            });
        }
        let hands_changed = !left.is_empty() || !came.is_empty();
        for old in &left {
            self.token_left(slot, &old.token, traits_before);
        }
        let record = &mut self.records[slot as usize];
        let had_expiry = before.iter().any(|hold| hold.expires != NEVER);
        record.holds = holds;
        if hands_changed {
            record.expiry_lost = false;
            record.came_back = came_back;
            record.lease_over = false;
            record.quiet = false;
            if let Some(rare) = &mut record.rare {
                rare.releasing = None;
                rare.release_lost = release_lost;
                // On a new server another may stand there because the one before was not copied.
                rare.failed_over.take_if(|_| !is_first_since_gap);
            }
        } else if had_expiry && record.expires() == NEVER {
            record.expiry_lost = true;
        } else if record.expires() != NEVER {
            record.expiry_lost = false;
        }
        record.lease_over &= record.expires() <= sight.read_at.0;
        if !happened.is_empty() {
            record.last_change = at.0;
        }
        let deadline = record.first_deadline();
        if let Some(deadline) = deadline {
            self.wake(slot, deadline);
        }
        self.watch_on(slot, sight, waited_before, out);
        for new in &came {
            self.token_came(slot, &new.token, out);
        }
        if handed_over && let Some(contention) = self.contention_mut(slot) {
            contention.handed_over(at.0);
        }
        if !happened.is_empty() {
            self.remember_beginning(slot, &before);
        }
        for one in happened {
            self.happened(slot, one.kind, at, &one.token, one.previous, one.cause, one.held_ms, out);
            changed = true;
        }
        if changed {
            out.dirty.push(slot);
        }
    }

    /// Has a lock looked at again whose waiters the store keeps, because some of them leave without a word; and whose
    /// rhythm is known, when a beat is missed.
    fn watch_on(&mut self, slot: Slot, sight: &Sight, waited_before: bool, out: &mut Changes) {
        let record = &mut self.records[slot as usize];
        let beat = record.beat_due();
        if record.quiet && beat.is_some_and(|due| due > sight.read_at.0) {
            record.quiet = false;
            out.dirty.push(slot);
        }
        let queued = record.queue().is_some();
        if let Some(due) = beat.filter(|due| *due > sight.read_at.0) {
            self.wake(slot, due);
        }
        if queued {
            self.wake_for_queue(slot, sight.read_at.0);
        }
        let record = &self.records[slot as usize];
        if queued || (waited_before && record.followed() == 0) {
            self.count_waiting(slot, waited_before, sight.read_at.0, out);
        }
    }

    fn new_holds(&mut self, form: &Form, sight: &Sight, since: Since) -> SmallVec<[Hold; 1]> {
        form.holds
            .iter()
            .map(|hold| {
                let generation = self.new_generation();
                new_hold(hold, sight, since, generation, form.recognition.traits)
            })
            .collect()
    }

    /// What was freed from here before another server took over that may not have heard of it, until everything on that
    /// one was seen.
    fn forced_before_failover(&self, slot: Slot, complete: bool) -> Option<Forced> {
        let forced = self.records[slot as usize].rare.as_ref()?.forced.as_ref()?;
        (forced.failover.is_some() && !complete).then(|| forced.clone())
    }

    /// Takes note of a transition.
    #[expect(clippy::too_many_arguments, reason = "the fields of an entry, each named at every call")]
    pub(super) fn happened(
        &mut self,
        slot: Slot,
        kind: TransitionKind,
        at: Time,
        token: &[u8],
        previous: Option<Box<[u8]>>,
        cause: Cause,
        held_ms: Option<i64>,
        out: &mut Changes,
    ) {
        let seq = self.next_seq();
        let record = &mut self.records[slot as usize];
        let rare = record.rare.get_or_insert_default();
        rare.happened_by = record.as_of;
        let is_of_release = kind == TransitionKind::Forced || cause == Cause::ReleaseLost;
        let audit = rare.forced.as_ref().filter(|_| is_of_release).map(|forced| forced.audit);
        let entry =
            Entry { seq, at, first_at: at, count: 1, kind, token: token.into(), previous, cause, held_ms, audit };
        out.events.push(LoggedEvent {
            source: record.source,
            key: Some(Bytes::copy_from_slice(&record.key)),
            after: Some(Stood::of(record, &entry.token)),
            entry: entry.clone(),
            because: None,
        });
        self.remember(slot, entry);
    }
}

/// A hold that was met, or the one that was freed, where it is that one.
fn go_on(forced: &Forced, met: Hold, is_lost: bool) -> Hold {
    if is_lost { forced.goes_on(met) } else { met }
}

/// Whether a release is being tried whose outcome decides what this sight means: the hold is over, and it is not known
/// yet by whose hand. The lock is read again when it is known.
fn is_awaited(record: &Record, sight: &Sight) -> bool {
    let Some(release) = record.rare.as_ref().and_then(|rare| rare.releasing.as_ref()) else { return false };
    let ends = match &sight.seen {
        Seen::Gone => !record.is_ended(),
        Seen::Held(form) => !form.holds.iter().any(|hold| hold.token == release.token),
        Seen::PartOfAnother => false,
    };
    ends && !release.freed && sight.read_at.0 - release.at < AWAIT_RELEASE_MS
}

struct Happened {
    kind: TransitionKind,
    cause: Cause,
    token: Box<[u8]>,
    previous: Option<Box<[u8]>>,
    held_ms: Option<i64>,
}

impl Happened {
    fn of(kind: TransitionKind, cause: Cause, token: &[u8]) -> Happened {
        Happened { kind, cause, token: token.into(), previous: None, held_ms: None }
    }
}
