//! Redisson: locks that are hashes with the holders as fields, semaphores that are counters, and channels that wake who
//! waits.
//!
//! Source: redisson/redisson 4.7.0 and 62 commits, `RedissonBaseLock`, `RedissonLock`, `RedissonFairLock`,
//! `RedissonFencedLock`, `RedissonReadLock`, `RedissonWriteLock`, `RedissonSemaphore`, `RedissonPermitExpirableSemaphore`,
//! `RedissonFasterMultiLock`, `RedissonObject`, `pubsub/`.
//!
//! - [`lock`]: `RLock` and what looks like it, fenced and fair locks. [`fair`] is the queue of the latter.
//! - [`read_write`] is `RReadWriteLock`.
//! - [`semaphore`]: `RSemaphore` and `RPermitExpirableSemaphore`.
//! - [`multi_value`]: many locks in one hash.
//! - [`names`]: how keys and channels are named after a lock.

mod fair;
mod lock;
mod multi_value;
mod names;
mod read_write;
#[cfg(test)]
pub(super) mod script_tests;
mod semaphore;

pub(super) use lock::Lock;
pub(super) use multi_value::MultiValue;
pub(super) use read_write::ReadWrite;
pub(super) use semaphore::Semaphore;

use bytes::Bytes;
use lockkeeper_model::{Identity, words};

use super::shape::is_dashed_uuid;
use crate::source::Entry;

/// A script that begins with what all scripts of this family share.
///
/// `signal` wakes who waits as the library does, on sharded channels as well, which it uses on a cluster of version 7 or
/// later; an older server does not know the command, which is no error here. `is_later`: a remaining life is above the
/// most that an untouched hold can have left, where `-1` stands for none.
macro_rules! script {
    ($body:literal) => {
        concat!(
            r"
local function signal(channel, message)
  local woken, sharded = redis.call('PUBLISH', channel, message), redis.pcall('SPUBLISH', channel, message)
  return type(sharded) == 'number' and woken + sharded or woken
end
local function is_later(left, most)
  most = tonumber(most)
  return (most == -1 and left ~= -1) or (most ~= -1 and (left == -1 or left > most))
end
",
            $body
        )
    };
}
use script;

/// What is true of every lock whose holder is a field: who holds it does not hear of a release.
const TOLD_BECAUSE: &str = "The store does not tell it. Its watchdog stops renewing without a word, and its own unlock \
                            raises an error. Until then it goes on as if it had the lock.";

/// Why locks in forms that Redisson does not write are not released from here.
const UNRECOGNISED_RELEASE: &str = "it is not stored as any known version of Redisson stores it, so nobody can say what \
                                    a release would have to compare and whom it would wake";

/// Names that one note gives at most; the rest are counted.
const NAMED: usize = 3;

/// The parts of `<client uuid>:<thread>`, by which Redisson names a thread of one of its clients.
fn thread_of(field: &[u8]) -> Option<(&str, &str)> {
    const UUID: usize = 36;
    /// A 64-bit number with its sign.
    const THREAD: usize = 20;
    let (uuid, rest) = field.split_at_checked(UUID)?;
    let thread = rest.strip_prefix(b":").filter(|thread| thread.len() <= THREAD)?;
    let digits = thread.strip_prefix(b"-").unwrap_or(thread);
    let is_thread = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) && is_dashed_uuid(uuid);
    is_thread.then(|| Some((std::str::from_utf8(uuid).ok()?, std::str::from_utf8(thread).ok()?))).flatten()
}

/// A count of entries; `None` where it is no such number.
fn count_of(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value).ok()?.parse().ok().filter(|&count| count > 0)
}

fn identity(token: &[u8]) -> Identity {
    match thread_of(token.strip_suffix(b":write").unwrap_or(token)) {
        Some((instance, thread)) => {
            Identity { instance: Some(instance.to_owned()), thread: Some(thread.to_owned()), ..Identity::NOBODY }
        }
        None => Identity::NOBODY,
    }
}

/// The first of them by their names, and how many more there are, for a sentence.
fn named<'a>(tokens: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut tokens = tokens.into_iter();
    let first: Vec<String> = tokens
        .by_ref()
        .take(NAMED)
        .map(|token| format!("`{}`", words::shown(&token.escape_ascii().to_string())))
        .collect();
    match tokens.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A field or member as it lies in the store; `key` where that is not the lock's own.
fn entry(key: Option<&Bytes>, field: Option<&Bytes>, value: Bytes) -> Entry {
    Entry { key: key.cloned(), field: field.cloned(), value }
}

/// A score as the store writes it: whole numbers without a fraction.
fn score_text(score: f64) -> Bytes {
    Bytes::from(score.to_string())
}

/// A score that is a moment, in milliseconds.
fn moment(score: f64) -> i64 {
    // Saturates, and what is not a number is long ago.
    score as i64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const A: &str = "6f1a3c0e-1111-4222-8333-444455556666:42";
    pub(in super::super) const B: &str = "0d9e8f70-aaaa-4bbb-8ccc-dddd00001111:7";
    pub(super) const C: &str = "11112222-3333-4444-8555-666677778888:1";

    #[test]
    fn a_thread_of_a_client_is_named_by_its_uuid_and_a_number() {
        assert_eq!(thread_of(A.as_bytes()), Some(("6f1a3c0e-1111-4222-8333-444455556666", "42")));
        assert!(thread_of(b"6f1a3c0e-1111-4222-8333-444455556666:-42").is_some());
        for other in ["", "name", "6f1a3c0e-1111-4222-8333-444455556666", "6f1a3c0e-1111-4222-8333-444455556666:x"] {
            assert_eq!(thread_of(other.as_bytes()), None, "{other}");
        }
        assert_eq!(identity(format!("{A}:write").as_bytes()).thread.as_deref(), Some("42"));
    }

    #[test]
    fn a_note_names_the_first_and_counts_the_rest() {
        let many: Vec<&[u8]> = vec![b"a", b"b\xff", b"c", b"d", b"e"];
        assert_eq!(named(many), r"`a`, `b\xff`, `c` and 2 more");
    }
}
