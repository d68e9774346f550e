//! DistributedLock.Redis (.NET): locks, readers with a writer, and semaphores, whose holders are
//! `<host>_<process id>_<32 hex digits>`.
//!
//! Readers are a set `<name>.readers`; a writer is the string `<name>.writer`, which keeps new readers out from when it
//! begins to wait. Both are one lock, under the writer's key. A semaphore is a sorted set scored with the end of each
//! permit.
//!
//! Source: madelson/DistributedLock 1.1.1, `src/DistributedLock.Redis/`; read, not run.

use bytes::Bytes;
use lockkeeper_model::{Certainty, Flag, Identity, LockState, Mode};
use smallvec::SmallVec;

use super::members::{entries, left_until, note_dead, note_foreign};
use super::shape::host_and_pid;
use super::{Dialect, Found, Kind, Raw, Script, Stored, Value, compare_and_delete, most_ttl, none, whole};
use crate::source::{Act, DialectTraits, Extra, Form, Hold, HoldExtra, Queue, Queued, Recognition, ReleaseOrder};

pub(super) struct DistributedLockNet;

const NAME: &str = "distributedlock-net";
const READERS: &[u8] = b".readers";
const WRITER: &[u8] = b".writer";

/// Appended to a writer's id while it waits.
const WAITS: &[u8] = b"_WRITERWAITING";

const TRAITS: DialectTraits = DialectTraits {
    told_because: "The store does not tell it. It renews every few seconds; the next renewal notices the loss and cancels \
                   the token `HandleLostToken`, if the program listens to that.",
    waiters_because: "those who wait poll, which leaves no trace in Redis",
    identity,
    ..DialectTraits::PLAIN
};

static LOCK_TRAITS: DialectTraits = DialectTraits { no_hold: None, no_put_back: None, ..TRAITS };

static READ_WRITE_TRAITS: DialectTraits = DialectTraits {
    stored_as: "set and string",
    release: "A reader is removed from the set of readers, or the writer's key is deleted, only if it is still exactly \
              this holder and was not renewed since. Other readers and a waiting writer stay. Those who wait poll and \
              need no waking.",
    waiters_because: "waiting readers poll, which leaves no trace in Redis; only a writer that waits is seen",
    ..TRAITS
};

static SEMAPHORE_TRAITS: DialectTraits = DialectTraits {
    stored_as: "zset",
    release: "This member is removed only if it was not renewed since. Other holders keep their permits. Those who wait \
              poll and need no waking.",
    ..TRAITS
};

static LOCK: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a string of a host name, a process id and 32 hex digits, as DistributedLock.Redis for .NET writes its tokens",
    traits: &LOCK_TRAITS,
};

static READ_WRITE: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a set `….readers` or a string `….writer` of host names, process ids and 32 hex digits: a reader-writer lock \
              of DistributedLock.Redis for .NET",
    traits: &READ_WRITE_TRAITS,
};

static SEMAPHORE: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a sorted set whose members are a host name, a process id and 32 hex digits, scored with the time at which \
              each ends: a semaphore of DistributedLock.Redis for .NET",
    traits: &SEMAPHORE_TRAITS,
};

static FOREIGN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Ambiguous,
    because: "a set `….readers` with readers as DistributedLock.Redis for .NET writes them, and with members that it does \
              not write",
    traits: &READ_WRITE_TRAITS,
};

