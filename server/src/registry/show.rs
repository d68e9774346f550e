//! A record in the words of the contract and of the app.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lockkeeper_model::wire::{Ended, Row};
use lockkeeper_model::{
    Basis, Bounds, Connection, DialectInfo, FencingToken, Holder, Identity, Lease, LeaseKind, Lock, LockId, LockState,
    Mode, Quorum, Renewals, ReportedWait, Signs, Stored, StoredEntry, Time, Verdict, Waiter, Waiters, WaitersBasis,
    encode_token, judge, missed_beats, words,
};

use super::Registry;
use super::record::{Hold, NEVER, Record, Slot, UNCOUNTED, waiter_generation};
use super::reported::{self, Waiting};
use crate::source::operator_hold::OperatorHold;
use crate::source::{Act, ClientSeen, Queued, ReleaseOrder, Surroundings};

/// Reported waiters of one lock that are listed, the longest waiting first; their number is told in any case.
const MAX_LISTED: usize = 100;

impl Registry {
    /// A generation in its public, opaque form.
    #[must_use]
    pub fn generation(&self, generation: u64) -> String {
        // An odd multiplier is a bijection: equal texts mean equal generations of one run.
        format!("{:016x}", generation.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.salt)
    }

    /// The lock as the contract describes it; `with_stored` with all that is only told of one lock.
    #[must_use]
    pub fn lock(&self, record: &Record, now: Time, around: Surroundings, with_stored: bool) -> Lock {
        let flags = self.flags(record, now, around);
        let holders: Vec<Holder> = record.holds.iter().map(|hold| self.holder(record, hold, now)).collect();
        let earliest = record.holds.iter().min_by_key(|hold| hold.since);
        let first = record.holds.first().map_or(&[][..], |hold| &hold.token);
        let quorum = record.quorum().map(|quorum| quorum.shown(first, now));
        Lock {
            source: self.source_name(record.source).to_owned(),
            id: LockId::of_key(&record.key),
            name: name(record),
            keys: keys(record).iter().map(|key| LockId::of_key(key)).collect(),
            mode: record.mode,
            state: record.state,
            dialect: DialectInfo {
                name: record.recognition.dialect.to_owned(),
                certainty: record.recognition.certainty,
                because: record.recognition.because.to_owned(),
            },
            held_since: earliest.map_or(Bounds { not_before: None, not_after: None, basis: Basis::FirstSeen }, since),
            lease: lease(record.expires(), now),
            holders,
            permits: record.extra.as_ref().and_then(|extra| extra.permits),
            generation: self.generation(record.generation()),
            waiters: self.waiters(record),
            contention: self.contention(record),
            flag_notes: if with_stored { self.flag_notes(record, &flags) } else { Vec::new() },
            flags,
            notes: notes(record, quorum.as_ref()),
            no_release: record.recognition.traits.no_release.map(str::to_owned),
            quorum,
            stored: with_stored.then(|| stored(record)),
            as_of: Time(self.known_as_of(record)),
        }
    }

    /// It was last read before something was missed, and has not been read again.
    pub(super) fn is_unseen_since_gap(&self, record: &Record) -> bool {
        let known = self.known(record.source);
        !known.complete && known.gaps.back().is_some_and(|(gap, _)| record.as_of < gap.0)
    }

    /// Until when this is known to be so: the last reading, or, while every change is heard of, the last moment at which
    /// all changes had been.
    fn known_as_of(&self, record: &Record) -> i64 {
        let known = self.known(record.source);
        let confirmed = known.confirmed_at.filter(|_| known.complete).map_or(i64::MIN, |at| at.0);
        record.as_of.max(confirmed)
    }

    /// For each holder the order that would free exactly it.
    #[must_use]
    pub fn release_orders(record: &Record) -> Vec<ReleaseOrder> {
        let token_is_one_use = record.recognition.traits.token_is_one_use;
        record
            .holds
            .iter()
            .map(|hold| ReleaseOrder {
                key: Bytes::copy_from_slice(&record.key),
                keys: keys(record),
                dialect: record.recognition.dialect,
                token: Bytes::copy_from_slice(&hold.token),
                mode: mode(record, hold),
                count: hold.count,
                stamp: hold.extra.as_ref().and_then(|extra| extra.stamp.clone()),
                fencing: hold.extra.as_ref().and_then(|extra| extra.fencing.clone()).filter(|_| !token_is_one_use),
                expires_not_after: (hold.expires != NEVER).then_some(Time(hold.expires)),
                act: Act::Release,
            })
            .collect()
    }

