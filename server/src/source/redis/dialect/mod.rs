//! The ways in which libraries store locks in Redis. One file per family.
//!
//! A new family is one file and one line in [`ALL`]. What each stores, and how it lets go, is taken from the libraries'
//! sources and from watching them run; each file names the libraries that it speaks for.
//!
//! A family says three things about keys: which key is the root of a lock when another of its keys is met
//! ([`Dialect::root_of`]), which keys are to be read beside a root ([`Dialect::beside`]), and what locks all of that is
//! ([`Dialect::recognise`]). It never reads anything itself.

mod bull;
mod deadline;
mod distributedlock_net;
mod huey;
mod job_tools;
mod keep;
#[cfg(test)]
mod keep_tests;
mod laravel;
mod lockkeeper_client;
mod members;
pub(crate) mod operator;
mod python_redis_lock;
#[cfg(test)]
mod recorded;
mod redis_py;
mod redis_semaphore;
mod redisson;
mod redlock_recipe;
mod ruby_redis_semaphore;
mod rueidislock;
mod shape;
mod shedlock;
mod sidekiq_unique_jobs;
mod spring;
mod symfony;
mod symfony_semaphore;
mod token;

use std::sync::LazyLock;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::source::{Act, Form, Recognition, ReleaseOrder};

/// One family's way of storing locks.
pub(crate) trait Dialect: Sync {
    /// The names that its [`crate::source::Recognition`]s carry.
    fn names(&self) -> &'static [&'static str];

    /// The types of the keys that are roots of its locks.
    fn kinds(&self) -> &'static [Kind];

    /// The root of the lock to which a key belongs by its name alone; `None` where it is a root itself or not this
    /// family's.
    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        let _ = key;
        None
    }

    /// Keys that this family writes, that belong to no lock by their name and are none, whatever a pattern says.
    fn is_never_a_lock(&self, key: &[u8]) -> bool {
        let _ = key;
        false
    }

    /// What the names of keys begin with that lead to a root of another beginning, and that can be there without it: they
    /// are looked for as well where an operator's pattern names roots alone.
    fn leads(&self) -> &'static [&'static str] {
        &[]
    }

    /// Keys to read beside a root, so that all of the lock is known. The root's value may be missing: then another of
    /// the lock's keys led here, or it had some before.
    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        let _ = root;
        Vec::new()
    }

    /// More keys to read beside a root, only where another of the lock's keys led to it or it had others before: for
    /// families whose root looks like anything when it is met by itself.
    fn beside_led(&self, root: &Raw) -> Vec<Vec<u8>> {
        let _ = root;
        Vec::new()
    }

    /// Channels on which to count who listens before a root is judged, the most telling first and few: whether one who
    /// waits is still there.
    fn listeners(&self, root: &Raw, beside: &[Raw]) -> Vec<Vec<u8>> {
        let _ = (root, beside);
        Vec::new()
    }

    /// Understands what is stored under a root and beside it as locks; empty where it is none of this family's.
    fn recognise(&self, stored: &Stored<'_>) -> Found;

    /// Whether what is stored is this family's, though nobody holds it now: at its next change it can be a lock, so it
    /// is neither forgotten nor listed as something foreign.
    fn is_vacant(&self, stored: &Stored<'_>) -> bool {
        let _ = stored;
        false
    }

    /// The same with what is known of those who listen.
    fn recognise_heard(&self, stored: &Stored<'_>, heard: &Heard<'_>) -> Found {
        let _ = heard;
        self.recognise(stored)
    }

    /// The script that frees exactly one hold, with its keys and arguments, when it runs at `now_ms` or later.
    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script;

    /// Those of its recognitions, one for each name, whose locks an operator may hold: [`DialectTraits::no_hold`] of them
    /// is `None`.
    ///
    /// [`DialectTraits::no_hold`]: crate::source::DialectTraits::no_hold
    fn holdable(&self) -> Vec<&'static Recognition> {
        Vec::new()
    }

    /// Whether the holder is the only field of a hash, with its count; otherwise it is the value of a string.
    fn holder_is_field(&self) -> bool {
        false
    }

    /// The counter from which the holders of a lock have their fencing tokens, where this family keeps one.
    fn fence_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        let _ = key;
        None
    }

    /// The channels on which those who wait for a lock of this family listen, as prefixes of their names.
    fn channels(&self) -> &'static [&'static str] {
        &[]
    }

    /// The root of the lock to which a channel belongs.
    fn root_of_channel(&self, channel: &[u8]) -> Option<Vec<u8>> {
        let _ = channel;
        None
    }

    /// Whether somebody who listens on a channel is what shows that its root is a lock at all.
    fn is_proof(&self, channel: &[u8]) -> bool {
        let _ = channel;
        false
    }

    /// The fields of a hash, as a pattern, that can be locks even where the hash itself is too large to be read.
    fn fields(&self, key: &[u8]) -> Option<&'static str> {
        let _ = key;
        None
    }
}

