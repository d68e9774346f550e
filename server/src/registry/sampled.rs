//! What traces showed: who wanted a lock and how often it was tried for, and whose connection took or renewed it. That is
//! true of the seconds of the sample. So who wanted it is told with that time, and for a minute only; and a connection
//! is named for as long as the very hold lasts in which it was seen.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockkeeper_model::{
    ClientFacts, Contention, Deed, Identity, Time, TraceReport, TracedDeed, TracedLock, Waiter, words,
};

use super::contention::Tries;
use super::record::{Hold, Record, Sampled, Slot};
use super::{Changes, Registry};
use crate::source::SourceId;

/// For how long a sample is told of after it ended, in milliseconds: whoever started it has read it by then, and those who
/// wanted the lock may have it, or have given up.
pub(super) const TOLD_FOR_MS: i64 = 60_000;

/// So many refusals a second at one lock are a load on the store: ten clients that try every 100 ms, or one that tries
/// every 10 ms.
const STORM_PER_SECOND: i64 = 100;

/// A shorter sample tells no rate, in milliseconds: one refusal in it would be hundreds a second.
const SHORTEST_RATE_MS: i64 = 500;

/// The two clocks that a command's time was told by may differ by this much, in milliseconds.
const CLOCK_SLACK_MS: i64 = 50;

/// Locks of which a sample is kept, per source: those of ten traces.
const MAX_SAMPLES: usize = 2_000;

/// Holds whose connection is kept, per source: some megabytes.
const MAX_HOLDS: usize = 10_000;

/// What traces of one source showed.
#[derive(Debug, Default)]
pub(super) struct Samples {
    locks: HashMap<Box<[u8]>, Sample>,
    /// By the hold's generation.
    holds: HashMap<u64, SampledHold>,
}

/// What one trace showed of one lock.
#[derive(Debug)]
pub(super) struct Sample {
    from: Time,
    to: Time,
    lock: TracedLock,
}

/// The connection that took or renewed a hold.
#[derive(Debug)]
pub(super) struct SampledHold {
    slot: Slot,
    deed: Deed,
    address: String,
    client: Option<ClientFacts>,
    /// Further connections that did so with the same token.
    others: usize,
    sampled_at: Time,
}

impl Samples {
    /// The connection that was seen to take or renew this hold.
    pub(super) fn holding(&self, generation: u64) -> Option<&SampledHold> {
        self.holds.get(&generation)
    }

    /// Leaves out what is too long ago, and the holds that are over.
    pub(super) fn forget(&mut self, now: i64, holds: impl Fn(Slot, u64) -> bool) {
        self.locks.retain(|_, sample| now - sample.to.0 <= TOLD_FOR_MS);
        self.holds.retain(|&generation, hold| holds(hold.slot, generation));
    }

    fn keep(&mut self, key: Vec<u8>, sample: Sample) -> bool {
        let has_room = self.locks.len() < MAX_SAMPLES || self.locks.contains_key(key.as_slice());
        if has_room {
            self.locks.insert(key.into(), sample);
        }
        has_room
    }
}

impl Record {
    /// What a sample showed is too long ago.
    pub(super) fn forget_sample(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.sampled = None;
        }
        self.starves &= self.waiting() > 0;
    }
}

impl Registry {
    /// Folds in what a trace saw.
    pub(super) fn traced(&mut self, source: SourceId, report: &TraceReport, out: &mut Changes) {
        for lock in &report.locks {
            let Ok(key) = lock.id.key() else { continue };
            let Some(slot) = self.find(source, &key) else { continue };
            out.dirty.push(slot);
            self.name_holds(slot, lock, report.to);
            if let Some(contention) = self.contention_mut(slot).filter(|_| lock.attempts > 0) {
                contention.tried(Tries::Sampled, number(lock.attempts), number(lock.refused), report.to.0);
            }
            let sample = Sample { from: report.from, to: report.to, lock: lock.clone() };
            let until = report.to.0 + TOLD_FOR_MS;
            let mark = Sampled { waiters: lock.waiting, storm: sample.is_storm(), until };
            if self.known_mut(source).samples.keep(key, sample) {
                self.records[slot as usize].rare.get_or_insert_default().sampled = Some(mark);
                self.wake(slot, until);
            }
        }
    }

