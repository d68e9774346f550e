//! Redisson `RLock`: a hash with one field `<client uuid>:<thread id>` whose value is the re-entry count.
//!
//! Source: redisson/redisson 4.7, `RedissonBaseLock`, `RedissonLock`, `pubsub/`. Plain, spin and non-re-entrant locks
//! and the parts of a multi lock look the same.

use std::str::FromStr;

use lockkeeper_model::{Certainty, Identity};

use super::{Dialect, Found, Kind, Script, Stored, most_ttl, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct Redisson;

const NAME: &str = "redisson";

/// The channel on which an unlock is announced; the lock's name follows, in braces unless it has some itself.
const CHANNEL_PREFIX: &str = "redisson_lock__channel:";

const UUID_CHARS: usize = 36;

static TRAITS: DialectTraits = DialectTraits {
    stored_as: "hash",
    told_because: "The store does not tell it. Its watchdog stops renewing without a word, and its own unlock raises an \
                   error. Until then it goes on as if it had the lock.",
    release: "The hash is deleted only if this field is still in it alone with exactly this count and its expiry was \
              not pushed out since; then `0` is published on its unlock channel, which wakes one thread in each \
              waiting client, as the library does.",
    // The field names a client and a thread, for every lock and every acquire.
    token_is_one_use: false,
    waiters_counted: true,
    waiters_because: "connections that listen on its unlock channel: one for each waiting client, however many of its \
                      threads wait",
    identity,
    ..DialectTraits::PLAIN
};

static RLOCK: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a hash whose only field is a client's UUID and a thread number, with a count: a Redisson RLock or one of \
              its kin that look the same",
    traits: &TRAITS,
};

impl Dialect for Redisson {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Hash]
    }

    fn is_never_a_lock(&self, key: &[u8]) -> bool {
        [&b"redisson_unlock_latch:"[..], b"redisson_lock_queue:", b"redisson_lock_timeout:", b"redisson_lock_token:"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
    }

    fn channels(&self) -> &'static [&'static str] {
        &[CHANNEL_PREFIX]
    }

    fn root_of_channel(&self, channel: &[u8]) -> Option<Vec<u8>> {
        lock_of_channel(channel).map(<[u8]>::to_vec)
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some([(field, count)]) = stored.hash() else { return none() };
        if parts(field).is_none() {
            return none();
        }
        let Some(count) = std::str::from_utf8(count).ok().and_then(|text| u32::from_str(text).ok()) else {
            return none();
        };
        let mut form = Form::exclusive(&RLOCK, field, stored.ttl_ms());
        form.holds[0].count = count;
        whole(form)
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        Script {
            code: RELEASE,
            keys: vec![order.key.to_vec(), channel(&order.key)],
            arguments: vec![order.token.to_vec(), most_ttl(order, now_ms), order.count.to_string().into_bytes()],
        }
    }
}

/// `<uuid>:<thread>`.
fn parts(field: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(field).ok()?;
    let (uuid, thread) = text.split_once(':')?;
    let is_uuid = uuid.len() == UUID_CHARS
        && uuid.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    (is_uuid && !thread.is_empty() && thread.len() < 20 && thread.bytes().all(|byte| byte.is_ascii_digit()))
        .then_some((uuid, thread))
}

fn identity(token: &[u8]) -> Identity {
    match parts(token) {
        Some((instance, thread)) => {
            Identity { instance: Some(instance.to_owned()), thread: Some(thread.to_owned()), ..Identity::NOBODY }
        }
        None => Identity::NOBODY,
    }
}

/// The unlock channel of a lock.
fn channel(key: &[u8]) -> Vec<u8> {
    if key.contains(&b'{') {
        [CHANNEL_PREFIX.as_bytes(), key].concat()
    } else {
        [CHANNEL_PREFIX.as_bytes(), b"{", key, b"}"].concat()
    }
}

/// The lock to which an unlock channel belongs; `None` for the channel of one waiter in a fair queue.
fn lock_of_channel(channel: &[u8]) -> Option<&[u8]> {
    let name = channel.strip_prefix(CHANNEL_PREFIX.as_bytes())?;
    match (name.strip_prefix(b"{"), name.iter().rposition(|&byte| byte == b'}')) {
        (Some(inner), Some(end)) if end == name.len() - 1 => Some(&inner[..inner.len() - 1]),
        // `{name}:<uuid>:<thread>`
        (Some(_), Some(end)) if parts(name[end + 1..].strip_prefix(b":").unwrap_or_default()).is_some() => None,
        _ => Some(name),
    }
}

/// Compares field, count, that it is alone, and expiry; then deletes and publishes what the library publishes.
const RELEASE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'hash' then return {'changed'} end
local count = redis.call('HGET', KEYS[1], ARGV[1])
if not count or redis.call('HLEN', KEYS[1]) ~= 1 then return {'changed'} end
local ttl, most = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
if count ~= ARGV[3] then return {'touched', ttl} end
if (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most)) then return {'touched', ttl} end
redis.call('DEL', KEYS[1])
return {'released', redis.call('PUBLISH', KEYS[2], '0')}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    const FIELD: &str = "6f1a3c0e-1111-4222-8333-444455556666:42";

    #[test]
    fn a_field_with_uuid_and_thread_is_a_hold_and_anything_else_is_not() {
        let seen = |fields: &[(&str, &str)]| {
            let root = Raw::hash("k", fields, Some(9));
            let stored = Stored { root: &root, beside: &[], configured: true, now_ms: 0 };
            Redisson.recognise(&stored).first().map(|found| found.form.holds[0].count)
        };
        assert_eq!(seen(&[(FIELD, "2")]), Some(2));
        assert_eq!(seen(&[(FIELD, "2"), ("mode", "read")]), None);
        assert_eq!(seen(&[("name", "Ada")]), None);
        assert_eq!(seen(&[(FIELD, "two")]), None);
        assert_eq!(identity(FIELD.as_bytes()).thread.as_deref(), Some("42"));
    }

    #[test]
    fn channels_and_locks_name_each_other() {
        for key in [&b"orders"[..], b"a{b}c", b"x:y", b"with}brace"] {
            assert_eq!(lock_of_channel(&channel(key)), Some(key), "{}", key.escape_ascii());
        }
        let fair = format!("{CHANNEL_PREFIX}{{orders}}:{FIELD}");
        assert_eq!(lock_of_channel(fair.as_bytes()), None);
    }
}