/// Locks that were recognised under one root. Each has an id of its own where it is not the only one there.
pub(crate) type Found = SmallVec<[FoundLock; 1]>;

/// A lock that was recognised.
#[derive(Debug)]
pub(crate) struct FoundLock {
    /// Its field, where it is one of several under its root.
    pub(crate) part: Option<Bytes>,
    /// What it is.
    pub(crate) form: Form,
}

/// The only lock under its root.
pub(crate) fn whole(form: Form) -> Found {
    smallvec::smallvec![FoundLock { part: None, form }]
}

/// Nothing that this family knows.
pub(crate) fn none() -> Found {
    SmallVec::new()
}

/// The type of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Missing,
    String,
    Hash,
    List,
    Set,
    ZSet,
}

/// What is stored under one key, read with bounds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Raw {
    pub(crate) key: Bytes,
    pub(crate) value: Value,
    /// What is left of its life, in milliseconds; `None` without expiry.
    pub(crate) ttl_ms: Option<i64>,
}

#[cfg(test)]
impl Raw {
    pub(crate) fn string(key: &str, value: &[u8], ttl_ms: Option<i64>) -> Raw {
        Raw { key: Bytes::copy_from_slice(key.as_bytes()), value: Value::String(Bytes::copy_from_slice(value)), ttl_ms }
    }

    pub(crate) fn hash(key: &str, fields: &[(&str, &str)], ttl_ms: Option<i64>) -> Raw {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let fields = fields.iter().map(|(field, value)| (bytes(field), bytes(value))).collect();
        Raw { key: bytes(key), value: Value::Hash(fields), ttl_ms }
    }

    pub(crate) fn zset(key: &str, members: &[(&str, f64)], ttl_ms: Option<i64>) -> Raw {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let members = members.iter().map(|(member, score)| (bytes(member), *score)).collect();
        Raw { key: bytes(key), value: Value::ZSet(members), ttl_ms }
    }

    pub(crate) fn set(key: &str, members: &[&str], ttl_ms: Option<i64>) -> Raw {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        Raw { key: bytes(key), value: Value::Set(members.iter().map(|member| bytes(member)).collect()), ttl_ms }
    }

    pub(crate) fn list(key: &str, items: &[&str], ttl_ms: Option<i64>) -> Raw {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let (total, items) = (items.len() as u32, items.iter().map(|item| bytes(item)).collect());
        Raw { key: bytes(key), value: Value::List { items, total }, ttl_ms }
    }

    pub(crate) fn missing(key: &str) -> Raw {
        Raw { key: Bytes::copy_from_slice(key.as_bytes()), value: Value::Missing, ttl_ms: None }
    }
}

/// A value, read with bounds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Missing,
    String(Bytes),
    Hash(Vec<(Bytes, Bytes)>),
    /// The first items, and how many there are.
    List {
        items: Vec<Bytes>,
        total: u32,
    },
    Set(Vec<Bytes>),
    /// Members with their scores.
    ZSet(Vec<(Bytes, f64)>),
    /// It was not read, because it is too large to be a lock.
    TooLarge {
        because: String,
        hash: bool,
    },
    /// It is of another type.
    Not(String),
}

impl Value {
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Value::Missing => Some(Kind::Missing),
            Value::String(_) => Some(Kind::String),
            Value::Hash(_) => Some(Kind::Hash),
            Value::List { .. } => Some(Kind::List),
            Value::Set(_) => Some(Kind::Set),
            Value::ZSet(_) => Some(Kind::ZSet),
            Value::TooLarge { .. } | Value::Not(_) => None,
        }
    }
}