impl Dialect for DistributedLockNet {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Missing, Kind::String, Kind::ZSet]
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        name(key, READERS).map(|name| [name, WRITER].concat())
    }

    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        readers_of(&root.key).into_iter().collect()
    }

    fn holdable(&self) -> Vec<&'static Recognition> {
        vec![&LOCK]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        match (&stored.root.value, readers_of(stored.key())) {
            (Value::ZSet(members), _) => semaphore(stored, members),
            (Value::Missing | Value::String(_), Some(readers)) => read_write(stored, stored.beside(&readers)),
            (Value::String(token), None) if host_and_pid(token).is_some() => {
                whole(Form::exclusive(&LOCK, token, stored.ttl_ms()))
            }
            _ => none(),
        }
    }

    fn is_vacant(&self, stored: &Stored<'_>) -> bool {
        stored.zset().is_some_and(is_semaphore)
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        let number = |number: i64| number.to_string().into_bytes();
        match (order.mode, readers_of(&order.key)) {
            (Mode::Semaphore, _) => Script {
                code: RELEASE_PERMIT,
                keys: vec![order.key.to_vec()],
                arguments: vec![order.token.to_vec(), number(order.expires_not_after.map_or(-1, |at| at.0))],
            },
            (Mode::Shared, Some(readers)) => Script {
                code: RELEASE_READER,
                keys: vec![readers],
                arguments: vec![order.token.to_vec(), most_ttl(order, now_ms)],
            },
            (_, Some(readers)) if order.act == Act::Evict => Script {
                code: REMOVE_WAITING_WRITER,
                keys: vec![order.key.to_vec(), readers],
                arguments: vec![order.token.to_vec()],
            },
            // A writer's key is a plain lock; the readers' key is not its own.
            _ => compare_and_delete(&ReleaseOrder { keys: vec![order.key.clone()], ..order.clone() }, now_ms),
        }
    }
}

/// A set of readers, a writer that has the lock or waits for it, or both.
fn read_write(stored: &Stored<'_>, readers: Option<&Raw>) -> Found {
    let writer = stored.string();
    let waiting = writer.filter(|token| token.strip_suffix(WAITS).is_some_and(|id| host_and_pid(id).is_some()));
    let writing = writer.filter(|token| host_and_pid(token).is_some());
    if writer.is_some() && waiting.is_none() && writing.is_none() {
        return none();
    }
    let members: &[Bytes] = match readers.map(|readers| &readers.value) {
        Some(Value::Set(members)) => members,
        _ => &[],
    };
    let (reading, foreign): (Vec<&Bytes>, Vec<&Bytes>) =
        members.iter().partition(|member| host_and_pid(member).is_some());
    if writer.is_none() && reading.is_empty() {
        return none();
    }

    let mut extra = Extra::default();
    let mut holds: SmallVec<[Hold; 1]> = SmallVec::new();
    if let Some(token) = writing {
        holds.push(Hold::new(token, stored.ttl_ms()));
        extra.keys.push(stored.root.key.clone());
    }
    let shares_lease = reading.len() > 1;
    for member in &reading {
        // Where there are both, each says how it holds the lock.
        let mode = writing.is_some().then_some(Mode::Shared);
        let own = HoldExtra { mode, shares_lease, ..HoldExtra::default() };
        let hold = Hold::new(member, readers.and_then(|readers| readers.ttl_ms));
        holds.push(Hold { extra: Some(Box::new(own)).filter(|_| mode.is_some() || shares_lease), ..hold });
    }
    if !reading.is_empty() {
        extra.keys.extend(readers.map(|readers| readers.key.clone()));
    }
    if shares_lease {
        extra.notes.push(
            "one expiry serves all readers: one that died is listed for as long as another renews, and nothing in Redis \
             tells them apart"
                .to_owned(),
        );
    }
    if let Some(token) = waiting {
        let expires_at_ms = stored.ttl_ms().map(|ttl| stored.now_ms.saturating_add(ttl));
        let waiters = vec![Queued { token: token.into(), expires_at_ms, abandoned: None }];
        extra.queue = Some(Queue { ordered: false, count: 1, waiters });
        extra.flags.push(Flag::WriterWaiting);
        extra.companions.push(stored.root.key.clone());
    }
    extra.name = name(stored.key(), WRITER).and_then(|name| std::str::from_utf8(name).ok()).map(Into::into);
    extra.entries = std::iter::once(stored.root).chain(readers).flat_map(|raw| entries(raw, stored.key())).collect();
    let mut recognition = &READ_WRITE;
    let mut state = if holds.is_empty() { LockState::WaitingOnly } else { LockState::Held };
    if !foreign.is_empty() {
        note_foreign(&mut extra, &foreign.iter().map(|member| &***member).collect::<Vec<_>>());
        (recognition, state) = (&FOREIGN, LockState::UnknownHolder);
    }
    let mode = if reading.is_empty() || writing.is_some() { Mode::Exclusive } else { Mode::Shared };
    whole(Form { recognition, mode, state, holds, extra: Some(Box::new(extra)) })
}

