//! What clients say of themselves: who waits, who was refused, who has it. True by their own word only, so it never
//! decides whether a lock is held or by whom; it adds names to what was read from the lock.

use std::collections::HashMap;

use lockkeeper_client::report::{Identity as SaidIdentity, Kind, Report, WAITER_GONE_AFTER};
use lockkeeper_model::{Identity, Time, words};

use super::contention::Tries;
use super::record::Slot;
use super::{Changes, Registry};
use crate::source::{Said, SourceId};

/// Waiters that are kept, per source: some ten megabytes. Far more than a store of locks has.
const MAX_WAITERS: usize = 20_000;

/// Waiters that are kept of one lock: more would not be told apart by a person.
const MAX_WAITERS_OF_ONE: usize = 1_000;

/// Holders that are kept, per source, for as long as they hold.
const MAX_HOLDERS: usize = 50_000;

/// Holders of one key that are kept: a semaphore has some, and everybody else has one.
const MAX_HOLDERS_OF_ONE: usize = 64;

/// An acquire may be told of this long before it is seen, in milliseconds: a scan under way reads changes late.
const SEEN_WITHIN_MS: i64 = 60_000;

/// Locks of which attempts are kept before they are seen, per source.
const MAX_EARLY: usize = 10_000;

const GONE_AFTER_MS: i64 = WAITER_GONE_AFTER.as_millis() as i64;

/// Who says to wait for a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) attempt: Box<str>,
    /// What it would write, or writes, to name itself; empty where it did not say.
    pub(super) token: Box<[u8]>,
    pub(super) identity: SaidIdentity,
    /// Since when.
    pub(super) since: i64,
    /// When it last said so.
    pub(super) heard: i64,
}

/// Who says to have taken a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) token: Box<[u8]>,
    pub(super) identity: SaidIdentity,
    at: i64,
}

/// What the clients of one source said.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// Until when they were heard, in the server's time.
    pub(super) at: i64,
    waiting: HashMap<Box<[u8]>, Vec<Waiting>>,
    waiters: usize,
    holding: HashMap<Box<[u8]>, Vec<Holding>>,
    holders: usize,
    /// Attempts and refusals at locks that were not seen yet: a report can be faster than the reading of its lock.
    early: HashMap<Box<[u8]>, Tried>,
}

/// Attempts and refusals, until the last moment at which one was told of.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    attempts: u32,
    refusals: u32,
    at: i64,
}

impl Reported {
    /// Those who say to wait for this lock.
    pub(super) fn waiting(&self, key: &[u8]) -> &[Waiting] {
        self.waiting.get(key).map_or(&[], Vec::as_slice)
    }

    /// Who says to have taken this lock with exactly this token.
    pub(super) fn holding(&self, key: &[u8], token: &[u8]) -> Option<&Holding> {
        self.holding.get(key)?.iter().find(|holding| *holding.token == *token)
    }

    /// Takes note that an attempt waits. Says whether it was not known to.
    fn waits(&mut self, report: Report, at: i64) -> bool {
        let waited = report.waited_ms.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(0);
        let since = at.saturating_sub(waited);
        let full = self.waiters >= MAX_WAITERS;
        let known = self.waiting.get_mut(report.lock.as_slice());
        if let Some(known) = known.and_then(|all| all.iter_mut().find(|known| *known.attempt == *report.attempt)) {
            known.heard = known.heard.max(at);
            known.since = known.since.min(since);
            return false;
        }
        let all = self.waiting.entry(report.lock.into()).or_default();
        if !full && all.len() < MAX_WAITERS_OF_ONE {
            all.push(Waiting {
                attempt: report.attempt.into(),
                token: report.token.unwrap_or_default().into(),
                identity: report.identity,
                since,
                heard: at,
            });
            self.waiters += 1;
        }
        true
    }

    /// Takes note that an attempt waits no longer. Says whether it did.
    fn ends(&mut self, key: &[u8], attempt: &str) -> bool {
        let Some(all) = self.waiting.get_mut(key) else { return false };
        let before = all.len();
        all.retain(|waiting| *waiting.attempt != *attempt);
        let ended = before - all.len();
        self.waiters -= ended;
        if all.is_empty() {
            self.waiting.remove(key);
        }
        ended > 0
    }