/// A root with what was read beside it.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) root: &'a Raw,
    /// What [`Dialect::beside`] asked for, in no order.
    pub(crate) beside: &'a [Raw],
    /// An operator's pattern says that what is here is a lock.
    pub(crate) configured: bool,
    /// The server's clock, in milliseconds, to test times inside tokens against.
    pub(crate) now_ms: i64,
}

impl<'a> Stored<'a> {
    pub(crate) fn key(&self) -> &'a [u8] {
        &self.root.key
    }

    pub(crate) fn ttl_ms(&self) -> Option<i64> {
        self.root.ttl_ms
    }

    /// The root's value, if it is a string.
    pub(crate) fn string(&self) -> Option<&'a [u8]> {
        match &self.root.value {
            Value::String(value) => Some(value),
            _ => None,
        }
    }

    /// The root's fields, if it is a hash.
    pub(crate) fn hash(&self) -> Option<&'a [(Bytes, Bytes)]> {
        match &self.root.value {
            Value::Hash(fields) => Some(fields),
            _ => None,
        }
    }

    /// The root's members with their scores, if it is a sorted set.
    pub(crate) fn zset(&self) -> Option<&'a [(Bytes, f64)]> {
        match &self.root.value {
            Value::ZSet(members) => Some(members),
            _ => None,
        }
    }

    /// What was read beside the root under this name, if it is there.
    pub(crate) fn beside(&self, key: &[u8]) -> Option<&'a Raw> {
        self.beside.iter().find(|raw| *raw.key == *key && raw.value != Value::Missing)
    }
}

/// What is known of those who listen, and of time, when a root is judged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard<'a> {
    /// What [`Dialect::listeners`] asked for; what could not be counted is missing.
    pub(crate) listeners: &'a [Listeners],
    /// How long the root is known to have been missing with the same first channel asked for, in milliseconds; `None`
    /// where it is not missing.
    pub(crate) missing_ms: Option<i64>,
    /// Somebody listens on a channel that [`Dialect::is_proof`] of a lock under this root.
    pub(crate) is_listened_for: bool,
}

impl Heard<'_> {
    /// Who listens on this channel, where that was counted.
    pub(crate) fn on(&self, channel: &[u8]) -> Option<&Listeners> {
        self.listeners.iter().find(|listeners| *listeners.channel == *channel)
    }
}

/// Who listens on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listeners {
    pub(crate) channel: Bytes,
    /// Connections.
    pub(crate) count: u32,
    /// For how long there have been none at every look, in milliseconds.
    pub(crate) silent_ms: i64,
}

/// A script for `EVAL`. It answers an array that begins with one of the words of [`super::release`].
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) code: &'static str,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) arguments: Vec<Vec<u8>>,
}

/// Every family, the more particular first: the first that recognises a root has it.
const ALL: &[&dyn Dialect] = &[
    &huey::Huey,
    &sidekiq_unique_jobs::SidekiqUniqueJobs,
    &ruby_redis_semaphore::RubyRedisSemaphore,
    &redisson::ReadWrite,
    &redisson::MultiValue,
    &redisson::Lock,
    &redisson::Semaphore,
    &redis_semaphore::RedisSemaphore,
    &symfony_semaphore::SymfonySemaphore,
    &symfony::Symfony,
    &distributedlock_net::DistributedLockNet,
    // Those that a key's name gives away.
    &rueidislock::Rueidislock,
    &bull::Bull,
    &shedlock::ShedLock,
    &job_tools::JobTools,
    &redis_py::RedisPy,
    &laravel::Laravel,
    // A deadline is a number that a caller may as well have chosen.
    &deadline::Deadline,
    &python_redis_lock::PythonRedisLock,
    // Those that only their token gives away.
    &lockkeeper_client::LockkeeperClient,
    &redlock_recipe::RedlockRecipe,
    &spring::Spring,
    &token::Token,
];

/// The families whose roots are of one type each, in the order of [`ALL`], so that a key is shown only to those.
static BY_KIND: LazyLock<[Vec<&'static dyn Dialect>; 6]> = LazyLock::new(|| {
    [Kind::Missing, Kind::String, Kind::Hash, Kind::List, Kind::Set, Kind::ZSet]
        .map(|kind| ALL.iter().copied().filter(|dialect| dialect.kinds().contains(&kind)).collect())
});

