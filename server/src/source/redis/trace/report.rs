//! What a trace says.

use std::collections::HashMap;

use lockkeeper_model::{
    ClientFacts, Deed, LockId, MissingPermission, Time, TraceEnd, TraceReport, TracedClient, TracedDeed, TracedLock,
    WaitsBy, encode_token, words,
};

use super::clients::Clients;
use super::fold::{Fold, Spoken, Token};
use super::outcome::{Outcome, Reading, Wanting, conclude};
use super::run::Read;
use crate::source::traces::cost;

/// Addresses that are named for one lock; a person reads some ten.
const MAX_CLIENTS_PER_LOCK: usize = 100;

/// Deeds that are named for one lock.
const MAX_DEEDS_PER_LOCK: usize = 100;

/// The frame of a report.
pub(super) struct Sample<'a> {
    pub(super) source: String,
    pub(super) only: Option<&'a [u8]>,
    pub(super) from: Time,
    pub(super) to: Time,
    pub(super) ended: TraceEnd,
    pub(super) ended_because: String,
    pub(super) bytes: u64,
    pub(super) largest_delay_us: i64,
    pub(super) already_blocked: Option<u32>,
    pub(super) missing: Vec<MissingPermission>,
    /// What our clock shows more than the store's, in microseconds.
    pub(super) shift_us: i64,
}

/// Concludes what became of everything.
pub(super) fn report<K: Fn(&[u8]) -> bool>(
    mut fold: Fold<K>,
    readings: HashMap<u32, Read>,
    clients: &Clients,
    sample: Sample<'_>,
) -> TraceReport {
    let readings: HashMap<u32, Reading> = readings
        .into_iter()
        .filter_map(|(number, read)| match read {
            Read::Not(reading) => Some((number, reading)),
            Read::Text(value, left) => Some((number, Reading::Held { token: fold.tokens.id(&*value)?, left })),
        })
        .collect();
    let teller = Teller { fold: &fold, clients, sample: &sample };
    let mut locks: Vec<TracedLock> = fold
        .locks
        .iter()
        .map(|lock| teller.lock(lock, conclude(&lock.steps, &readings)))
        .filter(|lock| lock.attempts > 0 || !lock.deeds.is_empty() || !lock.trying.is_empty() || sample.only.is_some())
        .collect();
    locks.sort_by(|a, b| b.attempts.cmp(&a.attempts).then_with(|| a.id.as_str().cmp(b.id.as_str())));
    TraceReport {
        lock: sample.only.map(LockId::of_key),
        commands: fold.commands,
        unreadable: fold.unreadable,
        locks_not_counted: fold.uncounted(),
        locks,
        source: sample.source,
        from: sample.from,
        to: sample.to,
        ended: sample.ended,
        ended_because: sample.ended_because,
        bytes: sample.bytes,
        cost: cost(fold.commands, sample.bytes, in_ms(sample.largest_delay_us)),
        largest_delay_ms: in_ms(sample.largest_delay_us),
        already_blocked: sample.already_blocked,
        missing: sample.missing,
        nodes: Vec::new(),
    }
}

/// Microseconds in milliseconds, rounded up: what took some time did not take none.
fn in_ms(us: i64) -> i64 {
    us / 1_000 + i64::from(us % 1_000 > 0)
}

/// Turns numbers into names.
struct Teller<'a, K> {
    fold: &'a Fold<K>,
    clients: &'a Clients,
    sample: &'a Sample<'a>,
}

