//! The ways in which libraries store locks in Redis. One file per family.
//!
//! A new family is one file and one line in [`ALL`]. What each stores, and how it lets go, is taken from the libraries'
//! sources and from watching them run; each file names the libraries that it speaks for.

mod python_redis_lock;
mod redisson;
mod token;

use bytes::Bytes;
pub(crate) use redisson::{CHANNEL_PREFIX, lock_of_channel};

use crate::source::{Form, ReleaseOrder};

/// One family's way of storing locks.
pub(crate) trait Dialect: Sync {
    /// The name that [`crate::source::Recognition`] carries.
    fn name(&self) -> &'static str;

    /// Understands what is stored under a key as a held lock, or says that it is none of this family's.
    fn recognise(&self, stored: &StoredKey<'_>) -> Option<Form>;

    /// The script that frees exactly one hold, with its keys and arguments, when it runs at `now_ms` or later.
    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script;
}

/// What is stored under one key, read with bounds.
#[derive(Debug)]
pub(crate) struct StoredKey<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: Value<'a>,
    /// What is left of its life, in milliseconds; `None` without expiry.
    pub(crate) ttl_ms: Option<i64>,
    /// An operator's pattern says that what is here is a lock.
    pub(crate) configured: bool,
    /// The server's clock, in milliseconds, to test times inside tokens against.
    pub(crate) now_ms: i64,
}

/// A value of a type that a lock can have.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    String(&'a [u8]),
    Hash(&'a [(Bytes, Bytes)]),
}

/// A script for `EVAL`. It answers an array that begins with one of the words of [`super::release`].
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) code: &'static str,
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) arguments: Vec<Vec<u8>>,
}

/// Every family, the more particular first: the first that recognises a key has it.
const ALL: &[&dyn Dialect] = &[&redisson::Redisson, &python_redis_lock::PythonRedisLock, &token::Token];

/// The lock that is stored under a key, if any family recognises it.
pub(crate) fn recognise(stored: &StoredKey<'_>) -> Option<Form> {
    if is_companion(stored.key) {
        return None;
    }
    ALL.iter().find_map(|dialect| dialect.recognise(stored))
}

/// The family of that name.
pub(crate) fn by_name(name: &str) -> Option<&'static dyn Dialect> {
    ALL.iter().copied().find(|dialect| dialect.name() == name).or_else(|| {
        // Names under which the string family shows what it recognised.
        token::NAMES.contains(&name).then_some(&token::Token as &dyn Dialect)
    })
}

/// Keys that belong to a lock and are none, whatever a pattern says.
fn is_companion(key: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 5] = [
        b"lock-signal:",
        b"redisson_lock_queue:",
        b"redisson_lock_timeout:",
        b"redisson_lock_token:",
        b"redisson_unlock_latch:",
    ];
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// The remaining life that a hold may have at most when the script runs, as its argument: `-1` for a lock without
/// expiry. The script runs later than `now_ms`, so a hold that nobody touched has no more than this left.
fn most_ttl(order: &ReleaseOrder, now_ms: i64) -> Vec<u8> {
    match order.expires_not_after {
        Some(at) => (at.0 - now_ms).max(0).to_string().into_bytes(),
        None => b"-1".to_vec(),
    }
}