/// The locks that are stored under a root, if any family recognises them.
pub(crate) fn recognise(stored: &Stored<'_>) -> Found {
    recognise_heard(stored, &Heard::default())
}

/// The locks that are stored under a root, if any family recognises them, with what is known of those who listen.
pub(crate) fn recognise_heard(stored: &Stored<'_>, heard: &Heard<'_>) -> Found {
    let Some(kind) = stored.root.value.kind() else { return none() };
    if let Some(format) = operator::of(stored.root) {
        return format.recognise(stored);
    }
    if let Some(form) = keep::recognise(stored) {
        return whole(form);
    }
    if ALL.iter().any(|dialect| dialect.is_never_a_lock(stored.key())) {
        return none();
    }
    for dialect in &BY_KIND[kind as usize] {
        let found = dialect.recognise_heard(stored, heard);
        if !found.is_empty() || dialect.is_vacant(stored) {
            return found;
        }
    }
    none()
}

/// Whether a root under which no lock was recognised is some family's all the same, with nobody holding it.
pub(crate) fn is_vacant(stored: &Stored<'_>) -> bool {
    let Some(kind) = stored.root.value.kind() else { return false };
    if operator::of(stored.root).is_some() {
        return true;
    }
    BY_KIND[kind as usize].iter().any(|dialect| dialect.is_vacant(stored))
}

/// The root of the lock to which a key belongs by its name alone; `None` where it is a root itself, as every key is that
/// an operator's format names.
pub(crate) fn root_of(key: &[u8]) -> Option<Vec<u8>> {
    if operator::names(key) {
        return None;
    }
    ALL.iter().find_map(|dialect| dialect.root_of(key))
}

/// What the names of all keys begin with that lead to a root of another beginning, and that can be there without it.
pub(crate) fn leads() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|dialect| dialect.leads().iter().copied())
}

/// The type of a root that can be a built-in family's; `None` where it is of an operator's format, or was not read.
fn kind_of_family(root: &Raw) -> Option<Kind> {
    root.value.kind().filter(|_| operator::of(root).is_none())
}

/// Keys to read beside a root.
pub(crate) fn beside(root: &Raw) -> Vec<Vec<u8>> {
    let Some(kind) = kind_of_family(root) else { return Vec::new() };
    BY_KIND[kind as usize].iter().flat_map(|dialect| dialect.beside(root)).collect()
}

/// More keys to read beside a root that is known to have others.
pub(crate) fn beside_led(root: &Raw) -> Vec<Vec<u8>> {
    let Some(kind) = kind_of_family(root) else { return Vec::new() };
    BY_KIND[kind as usize].iter().flat_map(|dialect| dialect.beside_led(root)).collect()
}

/// Channels on which to count who listens before a root is judged.
pub(crate) fn listeners(root: &Raw, beside: &[Raw]) -> Vec<Vec<u8>> {
    let Some(kind) = kind_of_family(root) else { return Vec::new() };
    BY_KIND[kind as usize].iter().flat_map(|dialect| dialect.listeners(root, beside)).collect()
}

/// Whether somebody who listens on a channel is what shows that its root is a lock.
pub(crate) fn is_proof(channel: &[u8]) -> bool {
    ALL.iter().any(|dialect| dialect.is_proof(channel))
}

/// The fields of a hash that can be locks even where it is too large to be read.
pub(crate) fn fields(key: &[u8]) -> Option<&'static str> {
    ALL.iter().find_map(|dialect| dialect.fields(key)).filter(|_| !operator::names(key))
}

/// Every prefix of channels on which somebody may listen who waits.
pub(crate) fn channels() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|dialect| dialect.channels().iter().copied())
}

/// The root of the lock to which a channel belongs.
pub(crate) fn root_of_channel(channel: &[u8]) -> Option<Vec<u8>> {
    ALL.iter().find_map(|dialect| dialect.root_of_channel(channel))
}

/// The family of that name.
pub(crate) fn by_name(name: &str) -> Option<&'static dyn Dialect> {
    ALL.iter().copied().find(|dialect| dialect.names().contains(&name)).or_else(|| operator::by_name(name))
}