fn semaphore(stored: &Stored<'_>, members: &[(Bytes, f64)]) -> Found {
    if !is_semaphore(members) {
        return none();
    }
    let (mut holds, mut dead) = (SmallVec::new(), Vec::<&[u8]>::new());
    for (member, end) in members {
        match left_until(*end, stored.now_ms) {
            None => dead.push(member),
            left => holds.push(Hold::new(member, left)),
        }
    }
    if holds.is_empty() {
        return none();
    }
    let mut extra = Extra { entries: entries(stored.root, stored.key()), ..Extra::default() };
    note_dead(&mut extra, &dead);
    let (mode, state) = (Mode::Semaphore, LockState::Held);
    whole(Form { recognition: &SEMAPHORE, mode, state, holds, extra: Some(Box::new(extra)) })
}

/// All members are this family's, with times in milliseconds for scores.
fn is_semaphore(members: &[(Bytes, f64)]) -> bool {
    members.iter().all(|(member, end)| (1e12..1e13).contains(end) && host_and_pid(member).is_some())
}

/// The lock's name in a key with that ending.
fn name<'a>(key: &'a [u8], ending: &[u8]) -> Option<&'a [u8]> {
    key.strip_suffix(ending).filter(|name| !name.is_empty())
}

/// `<name>.writer` → `<name>.readers`.
fn readers_of(root: &[u8]) -> Option<Vec<u8>> {
    name(root, WRITER).map(|name| [name, READERS].concat())
}

fn identity(token: &[u8]) -> Identity {
    match host_and_pid(token.strip_suffix(WAITS).unwrap_or(token)) {
        Some((host, pid)) => Identity { host: Some(host.to_owned()), pid: Some(pid), ..Identity::NOBODY },
        None => Identity::NOBODY,
    }
}

/// The library's own release of a permit, with its end compared.
const RELEASE_PERMIT: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'zset' then return {'changed'} end
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score then return {'changed'} end
if tonumber(score) > tonumber(ARGV[2]) then return {'touched', redis.call('PTTL', KEYS[1])} end
redis.call('ZREM', KEYS[1], ARGV[1])
return {'released', -1}
";

/// The library's own release of a reader. The expiry is compared though it is that of all readers: the renewal of another
/// looks the same, and then a person decides again.
const RELEASE_READER: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'set' then return {'changed'} end
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 then return {'changed'} end
local ttl, most = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
if (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most)) then return {'touched', ttl} end
redis.call('SREM', KEYS[1], ARGV[1])
return {'released', -1}
";