impl<K: Fn(&[u8]) -> bool> Teller<'_, K> {
    fn lock(&self, lock: &Spoken, outcome: Outcome) -> TracedLock {
        let sum = |part: fn(&Wanting) -> u64| outcome.wanting.values().map(part).sum::<u64>();
        let (taken, refused, unclear) = (sum(|one| one.taken), sum(|one| one.refused), sum(|one| one.unclear));
        let seconds = ((self.sample.to.0 - self.sample.from.0) as f64 / 1_000.0).max(0.001);
        let per_second = |count: u64| (count as f64 / seconds * 10.0).round() / 10.0;
        let all = outcome.wanting.len();
        let mut trying: Vec<TracedClient> =
            outcome.wanting.iter().filter_map(|(&who, wanting)| self.wanting(who, wanting)).collect();
        trying
            .sort_by(|a, b| (b.attempts, b.looks).cmp(&(a.attempts, a.looks)).then_with(|| a.address.cmp(&b.address)));
        trying.truncate(MAX_CLIENTS_PER_LOCK);
        let mut deeds: Vec<TracedDeed> = outcome
            .deeds
            .into_iter()
            .filter_map(|((deed, who, token), done)| self.deed(deed, who, token, done.count, done.last_us))
            .collect();
        deeds.sort_by(|a, b| b.last_at.cmp(&a.last_at).then_with(|| (a.deed, &a.address).cmp(&(b.deed, &b.address))));
        deeds.truncate(MAX_DEEDS_PER_LOCK);
        let mut traced = TracedLock {
            id: LockId::of_key(&lock.key),
            node: None,
            waiting: u32::try_from(outcome.wanting.values().filter(|one| one.waits()).count()).unwrap_or(u32::MAX),
            attempts: taken + refused + unclear,
            taken,
            refused,
            unclear,
            attempts_per_second: per_second(taken + refused + unclear),
            refusals_per_second: per_second(refused),
            clients_not_counted: (all - trying.len()) as u64,
            trying,
            deeds,
            attempts_not_counted: lock.not_counted,
            says: String::new(),
        };
        traced.says = say_tries(&traced, self.sample.to.since(self.sample.from));
        traced
    }

    fn wanting(&self, who: u32, wanting: &Wanting) -> Option<TracedClient> {
        let address = self.fold.addresses.get(who)?;
        let polls = wanting.attempts() + wanting.looks > 1;
        let ways =
            [(polls, WaitsBy::Polling), (wanting.blocks, WaitsBy::Blocking), (wanting.listens, WaitsBy::Listening)];
        let mut traced = TracedClient {
            address: words::shown(address),
            client: self.clients.at(address).cloned(),
            waiting: wanting.waits(),
            waits_by: ways.into_iter().filter_map(|(does, way)| does.then_some(way)).collect(),
            attempts: wanting.attempts(),
            taken: wanting.taken,
            refused: wanting.refused,
            unclear: wanting.unclear,
            looks: wanting.looks,
            rhythm_ms: wanting.rhythm_us().map(in_ms),
            first_at: self.time(wanting.first_us),
            last_at: self.time(wanting.last_us),
            says: String::new(),
        };
        traced.says = say_client(&traced);
        Some(traced)
    }

    fn deed(&self, deed: Deed, who: u32, token: Option<Token>, count: u64, last_us: i64) -> Option<TracedDeed> {
        let address = self.fold.addresses.get(who)?;
        let (token, token_b64) = match token.and_then(|token| self.fold.tokens.get(token)) {
            Some(token) => {
                let (text, b64) = encode_token(token);
                (text, Some(b64))
            }
            None => (None, None),
        };
        let (client, last_at) = (self.clients.at(address).cloned(), self.time(last_us));
        let address = words::shown(address);
        let who = named(&address, client.as_ref());
        let says = format!("{who} {}, {}, last at {last_at}", deed.word(), times(count));
        Some(TracedDeed { deed, address, client, token, token_b64, count, last_at, says })
    }

    fn time(&self, store_us: i64) -> Time {
        Time(store_us.saturating_add(self.sample.shift_us) / 1_000)
    }
}

/// An address, with what the store knows of the client there.
fn named(address: &str, client: Option<&ClientFacts>) -> String {
    match client.map(ClientFacts::says).filter(|says| !says.is_empty()) {
        Some(says) => format!("{address} ({says})"),
        None => address.to_owned(),
    }
}

fn times(n: u64) -> String {
    if n == 1 { "once".to_owned() } else { format!("{} times", words::count(n)) }
}

/// What came of attempts, as far as anything did.
fn say_outcome(taken: u64, refused: u64, unclear: u64) -> String {
    let parts = [(taken, "took it"), (refused, "refused"), (unclear, "of unknown outcome")];
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", words::count(*n)));
    parts.collect::<Vec<_>>().join(", ")
}

fn say_tries(lock: &TracedLock, over_ms: i64) -> String {
    let over = words::duration(over_ms);
    if lock.attempts == 0 {
        return format!("nobody tried to take it in {over}");
    }
    let outcome = say_outcome(lock.taken, lock.refused, lock.unclear);
    let (tried, rate) = (times(lock.attempts), lock.attempts_per_second);
    format!("tried for {tried} in {over}, {rate} a second: {outcome}")
}

fn say_client(client: &TracedClient) -> String {
    let mut parts = Vec::new();
    if client.attempts > 0 {
        let outcome = say_outcome(client.taken, client.refused, client.unclear);
        parts.push(format!("tried {} ({outcome})", times(client.attempts)));
    }
    parts.extend(client.rhythm_ms.map(|ms| format!("every {}", words::duration(ms))));
    for (way, what) in
        [(WaitsBy::Blocking, "blocks on its signal list"), (WaitsBy::Listening, "listens on its channel")]
    {
        parts.extend(client.waits_by.contains(&way).then(|| what.to_owned()));
    }
    if client.looks > 0 {
        parts.push(format!("looked at it {}", times(client.looks)));
    }
    format!("{} {}", named(&client.address, client.client.as_ref()), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_of_in_one_sentence() {
        let mut client = TracedClient {
            address: "10.0.0.4:51234".to_owned(),
            client: Some(ClientFacts {
                name: Some("worker-3".to_owned()),
                user: Some("app".to_owned()),
                library: Some("redis-py".to_owned()),
                library_version: Some("5.0.1".to_owned()),
                age_s: Some(90),
                command: None,
            }),
            waiting: true,
            waits_by: vec![WaitsBy::Polling],
            attempts: 75,
            taken: 0,
            refused: 74,
            unclear: 1,
            looks: 0,
            rhythm_ms: Some(40),
            first_at: Time(0),
            last_at: Time(0),
            says: String::new(),
        };
        assert_eq!(
            say_client(&client),
            "10.0.0.4:51234 (worker-3, user app, redis-py 5.0.1, connected for 1 m 30 s) tried 75 times (74 refused, \
             1 of unknown outcome), every 40 ms"
        );
        (client.client, client.attempts, client.looks, client.rhythm_ms) = (None, 0, 1, None);
        client.waits_by = vec![WaitsBy::Blocking];
        assert_eq!(say_client(&client), "10.0.0.4:51234 blocks on its signal list, looked at it once");
    }
}