    /// Notes whose connections took or renewed the holds of a lock.
    fn name_holds(&mut self, slot: Slot, lock: &TracedLock, sampled_at: Time) {
        let record = &self.records[slot as usize];
        let samples = &mut self.sources[usize::from(record.source.0)].samples;
        for hold in &record.holds {
            let mut deeds = lock.deeds.iter().filter(|deed| is_of(record, hold, deed));
            // The latest comes first.
            let Some(last) = deeds.next() else { continue };
            let mut others: Vec<&str> = deeds.map(|deed| &*deed.address).filter(|one| *one != last.address).collect();
            others.sort_unstable();
            others.dedup();
            if samples.holds.len() < MAX_HOLDS || samples.holds.contains_key(&hold.generation) {
                let seen = SampledHold {
                    slot,
                    deed: last.deed,
                    address: last.address.clone(),
                    client: last.client.clone(),
                    others: others.len(),
                    sampled_at,
                };
                samples.holds.insert(hold.generation, seen);
            }
        }
    }

    /// What a sample showed of a lock a moment ago.
    pub(super) fn sample(&self, record: &Record) -> Option<&Sample> {
        record.sampled()?;
        self.known(record.source).samples.locks.get(&record.key)
    }
}

/// Whether this was done in this hold. A token that is used again proves it only together with the time.
fn is_of(record: &Record, hold: &Hold, deed: &TracedDeed) -> bool {
    let is_its_token = || {
        let token = deed.token_b64.as_ref().and_then(|token| STANDARD.decode(token).ok());
        token.is_some_and(|token| *token == *hold.token)
    };
    let began = hold.not_before().unwrap_or(hold.since);
    deed.deed != Deed::Released
        && is_its_token()
        && (record.recognition.traits.token_is_one_use || deed.last_at.0 + CLOCK_SLACK_MS >= began)
}