    fn holds(&mut self, key: &[u8], token: Vec<u8>, identity: SaidIdentity, at: i64) {
        self.lets_go(key, &token);
        if self.holders >= MAX_HOLDERS || identity == SaidIdentity::default() {
            return;
        }
        let all = self.holding.entry(key.into()).or_default();
        if all.len() >= MAX_HOLDERS_OF_ONE {
            all.remove(0);
            self.holders -= 1;
        }
        all.push(Holding { token: token.into(), identity, at });
        self.holders += 1;
    }

    fn lets_go(&mut self, key: &[u8], token: &[u8]) {
        let Some(all) = self.holding.get_mut(key) else { return };
        let before = all.len();
        all.retain(|holding| *holding.token != *token);
        self.holders -= before - all.len();
        if all.is_empty() {
            self.holding.remove(key);
        }
    }

    fn tried_early(&mut self, key: Box<[u8]>, attempts: u32, refusals: u32, at: i64) {
        if self.early.len() >= MAX_EARLY && !self.early.contains_key(&key) {
            return;
        }
        let tried = self.early.entry(key).or_default();
        tried.attempts = tried.attempts.saturating_add(attempts);
        tried.refusals = tried.refusals.saturating_add(refusals);
        tried.at = tried.at.max(at);
    }

    /// Leaves out those who were not heard of for too long; answers the locks that they waited for.
    fn forget_silent(&mut self, now: i64) -> Vec<Box<[u8]>> {
        self.early.retain(|_, tried| now - tried.at <= SEEN_WITHIN_MS);
        let mut left = Vec::new();
        let mut waiters = 0;
        self.waiting.retain(|key, all| {
            let before = all.len();
            all.retain(|waiting| now - waiting.heard <= GONE_AFTER_MS);
            if all.len() < before {
                left.push(key.clone());
            }
            waiters += all.len();
            !all.is_empty()
        });
        self.waiters = waiters;
        left
    }

    /// Keeps of those who say to hold a lock the ones who do, and those who may be seen to in a moment.
    pub(super) fn forget_holders(&mut self, now: i64, holds: impl Fn(&[u8], &[u8]) -> bool) {
        let mut holders = 0;
        self.holding.retain(|key, all| {
            all.retain(|holding| now - holding.at <= SEEN_WITHIN_MS || holds(key, &holding.token));
            holders += all.len();
            !all.is_empty()
        });
        self.holders = holders;
    }
}

impl Registry {
    /// Folds in what clients said of themselves.
    pub(super) fn said(&mut self, source: SourceId, said: Vec<Said>, at: Time, out: &mut Changes) {
        self.known_mut(source).reported.at = at.0;
        for Said { at: said_at, report } in said {
            // An entry's id can be chosen by its writer.
            let said_at = said_at.0.min(at.0);
            let slot = self.find(source, &report.lock);
            let reported = &mut self.known_mut(source).reported;
            let lock: Box<[u8]> = report.lock.as_slice().into();
            let (attempts, refusals) = match report.kind {
                Kind::Waiting if at.0 - said_at > GONE_AFTER_MS => (0, 0),
                Kind::Waiting => {
                    let news = u32::from(reported.waits(report, said_at));
                    (news, news)
                }
                Kind::Refused => (1, 1),
                Kind::GaveUp => {
                    reported.ends(&lock, &report.attempt);
                    (0, 0)
                }
                Kind::Acquired => {
                    let waited = reported.ends(&lock, &report.attempt);
                    reported.holds(&lock, report.token.unwrap_or_default(), report.identity, said_at);
                    // The attempt of one who waited was counted when it began to.
                    (u32::from(!waited), 0)
                }
                Kind::Released => {
                    reported.lets_go(&lock, &report.token.unwrap_or_default());
                    (0, 0)
                }
            };
            let tried = attempts + refusals > 0;
            let Some(slot) = slot else {
                if tried {
                    self.known_mut(source).reported.tried_early(lock, attempts, refusals, said_at);
                }
                continue;
            };
            if tried && let Some(contention) = self.contention_mut(slot) {
                contention.tried(Tries::Reported, attempts, refusals, said_at);
            }
            self.adopt_reported(slot, at.0, out);
            out.dirty.push(slot);
        }
        for key in self.known_mut(source).reported.forget_silent(at.0) {
            if let Some(slot) = self.find(source, &key) {
                self.adopt_reported(slot, at.0, out);
                out.dirty.push(slot);
            }
        }
        let waited_for: Vec<Slot> =
            self.known(source).reported.waiting.keys().filter_map(|key| self.find(source, key)).collect();
        for slot in waited_for {
            if !self.records[slot as usize].is_ended() {
                self.count_waiting(slot, true, at.0, out);
            }
        }
    }

