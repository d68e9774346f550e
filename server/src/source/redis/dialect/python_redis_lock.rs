//! python-redis-lock: a string under `lock:<name>` and a list under `lock-signal:<name>` that wakes who waits.
//!
//! Source: ionelmc/python-redis-lock 4.0.1, `src/redis_lock/__init__.py`; formats seen running.

use lockkeeper_model::{Certainty, Identity, Mode, Told};
use smallvec::smallvec;

use super::{Dialect, Script, StoredKey, Value, most_ttl};
use crate::source::{DialectTraits, Form, Hold, Recognition, ReleaseOrder};

pub(super) struct PythonRedisLock;

const NAME: &str = "python-redis-lock";
const PREFIX: &[u8] = b"lock:";
const SIGNAL_PREFIX: &[u8] = b"lock-signal:";

/// Base64 of 18 random bytes, without padding.
const TOKEN_CHARS: usize = 24;

static TRAITS: DialectTraits = DialectTraits {
    stored_as: "string",
    strip_prefix: "lock:",
    told: Told::AtRenewal,
    told_because: "The store does not tell it. If it renews by itself, only its renewing thread ends and the program is \
                   not told; its own release raises an error. Until then it goes on as if it had the lock.",
    release: "The key is deleted only if its value is still exactly this token and its expiry was not pushed out since; \
              then one element is put on its signal list, which wakes one waiter, as the library does.",
    // A `Lock` object keeps its id from one acquire to the next.
    token_is_one_use: false,
    waiters_counted: false,
    waiters_because: "those who wait block on its signal list; Redis does not say on which list a client blocks",
    never_renews: None,
    companions: |key| vec![signal(key)],
    identity: |_| Identity::default(),
};

static RANDOM_TOKEN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Likely,
    because: "24 base64 characters under `lock:`, as python-redis-lock writes them",
    traits: &TRAITS,
};

static CHOSEN_TOKEN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Ambiguous,
    because: "a value that the caller chose under `lock:`: python-redis-lock with an id of its own, or made by hand. A \
              release sends the signal of python-redis-lock, which harms nobody else",
    traits: &TRAITS,
};

impl Dialect for PythonRedisLock {
    fn name(&self) -> &'static str {
        NAME
    }

    fn recognise(&self, stored: &StoredKey<'_>) -> Option<Form> {
        let Value::String(token) = stored.value else { return None };
        if !stored.key.starts_with(PREFIX) || stored.key.len() == PREFIX.len() {
            return None;
        }
        let own = token.len() == TOKEN_CHARS
            && token.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
        let chosen = !super::token::names_nobody(token)
            && !super::token::is_token_shaped(token)
            && super::token::could_be_chosen(token);
        let recognition = match () {
            () if own => &RANDOM_TOKEN,
            () if chosen => &CHOSEN_TOKEN,
            () => return None,
        };
        Some(Form {
            recognition,
            mode: Mode::Exclusive,
            holds: smallvec![Hold { token: token.into(), count: 1, ttl_ms: stored.ttl_ms }],
            no_owner: false,
        })
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        Script {
            code: RELEASE,
            keys: vec![order.key.to_vec(), signal(&order.key)],
            arguments: vec![order.token.to_vec(), most_ttl(order, now_ms)],
        }
    }
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
        let seen = |key: &[u8], value: &[u8]| {
            let value = Value::String(value);
            PythonRedisLock
                .recognise(&StoredKey { key, value, ttl_ms: None, configured: true, now_ms: 0 })
                .map(|form| form.recognition.certainty)
        };
        assert_eq!(seen(b"lock:a", b"abcdefghijklmnopqrstuv+/"), Some(Certainty::Likely));
        assert_eq!(seen(b"lock:a", b"worker-7"), Some(Certainty::Ambiguous));
        assert_eq!(seen(b"lock:a", b"0f8e41d2a2c911ef8b0a0242ac120003"), None);
        assert_eq!(seen(b"other", b"abcdefghijklmnopqrstuv+/"), None);
    }
}