fn number(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl SampledHold {
    /// Adds what is known of the connection where nothing is known yet.
    pub(super) fn complete(&self, identity: &mut Identity) {
        let client = self.client.as_ref();
        identity.client_addr.get_or_insert_with(|| self.address.clone());
        identity.client_name = identity.client_name.take().or_else(|| client?.name.clone());
        identity.user = identity.user.take().or_else(|| client?.user.clone());
    }

    /// The same as a sentence.
    pub(super) fn sentence(&self) -> String {
        let others = match self.others {
            0 => String::new(),
            1 => "; 1 other connection used its token".to_owned(),
            n => format!("; {} other connections used its token", words::count(n as u64)),
        };
        let who = self.client.as_ref().map(|client| client.says()).filter(|says| !says.is_empty());
        let who = who.map(|who| format!(" ({who})")).unwrap_or_default();
        format!("sampled at {}: {}{who} {}{others}", self.sampled_at, self.address, self.deed.word())
    }
}

impl Sample {
    fn over_ms(&self) -> i64 {
        self.to.since(self.from).max(1)
    }

    fn per_second(&self, count: u64) -> u32 {
        let over_ms = self.over_ms() as u64;
        number((count.saturating_mul(1_000) + over_ms / 2) / over_ms)
    }

    fn is_storm(&self) -> bool {
        self.over_ms() >= SHORTEST_RATE_MS && i64::from(self.per_second(self.lock.refused)) >= STORM_PER_SECOND
    }

    /// What the storm is, for the person who has to end it.
    pub(super) fn storm_in_words(&self) -> String {
        let refused = words::count(u64::from(self.per_second(self.lock.refused)));
        let clients = words::count(u64::from(self.lock.waiting));
        let mut rhythms: Vec<i64> = self.lock.trying.iter().filter_map(|one| one.rhythm_ms).collect();
        rhythms.sort_unstable();
        let rhythm = rhythms.get(rhythms.len() / 2);
        let rhythm = rhythm.map(|ms| format!(", in the middle every {}", words::duration(*ms))).unwrap_or_default();
        format!("It was refused {refused} times a second, to {clients} clients{rhythm}; sampled at {}.", self.to)
    }

    /// Adds how often it was tried for.
    pub(super) fn complete(&self, contention: &mut Contention) {
        contention.attempts_per_second = Some(self.per_second(self.lock.attempts));
        contention.refusals_per_second = Some(self.per_second(self.lock.refused));
        contention.sampled_at = Some(self.to);
    }

    /// Those who wanted it, the ones with the most attempts first.
    pub(super) fn waiters(&self) -> Vec<Waiter> {
        let wanting = self.lock.trying.iter().filter(|one| one.waiting);
        wanting
            .map(|one| {
                let client = one.client.clone().unwrap_or_default();
                Waiter {
                    token: None,
                    token_b64: None,
                    identity: Identity {
                        client_addr: Some(one.address.clone()),
                        client_name: client.name,
                        user: client.user,
                        ..Identity::NOBODY
                    },
                    expires_at: None,
                    abandoned: None,
                    reported: None,
                }
            })
            .collect()
    }

    /// What the number of those who wanted it counts.
    pub(super) fn waiters_because(&self) -> String {
        format!(
            "client addresses that wanted it in {} of traffic, sampled at {}; who waits now is not known",
            words::duration(self.over_ms()),
            self.to
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lockkeeper_model::{Flag, Lock, LockId, TraceEnd, TracedClient, WaitersBasis, WaitsBy, encode_token};

    use super::super::tests::World;
    use super::*;
    use crate::source::{Hint, Report, Surroundings, WaitersSeen};

    const SOURCE: SourceId = SourceId(0);

    fn client(name: &str) -> Option<ClientFacts> {
        let known = |text: &str| Some(text.to_owned());
        Some(ClientFacts {
            name: known(name),
            user: known("app"),
            library: known("redis-py"),
            library_version: known("5.0.1"),
            age_s: Some(7),
            command: known("set"),
        })
    }

    /// One that was refused so often, every 40 ms.
    fn trying(port: u32, refused: u64, at: i64) -> TracedClient {
        TracedClient {
            address: format!("10.0.0.4:{port}"),
            client: client(&format!("waiter-{port}")),
            waiting: true,
            waits_by: vec![WaitsBy::Polling],
            attempts: refused,
            taken: 0,
            refused,
            unclear: 0,
            looks: 0,
            rhythm_ms: Some(40),
            first_at: Time(at - 3_000),
            last_at: Time(at),
            says: String::new(),
        }
    }

    fn deed(deed: Deed, port: u32, token: &str, at: i64) -> TracedDeed {
        let (token, token_b64) = encode_token(token.as_bytes());
        let address = format!("10.0.0.5:{port}");
        TracedDeed {
            deed,
            address,
            client: client("holder"),
            token,
            token_b64: Some(token_b64),
            count: 1,
            last_at: Time(at),
            says: String::new(),
        }
    }

    impl World {
        fn locked(token: &str) -> World {
            let mut world = World::new();
            world.scan();
            world.take("lock:a", token, Some(600_000));
            world.notice("lock:a", Hint::New);
            world
        }

        /// A sample of three seconds that ends now.
        fn traced(&mut self, trying: Vec<TracedClient>, deeds: Vec<TracedDeed>) {
            let attempts = trying.iter().map(|one| one.attempts).sum();
            let refused = trying.iter().map(|one| one.refused).sum();
            let lock = TracedLock {
                id: LockId::of_key(b"lock:a"),
                node: None,
                attempts,
                taken: 0,
                refused,
                unclear: 0,
                attempts_per_second: 0.0,
                refusals_per_second: 0.0,
                waiting: trying.len() as u32,
                trying,
                clients_not_counted: 0,
                deeds,
                attempts_not_counted: 0,
                says: String::new(),
            };
            let elsewhere = TracedLock { id: LockId::of_key(b"lock:nowhere"), ..lock.clone() };
            self.apply(Report::Traced(Arc::new(TraceReport {
                source: "s".to_owned(),
                lock: None,
                from: Time(self.now - 3_000),
                to: Time(self.now),
                ended: TraceEnd::Complete,
                ended_because: String::new(),
                commands: 100,
                bytes: 10_000,
                unreadable: 0,
                cost: String::new(),
                largest_delay_ms: 1,
                locks: vec![lock, elsewhere],
                locks_not_counted: 0,
                already_blocked: None,
                missing: Vec::new(),
                nodes: Vec::new(),
            })));
        }

        fn lock(&self) -> Lock {
            let slot = self.registry.find(SOURCE, b"lock:a").unwrap();
            let record = self.registry.record(slot).unwrap();
            self.registry.lock(record, Time(self.now), Surroundings::default(), true)
        }

        /// Time passes until whatever is due is done.
        fn pass(&mut self, ms: i64) {
            self.wait(ms);
            self.registry.tick(Time(self.now), &mut self.changes);
        }
    }

    #[test]
    fn who_was_refused_is_told_with_the_time_of_the_sample_and_not_for_long() {
        let mut world = World::locked("t1");
        world.wait(5_000);
        world.traced(vec![trying(1, 75, world.now), trying(2, 60, world.now)], Vec::new());
        let sampled_at = world.now;
        world.pass(TOLD_FOR_MS - 1);
        let lock = world.lock();
        assert_eq!((lock.waiters.count, lock.waiters.basis), (Some(2), WaitersBasis::Sampled));
        assert!(lock.waiters.because.contains(&format!("sampled at {}", Time(sampled_at))), "{lock:#?}");
        assert_eq!(lock.waiters.list[0].identity.client_name.as_deref(), Some("waiter-1"));
        assert_eq!(lock.waiters.list[1].identity.client_addr.as_deref(), Some("10.0.0.4:2"));
        let contention = lock.contention.unwrap();
        assert_eq!((contention.attempts, contention.refusals), (Some(135), Some(135)));
        assert_eq!((contention.attempts_per_second, contention.refusals_per_second), (Some(45), Some(45)));
        assert_eq!(contention.attempts_basis, Some(WaitersBasis::Sampled));
        assert_eq!(contention.sampled_at, Some(Time(sampled_at)));
        assert_eq!(contention.blocked_ms, None, "a moment is no time that anybody was seen waiting in");

        world.changes.dirty.clear();
        world.pass(10);
        assert!(!world.changes.dirty.is_empty(), "whoever looks at it is told");
        let lock = world.lock();
        assert_eq!((lock.waiters.count, lock.waiters.basis, lock.waiters.list.len()), (None, WaitersBasis::Unknown, 0));
        let contention = lock.contention.unwrap();
        assert_eq!(
            (contention.refusals, contention.refusals_per_second, contention.sampled_at),
            (Some(135), None, None)
        );
    }

    #[test]
    fn what_is_counted_all_the_time_is_better_than_a_sample_unless_it_is_less() {
        let mut world = World::locked("t1");
        let count = |world: &mut World, count| {
            let counts = vec![("lock:a".into(), WaitersSeen { count })];
            world.apply(Report::Waiting { counts, at: Time(world.now) });
        };
        count(&mut world, 3);
        world.traced(vec![trying(1, 30, world.now), trying(2, 30, world.now)], Vec::new());
        let waiters = world.lock().waiters;
        assert_eq!((waiters.count, waiters.basis, waiters.list.len()), (Some(3), WaitersBasis::Inferred, 0));
        count(&mut world, 1);
        assert_eq!(world.lock().waiters.basis, WaitersBasis::Sampled);
        // Only the one that is counted adds up.
        world.wait(2_000);
        count(&mut world, 1);
        assert_eq!(world.lock().contention.unwrap().blocked_ms, Some(2_000));
    }

    #[test]
    fn a_connection_is_named_while_the_hold_lasts_in_which_it_was_seen() {
        let mut world = World::locked("t1");
        world.wait(5_000);
        let now = world.now;
        let deeds = vec![
            deed(Deed::Renewed, 8, "t1", now),
            deed(Deed::Took, 7, "t1", now - 900),
            deed(Deed::Released, 6, "t1", now - 950),
            deed(Deed::Took, 5, "t0", now - 990),
        ];
        world.traced(Vec::new(), deeds);
        world.pass(10 * TOLD_FOR_MS - 20_000);
        world.apply(Report::Confirmed { at: Time(world.now) });
        let holder = &world.lock().holders[0];
        assert_eq!(holder.identity.client_addr.as_deref(), Some("10.0.0.5:8"));
        assert_eq!(
            (holder.identity.client_name.as_deref(), holder.identity.user.as_deref()),
            (Some("holder"), Some("app"))
        );
        let says = format!(
            "sampled at {}: 10.0.0.5:8 (holder, user app, redis-py 5.0.1, connected for 7.0 s) renewed it; 1 other \
             connection used its token",
            Time(now)
        );
        assert!(holder.evidence.contains(&says), "{:#?}", holder.evidence);

        world.take("lock:a", "t2", Some(600_000));
        world.notice("lock:a", Hint::None);
        assert_eq!(world.lock().holders[0].identity, Identity::NOBODY);
        world.wait(20_000);
        world.apply(Report::Confirmed { at: Time(world.now) });
        assert!(world.registry.known(SOURCE).samples.holds.is_empty());
        assert!(world.registry.known(SOURCE).samples.locks.is_empty());
    }

    #[test]
    fn a_value_that_names_nobody_names_no_connection() {
        let mut world = World::locked("1");
        world.traced(Vec::new(), vec![deed(Deed::Took, 7, "1", world.now)]);
        assert_eq!(world.lock().holders[0].identity, Identity::NOBODY);
    }

    #[test]
    fn many_that_try_in_a_tight_rhythm_are_a_storm_for_as_long_as_it_is_told_of() {
        let mut world = World::locked("t1");
        world.wait(5_000);
        world.traced((1..=3).map(|port| trying(port, 75, world.now)).collect(), Vec::new());
        assert!(!world.lock().flags.contains(&Flag::PollStorm), "75 a second are bearable");
        world.traced((1..=12).map(|port| trying(port, 75, world.now)).collect(), Vec::new());
        let lock = world.lock();
        let note = lock.flag_notes.iter().find(|note| note.flag == Flag::PollStorm).unwrap();
        let says = format!(
            "It was refused 300 times a second, to 12 clients, in the middle every 40 ms; sampled at {}.",
            Time(world.now)
        );
        assert_eq!(note.what, says);
        world.pass(TOLD_FOR_MS + 10);
        assert!(!world.lock().flags.contains(&Flag::PollStorm));
    }

    #[test]
    fn a_sample_of_a_moment_tells_no_rate() {
        let moment = |over_ms| {
            let lock = TracedLock {
                id: LockId::of_key(b"k"),
                node: None,
                attempts: 60,
                taken: 0,
                refused: 60,
                unclear: 0,
                attempts_per_second: 0.0,
                refusals_per_second: 0.0,
                waiting: 1,
                trying: Vec::new(),
                clients_not_counted: 0,
                deeds: Vec::new(),
                attempts_not_counted: 0,
                says: String::new(),
            };
            Sample { from: Time(0), to: Time(over_ms), lock }
        };
        assert!(moment(SHORTEST_RATE_MS).is_storm());
        assert!(!moment(SHORTEST_RATE_MS - 1).is_storm() && !moment(0).is_storm());
    }
}