/// Removes a writer that waits for a lock that nobody has.
const REMOVE_WAITING_WRITER: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'string' or redis.call('STRLEN', KEYS[1]) ~= #ARGV[1] or redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'changed'}
end
if redis.call('EXISTS', KEYS[2]) == 1 then return {'touched', redis.call('PTTL', KEYS[1])} end
redis.call('DEL', KEYS[1])
return {'released', -1}
";

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_231_733_000;
    const A: &str = "worker-7_4242_112665c4636d9023dc9679b0a616ed66";
    const B: &str = "my_build_host_77_bd20084b4d0870c538662 66f6ef309c4";
    const C: &str = "my_build_host_77_bd20084b4d0870c53866266f6ef309c4";

    fn seen(root: &Raw, beside: &[Raw]) -> Option<Form> {
        let stored = Stored { root, beside, configured: false, now_ms: NOW };
        DistributedLockNet.recognise(&stored).into_iter().next().map(|found| found.form)
    }

    #[test]
    fn a_token_names_host_and_process() {
        let form = seen(&Raw::string("stock", A.as_bytes(), Some(9)), &[]).unwrap();
        assert_eq!((form.recognition.certainty, form.mode), (Certainty::Certain, Mode::Exclusive));
        let who = identity(C.as_bytes());
        assert_eq!((who.host.as_deref(), who.pid), (Some("my_build_host"), Some(77)));
        assert!(seen(&Raw::string("stock", B.as_bytes(), Some(9)), &[]).is_none());
        assert!(seen(&Raw::string("stock", b"_1_112665c4636d9023dc9679b0a616ed66", Some(9)), &[]).is_none());
    }

    #[test]
    fn readers_and_a_waiting_writer_are_one_lock() {
        let readers = [Raw::set("cat.readers", &[A, C], Some(29_000))];
        let form = seen(&Raw::missing("cat.writer"), &readers).unwrap();
        assert_eq!((form.mode, form.holds.len(), form.holds[0].ttl_ms), (Mode::Shared, 2, Some(29_000)));
        assert!(form.holds[0].extra.as_ref().unwrap().shares_lease);
        assert_eq!(form.extra.unwrap().keys, ["cat.readers"]);

        let writer = Raw::string("cat.writer", format!("{C}_WRITERWAITING").as_bytes(), Some(9_000));
        let form = seen(&writer, &readers).unwrap();
        let extra = form.extra.unwrap();
        assert_eq!((form.mode, form.holds.len()), (Mode::Shared, 2));
        assert_eq!(
            (extra.flags.as_slice(), extra.queue.unwrap().waiters[0].expires_at_ms),
            (&[Flag::WriterWaiting][..], Some(NOW + 9_000))
        );
        assert_eq!((extra.companions, extra.name.as_deref()), (vec!["cat.writer".into()], Some("cat")));
        assert_eq!(seen(&writer, &[]).unwrap().state, LockState::WaitingOnly);
    }

    #[test]
    fn a_writer_has_the_lock_alone() {
        let form = seen(&Raw::string("cat.writer", A.as_bytes(), Some(9)), &[]).unwrap();
        assert_eq!((form.mode, form.holds.len(), form.state), (Mode::Exclusive, 1, LockState::Held));
        assert!(seen(&Raw::string("cat.writer", b"Hemingway", None), &[]).is_none());
    }

    #[test]
    fn a_permit_past_its_end_is_not_held() {
        let pool = |members: &[(&str, f64)]| seen(&Raw::zset("pool", members, Some(90_000)), &[]);
        let end = |ms: i64| (NOW + ms) as f64;
        let form = pool(&[(A, end(-1)), (C, end(20_000))]).unwrap();
        assert_eq!((form.mode, form.holds.len(), form.holds[0].ttl_ms), (Mode::Semaphore, 1, Some(20_000)));
        assert_eq!(form.extra.unwrap().flags.as_slice(), [Flag::DeadMember]);
        assert!(pool(&[(A, end(-1))]).is_none());
        assert!(pool(&[(A, end(5)), ("alice", end(5))]).is_none());
        assert!(pool(&[(A, 12.0)]).is_none());
    }

    #[test]
    fn a_set_of_something_else_is_no_lock() {
        let seen = |members: &[&str]| seen(&Raw::missing("cat.writer"), &[Raw::set("cat.readers", members, None)]);
        assert!(seen(&["alice", "bob"]).is_none());
        let form = seen(&["alice", A]).unwrap();
        assert_eq!((form.state, form.holds.len()), (LockState::UnknownHolder, 1));
    }
}