    /// The waiter that keeps everybody from a lock that nobody holds, in the form of a holder, and the order that would
    /// take exactly it out of the queue; `None` where that is not offered.
    #[must_use]
    pub fn eviction(&self, record: &Record, now: Time) -> Option<(Holder, ReleaseOrder)> {
        let traits = record.recognition.traits;
        if traits.evict_waiter.is_none() || record.state != LockState::WaitingOnly || !record.holds.is_empty() {
            return None;
        }
        let head = record.queue()?.waiters.first()?;
        let (token, token_b64) = encode_token(&head.token);
        let ends = head.expires_at_ms.map(Time);
        let (verdict, evidence) = match head.abandoned {
            Some(true) => (Verdict::Gone, "nobody listens on the channel on which this waiter would be woken"),
            Some(false) => (Verdict::Alive, "somebody listens on the channel on which this waiter is woken"),
            None => (Verdict::Unknown, "whether anybody is behind its place in the queue is not known"),
        };
        let holder = Holder {
            token,
            token_b64,
            mode: record.mode,
            count: 1,
            identity: (traits.identity)(&head.token),
            connection: None,
            held_since: Bounds { not_before: None, not_after: None, basis: Basis::FirstSeen },
            lease: lease(ends.map_or(NEVER, |at| at.0), now),
            renewals: Renewals::default(),
            fencing_token: None,
            verdict,
            evidence: vec![evidence.to_owned()],
            generation: self.generation(waiter_generation(head)),
        };
        let order = ReleaseOrder {
            key: Bytes::copy_from_slice(&record.key),
            keys: keys(record),
            dialect: record.recognition.dialect,
            token: Bytes::copy_from_slice(&head.token),
            mode: record.mode,
            count: 1,
            expires_not_after: ends,
            stamp: None,
            fencing: None,
            act: Act::Evict,
        };
        Some((holder, order))
    }

    /// The lock as the table shows it.
    #[must_use]
    pub fn row(&self, slot: Slot, record: &Record, now: Time, around: Surroundings) -> Row {
        // What is so of every lock of a store is said of the store.
        let around = Surroundings { down: around.down, ..Surroundings::default() };
        let first = record.holds.first();
        let earliest = record.holds.iter().min_by_key(|hold| hold.since);
        let token = first.map(|hold| encode_token(&hold.token));
        let (waiters, waiters_basis) = self.waiters_known(record);
        let (token, token_b64) = match token {
            Some((Some(text), _)) => (Some(text), None),
            Some((None, b64)) => (None, Some(b64)),
            None => (None, None),
        };
        Row {
            row: record.row(slot),
            source: self.source_name(record.source).to_owned(),
            id: LockId::of_key(&record.key),
            name: name(record),
            dialect: record.recognition.dialect.to_owned(),
            certainty: record.recognition.certainty,
            mode: record.mode,
            state: record.state,
            holders: u32::try_from(record.holds.len()).unwrap_or(u32::MAX),
            permits: record.extra.as_ref().and_then(|extra| extra.permits),
            token,
            token_b64,
            who: first.and_then(|hold| who(&self.identity(record, hold).0)),
            count: first.map_or(0, |hold| hold.count),
            since_not_before: earliest.and_then(Hold::not_before),
            since_not_after: earliest.map_or(record.as_of, |hold| hold.since),
            since_basis: earliest.map_or(Basis::FirstSeen, |hold| hold.basis),
            expires_at: Some(record.expires()).filter(|&at| at != NEVER && first.is_some()),
            lease_ms: first.map(|hold| i64::from(hold.lease_ms)).filter(|&ms| ms > 0),
            renewals: first.map_or(0, |hold| hold.renewals),
            renewed_at: first.and_then(Hold::renewed),
            period_ms: first.map(|hold| i64::from(hold.period_ms)).filter(|&ms| ms > 0),
            connection: first.and_then(|hold| self.connection(record, hold)).map(|(connection, _)| connection),
            waiters,
            waiters_basis,
            waiting_since: record.waits_since(),
            blocked_ms: record
                .contention()
                .map(|contention| i64::try_from(contention.blocked_ms()).unwrap_or(i64::MAX)),
            blocked_by_minute: match record.contention() {
                Some(contention) if contention.blocked_ms() > 0 => contention.blocked_by_minute().collect(),
                _ => Vec::new(),
            },
            flags: self.flags(record, now, around),
            generation: self.generation(record.generation()),
            as_of: self.known_as_of(record),
        }
    }

