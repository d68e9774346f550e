//! python-redis-lock: a string under `lock:<name>` and a list under `lock-signal:<name>` that wakes who waits.
//!
//! Source: ionelmc/python-redis-lock 4.0.1, `src/redis_lock/__init__.py`; formats seen running.

use bytes::Bytes;
use lockkeeper_model::Certainty;

use super::redlock_recipe::has_redislock_metadata;
use super::shape::{could_be_chosen, is_token_shaped, names_nobody};
use super::token::CHOSEN_VALUE;
use super::{Dialect, Found, Kind, Raw, Script, Stored, Value, most_ttl, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct PythonRedisLock;

const NAME: &str = "python-redis-lock";
const PREFIX: &[u8] = b"lock:";
const SIGNAL_PREFIX: &[u8] = b"lock-signal:";

/// Base64 of 18 random bytes, without padding.
const TOKEN_CHARS: usize = 24;

const TRAITS: DialectTraits = DialectTraits {
    strip_prefix: "lock:",
    told_because: "The store does not tell it. If it renews by itself, only its renewing thread ends and the program is \
                   not told; its own release raises an error. Until then it goes on as if it had the lock.",
    release: "The key is deleted only if its value is still exactly this token and its expiry was not pushed out since; \
              then one element is put on its signal list, which wakes one waiter, as the library does.",
    // A `Lock` object keeps its id from one acquire to the next.
    token_is_one_use: false,
    waiters_because: "those who wait block on its signal list; Redis does not say on which list a client blocks",
    ..DialectTraits::COMPARING
};

static OWN_TRAITS: DialectTraits = TRAITS;

static CHOSEN_TRAITS: DialectTraits = DialectTraits { no_hold: Some(CHOSEN_VALUE), ..TRAITS };

static RANDOM_TOKEN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Likely,
    because: "24 base64 characters under `lock:`, as python-redis-lock writes them",
    traits: &OWN_TRAITS,
};

static CHOSEN_TOKEN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Ambiguous,
    because: "a value that the caller chose under `lock:`: python-redis-lock with an id of its own, or made by hand. A \
              release sends the signal of python-redis-lock, which harms nobody else",
    traits: &CHOSEN_TRAITS,
};

static SIGNALLED: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Likely,
    because: "a value that the caller chose under `lock:`, and its signal list stands beside it",
    traits: &OWN_TRAITS,
};

impl Dialect for PythonRedisLock {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        key.strip_prefix(SIGNAL_PREFIX).filter(|name| !name.is_empty()).map(|name| [PREFIX, name].concat())
    }

    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        // Its own tokens need no proof, and another library's are none: the reading would be in vain for nearly all.
        match &root.value {
            Value::String(token) if is_under_prefix(&root.key) && is_chosen(token) => vec![signal(&root.key)],
            _ => Vec::new(),
        }
    }

    fn beside_led(&self, root: &Raw) -> Vec<Vec<u8>> {
        if is_under_prefix(&root.key) { vec![signal(&root.key)] } else { Vec::new() }
    }

    fn holdable(&self) -> Vec<&'static Recognition> {
        vec![&RANDOM_TOKEN]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(token) = stored.string().filter(|_| is_under_prefix(stored.key())) else { return none() };
        let own = token.len() == TOKEN_CHARS
            && token.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
        let signal = stored.beside(&signal(stored.key())).map(|raw| raw.key.clone());
        let chosen = !own && is_chosen(token);
        let recognition = match () {
            () if own => &RANDOM_TOKEN,
            () if chosen && signal.is_some() => &SIGNALLED,
            () if chosen => &CHOSEN_TOKEN,
            () => return none(),
        };
        let mut form = Form::exclusive(recognition, token, stored.ttl_ms());
        if let Some(signal) = signal {
            form.extra_mut().companions.push(Bytes::copy_from_slice(&signal));
        }
        whole(form)
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        Script {
            code: RELEASE,
            keys: vec![order.key.to_vec(), signal(&order.key)],
            arguments: vec![order.token.to_vec(), most_ttl(order, now_ms)],
        }
    }
}

/// A value that the caller may have given as the lock's id.
fn is_chosen(token: &[u8]) -> bool {
    !names_nobody(token) && !is_token_shaped(token) && !has_redislock_metadata(token) && could_be_chosen(token)
}

fn is_under_prefix(key: &[u8]) -> bool {
    key.len() > PREFIX.len() && key.starts_with(PREFIX)
}

/// `lock:<name>` → `lock-signal:<name>`.
fn signal(key: &[u8]) -> Vec<u8> {
    [SIGNAL_PREFIX, key.strip_prefix(PREFIX).unwrap_or(key)].concat()
}

/// The library's own unlock, with length and expiry compared as well: empty the signal list, push one element that
/// lives for a second, delete the lock.
const RELEASE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'string' or redis.call('STRLEN', KEYS[1]) ~= #ARGV[1] or redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'changed'}
end
local ttl, most = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
if (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most)) then return {'touched', ttl} end
redis.call('DEL', KEYS[2])
redis.call('LPUSH', KEYS[2], '1')
redis.call('PEXPIRE', KEYS[2], 1000)
redis.call('DEL', KEYS[1])
return {'released', -1}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_list_is_named_after_the_lock() {
        assert_eq!(signal(b"lock:stock:4711"), b"lock-signal:stock:4711");
    }

    #[test]
    fn only_keys_under_the_prefix_are_its_own() {
        let seen = |key: &str, value: &[u8]| {
            let root = Raw::string(key, value, None);
            let stored = Stored { root: &root, beside: &[], configured: true, now_ms: 0 };
            PythonRedisLock.recognise(&stored).first().map(|found| found.form.recognition.certainty)
        };
        assert_eq!(seen("lock:a", b"abcdefghijklmnopqrstuv+/"), Some(Certainty::Likely));
        assert_eq!(seen("lock:a", b"worker-7"), Some(Certainty::Ambiguous));
        assert_eq!(seen("lock:a", b"0f8e41d2a2c911ef8b0a0242ac120003"), None);
        assert_eq!(seen("other", b"abcdefghijklmnopqrstuv+/"), None);
    }
}