/// The script that does what an order says and nothing else, when it runs at `now_ms` or later.
///
/// # Errors
/// Why nothing can be sent, in words.
pub(crate) fn script(order: &ReleaseOrder, now_ms: i64) -> Result<Script, String> {
    let Some(dialect) = by_name(order.dialect) else {
        return Err(format!("no way is known to release a lock of `{}`", order.dialect));
    };
    match order.act {
        Act::Release | Act::Evict => Ok(dialect.release(order, now_ms)),
        Act::Hold { .. } | Act::ExtendHold { .. } | Act::PutBack | Act::RaiseFence => {
            keep::script(dialect, order, now_ms)
        }
    }
}

/// The script for locks that are strings with the holder's token: all keys are compared, and then all deleted.
pub(crate) fn compare_and_delete(order: &ReleaseOrder, now_ms: i64) -> Script {
    Script {
        code: COMPARE_AND_DELETE,
        keys: order.keys.iter().map(|key| key.to_vec()).collect(),
        arguments: vec![order.token.to_vec(), most_ttl(order, now_ms)],
    }
}

/// Compares type, length, bytes and expiry of every key, then deletes them all. The length is compared first so that a
/// value that grew large is not copied.
const COMPARE_AND_DELETE: &str = r"
local missing, most = 0, tonumber(ARGV[2])
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then missing = missing + 1
  elseif kind ~= 'string' or redis.call('STRLEN', key) ~= #ARGV[1] or redis.call('GET', key) ~= ARGV[1] then
    return {'changed'}
  else
    local ttl = redis.call('PTTL', key)
    if (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most)) then return {'touched', ttl} end
  end
end
if missing == #KEYS then return {'gone'} end
if missing > 0 then return {'changed'} end
for _, key in ipairs(KEYS) do redis.call('DEL', key) end
return {'released', -1}
";

/// The remaining life that a hold may have at most when the script runs, as its argument: `-1` for a lock without
/// expiry. The script runs later than `now_ms`, so a hold that nobody touched has no more than this left.
pub(crate) fn most_ttl(order: &ReleaseOrder, now_ms: i64) -> Vec<u8> {
    match order.expires_not_after {
        Some(at) => (at.0 - now_ms).max(0).to_string().into_bytes(),
        None => b"-1".to_vec(),
    }
}

/// The latest moment at which a hold may end, as an argument for families that store the moment itself, in milliseconds
/// of the epoch: `-1` for one without end.
pub(crate) fn latest_end(order: &ReleaseOrder) -> Vec<u8> {
    order.expires_not_after.map_or(-1, |at| at.0).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the table makes of a root by itself.
    fn dialect_of(root: &Raw) -> Option<&'static str> {
        let stored = Stored { root, beside: &[], configured: false, now_ms: 0 };
        recognise(&stored).first().map(|found| found.form.recognition.dialect)
    }

    #[test]
    fn the_more_particular_family_has_a_root_that_several_could_have() {
        let holder = "6f1a3c0e-1111-4222-8333-444455556666:42";
        let writer = format!("{holder}:write");
        assert_eq!(dialect_of(&Raw::hash("a", &[(holder, "1")], None)), Some("redisson"));
        assert_eq!(dialect_of(&Raw::hash("a", &[("mode", "write"), (&writer, "1")], None)), Some("redisson-rw"));
        assert_eq!(dialect_of(&Raw::string("lock:a", b"worker-7", None)), Some("python-redis-lock"));
        assert_eq!(dialect_of(&Raw::string("mutex:a", b"worker-7", None)), Some("token"));
        assert_eq!(dialect_of(&Raw::string("lock:count", b"7", None)), Some("python-redis-lock"));
        assert_eq!(dialect_of(&Raw::hash("session:1", &[("name", "Ada")], None)), None);
    }

    #[test]
    fn an_operator_holds_only_what_its_family_leaves_alone() {
        for dialect in ALL {
            for recognition in dialect.holdable() {
                assert_eq!(recognition.traits.no_hold, None, "{}", recognition.because);
                assert_eq!(recognition.traits.unsafe_unlock, None, "{}", recognition.because);
                assert!(by_name(recognition.dialect).is_some(), "{}", recognition.dialect);
            }
        }
    }

    #[test]
    fn every_name_leads_to_its_family() {
        for dialect in ALL {
            for name in dialect.names() {
                assert_eq!(by_name(name).map(Dialect::names), Some(dialect.names()), "{name} is named twice");
            }
        }
    }
}