    /// How a row ended; `None` while it has not.
    #[must_use]
    pub fn ended(slot: Slot, record: &Record) -> Option<Ended> {
        let end = record.end()?;
        Some(Ended { row: record.row(slot), transition: end.transition, at: end.at, held_ms: end.held_ms })
    }

    /// The connection of a holder, where one is known.
    fn connection(&self, record: &Record, hold: &Hold) -> Option<(Connection, Option<&ClientSeen>)> {
        if record.names_nobody() {
            return None;
        }
        let identity = (record.recognition.traits.identity)(&hold.token);
        self.known(record.source).clients.of(&hold.token, &identity, hold.since)
    }

    /// Who has it: what its token says, what a sample showed of the connection that took or renewed this hold, and what a
    /// client that says to have taken it with exactly this token adds, with these two as sentences.
    pub(super) fn identity(&self, record: &Record, hold: &Hold) -> (Identity, Vec<String>) {
        let mut identity = identity(record, hold);
        let mut says = Vec::new();
        // Where equal values prove nothing, neither does a command or a report with that value.
        if record.names_nobody() {
            return (identity, says);
        }
        let known = self.known(record.source);
        if let Some(seen) = known.samples.holding(hold.generation) {
            seen.complete(&mut identity);
            says.push(seen.sentence());
        }
        if let Some(said) = known.reported.holding(&record.key, &hold.token) {
            reported::complete(&mut identity, &said.identity);
            says.extend(reported::sentence(&said.identity));
        }
        (identity, says)
    }

    /// Who a holder is, in words, as far as anything says so.
    #[must_use]
    pub fn who(&self, record: &Record, hold: &Hold) -> Option<String> {
        who(&self.identity(record, hold).0)
    }

    /// What went on around it over the last minutes, and how often it was tried for a moment ago.
    fn contention(&self, record: &Record) -> Option<lockkeeper_model::Contention> {
        let mut shown = record.contention()?.shown(self.waiters_known(record).1);
        if let Some(sample) = self.sample(record) {
            sample.complete(&mut shown);
        }
        Some(shown)
    }

    /// A holder as the contract describes it.
    pub(super) fn holder(&self, record: &Record, hold: &Hold, now: Time) -> Holder {
        let (token, token_b64) = encode_token(&hold.token);
        let mut renewals = Renewals {
            count: hold.renewals,
            last_at: hold.renewed().map(Time),
            period_ms: Some(i64::from(hold.period_ms)).filter(|&ms| ms > 0),
            missed: None,
        };
        renewals.missed = missed_beats(&renewals, now);
        let connection = self.connection(record, hold);
        let (mut identity, said) = self.identity(record, hold);
        let (verdict, mut evidence) = match OperatorHold::of(&hold.token).filter(|_| identity.operator.is_some()) {
            // No program is behind it that could be alive.
            Some(operator) => (Verdict::Unknown, vec![operator.sentence()]),
            None => {
                let signs = Signs {
                    renewals,
                    lease_ms: Some(i64::from(hold.lease_ms)).filter(|&ms| ms > 0),
                    expires_at: Some(hold.expires).filter(|&at| at != NEVER).map(Time),
                    watched_since: Some(Time(hold.since)),
                    connection: connection.as_ref().map(|(connection, _)| connection.clone()),
                };
                let (verdict, evidence) = judge(&signs, now);
                (verdict, evidence.iter().map(ToString::to_string).collect())
            }
        };
        if let Some((connection, client)) = &connection {
            identity.client_name = Some(connection.name.clone());
            if let Some(client) = client {
                identity.client_addr = Some(client.addr.to_string());
                identity.user = Some(client.user.to_string());
            }
        }
        evidence.extend(said);
        if let Some(asked_at) = identity.token_time {
            evidence.push(format!("its token was made at {asked_at}, by its holder's clock"));
        }
        if verdict == Verdict::Unknown
            && let Some(never) = record.recognition.traits.never_renews
        {
            evidence.push(never.to_owned());
        }
        Holder {
            token,
            token_b64,
            mode: mode(record, hold),
            count: hold.count,
            identity,
            held_since: since(hold),
            lease: lease(hold.expires, now),
            renewals,
            fencing_token: hold.extra.as_ref().and_then(|extra| extra.fencing.as_ref()).map(|value| {
                let raised = record.rare.as_ref().and_then(|rare| rare.raised.as_ref());
                let is_raised = raised.is_some_and(|(of, to)| *of == hold.generation && to == value);
                let kind = if is_raised { "raised" } else { "counter" };
                FencingToken { kind: kind.to_owned(), value: value.to_string() }
            }),
            connection: connection.map(|(connection, _)| connection),
            verdict,
            evidence,
            generation: self.generation(hold.generation),
        }
    }