    /// Nobody is heard any more.
    pub(super) fn said_unknown(&mut self, source: SourceId, out: &mut Changes) {
        let before = std::mem::take(&mut self.known_mut(source).reported);
        for key in before.waiting.keys() {
            if let Some(slot) = self.find(source, key) {
                let record = &mut self.records[slot as usize];
                if let Some(rare) = &mut record.rare {
                    rare.reported = 0;
                }
                record.starves = false;
                out.dirty.push(slot);
            }
        }
        // Whose they are is not known any more: they may be other answers to who asks by holder.
        out.dirty.extend(before.holding.keys().filter_map(|key| self.find(source, key)));
    }

    /// Notes at a lock that has appeared what was said of it before.
    pub(super) fn adopt_early(&mut self, slot: Slot, at: i64, out: &mut Changes) {
        let record = &self.records[slot as usize];
        let reported = &mut self.sources[usize::from(record.source.0)].reported;
        if let Some(tried) = reported.early.remove(&record.key)
            && let Some(contention) = self.contention_mut(slot)
        {
            contention.tried(Tries::Reported, tried.attempts, tried.refusals, tried.at);
        }
        self.adopt_reported(slot, at, out);
    }

    /// Notes at a lock how many say to wait for it.
    fn adopt_reported(&mut self, slot: Slot, at: i64, out: &mut Changes) {
        let record = &self.records[slot as usize];
        let waiting = self.known(record.source).reported.waiting(&record.key);
        let (number, since) = match waiting.iter().map(|waiting| waiting.since).min() {
            Some(since) if !record.is_ended() => (u32::try_from(waiting.len()).unwrap_or(u32::MAX), since),
            _ if record.reported() == 0 => return,
            _ => (0, at),
        };
        let before = record.followed() > 0;
        if before {
            // Those who waited until now, before their number is another.
            self.count_waiting(slot, true, at, out);
        }
        let record = &mut self.records[slot as usize];
        if number > 0 {
            record.waiting_since = if before { record.waiting_since.min(since) } else { since };
        }
        record.rare.get_or_insert_default().reported = number;
        if !before {
            self.count_waiting(slot, false, at, out);
        } else if record.waiting() == 0 {
            record.starves = false;
        }
    }
}

/// A client's own words about who it is, added where nothing better is known.
pub(super) fn complete(identity: &mut Identity, said: &SaidIdentity) {
    let text = |text: &Option<String>| text.as_deref().map(words::shown);
    identity.host = identity.host.take().or_else(|| text(&said.host));
    identity.pid = identity.pid.or(said.pid);
    identity.thread = identity.thread.take().or_else(|| text(&said.thread));
    identity.client_name = identity.client_name.take().or_else(|| text(&said.name));
}