    /// The number of waiters, and how it is known.
    #[must_use]
    pub fn waiters_known(&self, record: &Record) -> (Option<u32>, WaitersBasis) {
        let known = self.known(record.source);
        let counted = record.recognition.traits.waiters_counted && known.waiting.is_some();
        if record.queue().is_some() || record.waiting() > record.counted() {
            (Some(record.waiting()), record.waiting_basis())
        } else if counted && record.waiters != UNCOUNTED {
            (Some(record.waiters), WaitersBasis::Inferred)
        } else {
            // That nobody reports does not mean that nobody waits.
            (None, WaitersBasis::Unknown)
        }
    }

    /// Who is trying to get it.
    pub(super) fn waiters(&self, record: &Record) -> Waiters {
        let (count, basis) = self.waiters_known(record);
        let known = self.known(record.source);
        let said = if record.is_ended() { &[][..] } else { known.reported.waiting(&record.key) };
        let mut list: Vec<Waiter> = record
            .queue()
            .map(|queue| queue.waiters.iter().map(|queued| waiter(record, queued)).collect())
            .unwrap_or_default();
        let mut others: Vec<&Waiting> = Vec::new();
        for waiting in said {
            let b64 = (!waiting.token.is_empty()).then(|| encode_token(&waiting.token).1);
            // One entry of the queue for each attempt: threads of one client may queue under one name.
            match list.iter_mut().find(|one| b64.is_some() && one.token_b64 == b64 && one.reported.is_none()) {
                Some(queued) => says(queued, waiting),
                None => others.push(waiting),
            }
        }
        others.sort_by(|a, b| (a.since, &a.attempt).cmp(&(b.since, &b.attempt)));
        list.extend(others.into_iter().take(MAX_LISTED).map(|waiting| reported_waiter(record, waiting)));
        let sample = self.sample(record).filter(|_| basis == WaitersBasis::Sampled);
        if let Some(sample) = sample.filter(|_| list.is_empty()) {
            list = sample.waiters();
        }
        Waiters {
            count,
            basis,
            because: match sample {
                Some(sample) => sample.waiters_because(),
                None => self.waiters_because(record, count, said.len()),
            },
            ordered: record.queue().is_some_and(|queue| queue.ordered),
            // Others are counted at moments, not followed one by one.
            longest_wait_ms: said.iter().map(|waiting| known.reported.at - waiting.since).max(),
            list,
        }
    }

    fn waiters_because(&self, record: &Record, count: Option<u32>, said: usize) -> String {
        let traits = record.recognition.traits;
        let counted = if record.queue().is_some() {
            "the store keeps those who wait"
        } else if traits.waiters_counted && count.is_none() {
            "its waiters could be counted by `PUBSUB`, which has not answered"
        } else {
            traits.waiters_because
        };
        let number = words::count(said as u64);
        match said {
            0 => counted.to_owned(),
            _ if record.queue().is_none() && record.counted() == 0 => {
                format!("{number} say so themselves; there may be more, who do not report")
            }
            _ if record.queue().is_none() && record.reported() > record.counted() => {
                format!("{number} say so themselves; {} were counted: {counted}", record.counted())
            }
            _ => format!("{counted}; {number} say so themselves"),
        }
    }
}

/// What a person calls the lock: the key without what the library adds. A key that is not UTF-8 keeps its id.
pub(super) fn name(record: &Record) -> String {
    if let Some(name) = record.extra.as_ref().and_then(|extra| extra.name.as_ref()) {
        return name.to_string();
    }
    name_of(&record.key, record.recognition.traits.strip_prefix)
}

/// The same of a lock of which no more is known than its key and the library's addition to it.
#[must_use]
pub fn name_of(key: &[u8], strip_prefix: &str) -> String {
    let id = LockId::of_key(key);
    let text = id.as_str();
    match text.strip_prefix(strip_prefix) {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => text.to_owned(),
    }
}

/// What else its stored form says; and how it stands on several masters, for whoever reads only sentences.
fn notes(record: &Record, quorum: Option<&Quorum>) -> Vec<String> {
    let quorum = quorum.map(|quorum| quorum.says.clone());
    quorum.into_iter().chain(record.extra.iter().flat_map(|extra| extra.notes.iter().cloned())).collect()
}

/// The keys that hold it.
fn keys(record: &Record) -> Vec<Bytes> {
    match &record.extra {
        Some(extra) if !extra.keys.is_empty() => extra.keys.clone(),
        _ => vec![Bytes::copy_from_slice(&record.key)],
    }
}

fn mode(record: &Record, hold: &Hold) -> Mode {
    hold.extra.as_ref().and_then(|extra| extra.mode).unwrap_or(record.mode)
}

/// Who a holder is: what its token says, and what is stored beside it.
pub(super) fn identity(record: &Record, hold: &Hold) -> Identity {
    let extra = hold.extra.as_deref();
    let said = extra
        .and_then(|extra| extra.identity.clone())
        .unwrap_or_else(|| (record.recognition.traits.identity)(&hold.token));
    let beside = extra.and_then(|extra| extra.metadata.as_deref()).map(str::to_owned);
    Identity { metadata: said.metadata.or(beside), ..said }
}

fn waiter(record: &Record, queued: &Queued) -> Waiter {
    let named = (!queued.token.is_empty()).then(|| encode_token(&queued.token));
    Waiter {
        token: named.as_ref().and_then(|(text, _)| text.clone()),
        token_b64: named.map(|(_, b64)| b64),
        identity: (record.recognition.traits.identity)(&queued.token),
        expires_at: queued.expires_at_ms.map(Time),
        abandoned: queued.abandoned,
        reported: None,
    }
}

/// One of whom nothing is known but its own word.
fn reported_waiter(record: &Record, waiting: &Waiting) -> Waiter {
    let queued = Queued { token: waiting.token.clone(), expires_at_ms: None, abandoned: None };
    let mut waiter = waiter(record, &queued);
    says(&mut waiter, waiting);
    waiter
}

/// Adds to a waiter what it says of itself.
fn says(waiter: &mut Waiter, waiting: &Waiting) {
    reported::complete(&mut waiter.identity, &waiting.identity);
    waiter.reported = Some(ReportedWait {
        attempt: waiting.attempt.to_string(),
        since: Time(waiting.since),
        heard_at: Time(waiting.heard),
    });
}

fn since(hold: &Hold) -> Bounds {
    Bounds { not_before: hold.not_before().map(Time), not_after: Some(Time(hold.since)), basis: hold.basis }
}

fn lease(expires: i64, now: Time) -> Lease {
    if expires == NEVER {
        Lease { kind: LeaseKind::None, expires_at: None, ttl_ms: None }
    } else {
        Lease { kind: LeaseKind::Ttl, expires_at: Some(Time(expires)), ttl_ms: Some(Time(expires).since(now)) }
    }
}

fn stored(record: &Record) -> Stored {
    let traits = record.recognition.traits;
    let plain = traits.stored_as == "string";
    let extra = record.extra.as_deref();
    let raw = extra.map(|extra| &extra.entries).filter(|entries| !entries.is_empty());
    let entries = raw.into_iter().flatten().map(|entry| StoredEntry {
        key: entry.key.as_ref().map(|key| LockId::of_key(key).as_str().to_owned()),
        field: entry.field.as_ref().map(|field| LockId::of_key(field).as_str().to_owned()),
        value_b64: STANDARD.encode(&entry.value),
        value: String::from_utf8(entry.value.to_vec()).ok(),
    });
    let follows = record.holds.iter().filter(|_| raw.is_none());
    let entries = entries
        .chain(follows.map(|hold| {
            let value: Vec<u8> = if plain { hold.token.to_vec() } else { hold.count.to_string().into_bytes() };
            StoredEntry {
                key: None,
                field: (!plain).then(|| LockId::of_key(&hold.token).as_str().to_owned()),
                value_b64: STANDARD.encode(&value),
                value: String::from_utf8(value).ok(),
            }
        }))
        .collect();
    Stored {
        kind: traits.stored_as.to_owned(),
        entries,
        companions: extra.iter().flat_map(|extra| &extra.companions).map(|key| LockId::of_key(key)).collect(),
    }
}

/// An identity in a few words for a table cell.
pub(super) fn who(identity: &Identity) -> Option<String> {
    let parts = [
        identity.operator.as_ref().map(|person| format!("{person}, through Lockkeeper")),
        identity.client_name.clone(),
        identity.host.clone(),
        identity.pid.map(|pid| format!("pid {pid}")),
        identity.thread.as_ref().map(|thread| format!("thread {thread}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