/// The same as a sentence; `None` where it said nothing.
pub(super) fn sentence(said: &SaidIdentity) -> Option<String> {
    let parts = [
        said.name.as_deref().map(words::shown),
        said.host.as_deref().map(|host| format!("host {}", words::shown(host))),
        said.pid.map(|pid| format!("pid {pid}")),
        said.thread.as_deref().map(|thread| format!("thread {}", words::shown(thread))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("says of itself: {}", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{Lock, WaitersBasis};

    use super::super::tests::World;
    use super::*;
    use crate::source::{Hint, Report as Seen, Surroundings, WaitersSeen};

    const SOURCE: SourceId = SourceId(0);

    fn report(kind: Kind, lock: &str, attempt: &str) -> Report {
        Report {
            kind,
            lock: lock.into(),
            token: None,
            attempt: attempt.to_owned(),
            waited_ms: Some(0),
            identity: SaidIdentity {
                host: Some("web-1".to_owned()),
                pid: Some(42),
                thread: Some("task 7".to_owned()),
                name: Some("billing\u{202e}".to_owned()),
            },
        }
    }

    fn acquired(lock: &str, attempt: &str, token: &str) -> Report {
        Report { token: Some(token.into()), ..report(Kind::Acquired, lock, attempt) }
    }

    impl World {
        fn say(&mut self, reports: impl IntoIterator<Item = Report>) {
            let at = Time(self.now);
            let said = reports.into_iter().map(|report| Said { at, report }).collect();
            self.apply(Seen::Said { said, at });
        }

        fn shown(&self, key: &str) -> Lock {
            let slot = self.registry.find(SOURCE, key.as_bytes()).unwrap();
            let record = self.registry.record(slot).unwrap();
            self.registry.lock(record, Time(self.now), Surroundings::default(), true)
        }

        fn held_by(token: &str) -> World {
            let mut world = World::new();
            world.scan();
            world.take("lock:a", token, Some(600_000));
            world.notice("lock:a", Hint::New);
            world.apply(Seen::Waiting { counts: Vec::new(), at: Time(world.now) });
            world
        }
    }

    #[test]
    fn who_says_to_wait_is_shown_with_name_and_time_until_it_has_the_lock() {
        let mut world = World::held_by("t1");
        assert_eq!(world.shown("lock:a").waiters.basis, WaitersBasis::Inferred);
        let waits = Report { waited_ms: Some(4_000), ..report(Kind::Waiting, "lock:a", "attempt-1") };
        world.say([waits, report(Kind::Waiting, "lock:a", "attempt-2")]);
        world.wait(1_000);
        world.say([]);
        let waiters = world.shown("lock:a").waiters;
        assert_eq!((waiters.count, waiters.basis), (Some(2), WaitersBasis::Reported));
        assert_eq!((waiters.longest_wait_ms, waiters.ordered), (Some(5_000), false));
        let first = &waiters.list[0];
        assert_eq!(first.reported.as_ref().unwrap().attempt, "attempt-1");
        assert_eq!(first.identity.host.as_deref(), Some("web-1"));
        assert_eq!(first.identity.client_name.as_deref(), Some("billing\\u{202e}"));

        world.say([report(Kind::GaveUp, "lock:a", "attempt-1"), acquired("lock:a", "attempt-2", "t2")]);
        let lock = world.shown("lock:a");
        assert_eq!((lock.waiters.count, lock.waiters.list.len()), (Some(0), 0));
        assert_eq!(lock.holders[0].identity.host, None, "a report of another token is of another hold");
        let contention = lock.contention.unwrap();
        assert_eq!((contention.blocked_ms, contention.blocked_basis), (Some(2_000), WaitersBasis::Reported));
        assert_eq!((contention.attempts, contention.refusals), (Some(2), Some(2)));
    }

    #[test]
    fn a_waiter_that_falls_silent_is_gone_and_one_that_repeats_itself_counts_once() {
        let mut world = World::held_by("t1");
        world.say([report(Kind::Waiting, "lock:a", "attempt-1"), report(Kind::Waiting, "lock:a", "attempt-2")]);
        world.wait(10_000);
        world.say([report(Kind::Waiting, "lock:a", "attempt-1")]);
        world.wait(5_001);
        world.say([]);
        let lock = world.shown("lock:a");
        assert_eq!(lock.waiters.count, Some(1));
        assert_eq!(lock.contention.unwrap().attempts, Some(2));
        world.wait(10_000);
        world.say([]);
        assert_eq!(world.shown("lock:a").waiters.list.len(), 0);
        assert_eq!(world.registry.known(SOURCE).reported.waiters, 0);
    }

    #[test]
    fn what_was_counted_and_what_was_said_are_both_told() {
        let mut world = World::held_by("t1");
        world.say([report(Kind::Waiting, "lock:a", "attempt-1")]);
        let counts = vec![("lock:a".into(), WaitersSeen { count: 3 })];
        world.apply(Seen::Waiting { counts, at: Time(world.now) });
        let waiters = world.shown("lock:a").waiters;
        assert_eq!((waiters.count, waiters.basis, waiters.list.len()), (Some(3), WaitersBasis::Inferred, 1));
        assert!(waiters.because.ends_with("; 1 say so themselves"), "{}", waiters.because);
        world.apply(Seen::Waiting { counts: Vec::new(), at: Time(world.now) });
        assert_eq!(world.shown("lock:a").waiters.count, Some(1));
        world.apply(Seen::SaidUnknown);
        let waiters = world.shown("lock:a").waiters;
        assert_eq!((waiters.count, waiters.list.len()), (Some(0), 0));
    }

    #[test]
    fn a_report_names_the_holder_of_exactly_its_token_and_makes_no_lock() {
        let mut world = World::held_by("t1");
        world.say([acquired("lock:a", "attempt-1", "t1"), acquired("lock:b", "attempt-2", "t9")]);
        let holder = &world.shown("lock:a").holders[0];
        assert_eq!((holder.identity.pid, holder.identity.thread.as_deref()), (Some(42), Some("task 7")));
        let says = "says of itself: billing\\u{202e}, host web-1, pid 42, thread task 7";
        assert!(holder.evidence.iter().any(|line| line == says), "{:?}", holder.evidence);
        assert_eq!(world.held().len(), 1);
        world.take("lock:a", "t2", Some(9_000));
        world.notice("lock:a", Hint::None);
        assert_eq!(world.shown("lock:a").holders[0].identity.pid, None);
    }

    #[test]
    fn a_report_that_is_faster_than_the_reading_of_its_lock_counts() {
        let mut world = World::held_by("t1");
        world.say([acquired("lock:b", "attempt-1", "t2"), report(Kind::Waiting, "lock:b", "attempt-2")]);
        world.take("lock:b", "t2", Some(9_000));
        world.notice("lock:b", Hint::New);
        let lock = world.shown("lock:b");
        assert_eq!((lock.holders[0].identity.pid, lock.waiters.count), (Some(42), Some(1)));
        let contention = lock.contention.unwrap();
        assert_eq!((contention.attempts, contention.refusals), (Some(2), Some(1)));
        assert!(world.registry.known(SOURCE).reported.early.is_empty());
    }

    #[test]
    fn those_who_wait_through_a_change_of_hands_are_waiting_still_and_their_time_adds_up() {
        let mut world = World::held_by("t1");
        world.say([report(Kind::Waiting, "lock:a", "attempt-1")]);
        world.wait(2_000);
        world.store.clear();
        world.notice("lock:a", Hint::Deleted);
        world.take("lock:a", "t2", Some(9_000));
        world.notice("lock:a", Hint::New);
        world.wait(3_000);
        world.say([]);
        let lock = world.shown("lock:a");
        assert_eq!(lock.waiters.count, Some(1));
        let contention = lock.contention.unwrap();
        assert_eq!((contention.blocked_ms, contention.hand_overs), (Some(5_000), 1));
    }

    #[test]
    fn no_number_of_reports_takes_more_than_its_place() {
        let mut world = World::held_by("t1");
        for n in 0..2 * MAX_WAITERS_OF_ONE {
            world.say([report(Kind::Waiting, "lock:a", &format!("attempt-{n}"))]);
        }
        for n in 0..2 * MAX_HOLDERS_OF_ONE {
            world.say([acquired("lock:a", &format!("taken-{n}"), &n.to_string())]);
        }
        let reported = &world.registry.known(SOURCE).reported;
        assert_eq!((reported.waiters, reported.holders), (MAX_WAITERS_OF_ONE, MAX_HOLDERS_OF_ONE));
        assert_eq!(world.shown("lock:a").waiters.list.len(), 100);
        world.wait(SEEN_WITHIN_MS + 1);
        world.apply(Seen::Confirmed { at: Time(world.now) });
        assert_eq!(world.registry.known(SOURCE).reported.holders, 0);
    }
}
