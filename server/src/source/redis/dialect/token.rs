//! One string key whose value is the holder's token: `SET key token NX PX lease`.
//!
//! Speaks for every library of the Redlock recipe (redis-py and its kin, redlock in many languages, redsync,
//! bsm/redislock, aioredlock, Laravel, locks made by hand): they differ in the token's shape, and all of them are freed
//! by comparing the value and deleting the key. Their waiters poll and leave no trace.

use lockkeeper_model::{Certainty, Identity, Mode, Told};
use smallvec::smallvec;

use super::{Dialect, Script, StoredKey, Value, most_ttl};
use crate::source::{DialectTraits, Form, Hold, Recognition, ReleaseOrder};

pub(super) struct Token;

/// The names under which this family's locks are shown.
pub(super) const NAMES: [&str; 2] = [REDIS_PY, TOKEN];
const TOKEN: &str = "token";
const REDIS_PY: &str = "redis-py";

/// Without an operator's word, a value longer than this is no token. The longest that a known library writes by itself
/// is a host name, a process id and 32 digits.
const MAX_GUESSED_TOKEN: usize = 128;

/// A UUID's time is believed if it is at most this far in the future: clocks of hosts differ by seconds, not minutes.
const CLOCK_SKEW_MS: i64 = 120_000;

/// …and at most this old: a lock that was asked for a year ago is rather a random number.
const OLDEST_ACQUIRE_MS: i64 = 366 * 86_400_000;

const TRAITS: DialectTraits = DialectTraits {
    stored_as: "string",
    strip_prefix: "lock:",
    told: Told::AtRenewal,
    told_because: "The store does not tell it. A library that renews or unlocks by comparing finds out then; until then \
                   it goes on as if it had the lock, and some take the lock again.",
    release: "The key is deleted only if its value is still exactly this token and its expiry was not pushed out since.",
    token_is_one_use: false,
    waiters_counted: false,
    waiters_because: "those who wait for it poll, which leaves no trace in Redis",
    never_renews: None,
    companions: |_| Vec::new(),
    identity: |_| Identity::default(),
};

const REDIS_PY_TRAITS: DialectTraits = DialectTraits {
    told: Told::AtRenewal,
    told_because: "The store does not tell it. Its next `extend`, `reacquire` or `release` raises an error; until then \
                   it goes on as if it had the lock.",
    token_is_one_use: true,
    never_renews: Some("redis-py does not renew by itself"),
    ..TRAITS
};

static REDIS_PY_SEEN: Recognition = Recognition {
    dialect: REDIS_PY,
    certainty: Certainty::Likely,
    because: "32 hex digits that are a UUID of version 1 whose time fits the age of the key",
    traits: &REDIS_PY_TRAITS,
};

static CONFIGURED: Recognition = Recognition {
    dialect: TOKEN,
    certainty: Certainty::Configured,
    because: "a string under a configured pattern; no known library writes a value of this form",
    traits: &TRAITS,
};

static SHAPED: Recognition = Recognition {
    dialect: TOKEN,
    certainty: Certainty::Ambiguous,
    because: "a string whose value has the form of a token that several libraries write",
    traits: &TRAITS,
};

static NAMED: Recognition = Recognition {
    dialect: TOKEN,
    certainty: Certainty::Ambiguous,
    because: "a short string under a name that says lock; the value was chosen by the caller",
    traits: &TRAITS,
};

static NOBODY: Recognition = Recognition {
    dialect: TOKEN,
    certainty: Certainty::Ambiguous,
    because: "a string under a name that says lock, whose value names nobody",
    traits: &TRAITS,
};

impl Dialect for Token {
    fn name(&self) -> &'static str {
        TOKEN
    }

    fn recognise(&self, stored: &StoredKey<'_>) -> Option<Form> {
        let Value::String(token) = stored.value else { return None };
        let no_owner = names_nobody(token);
        let lock_like = has_lock_like_name(stored.key);
        let recognition = if is_redis_py(token, stored.now_ms) {
            &REDIS_PY_SEEN
        } else if no_owner && (lock_like || stored.configured) {
            &NOBODY
        } else if is_token_shaped(token) && (lock_like || stored.configured) {
            &SHAPED
        } else if stored.configured {
            &CONFIGURED
        } else if lock_like && could_be_chosen(token) {
            &NAMED
        } else {
            return None;
        };
        Some(Form {
            recognition,
            mode: Mode::Exclusive,
            holds: smallvec![Hold { token: token.into(), count: 1, ttl_ms: stored.ttl_ms }],
            no_owner,
        })
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        Script {
            code: RELEASE,
            keys: vec![order.key.to_vec()],
            arguments: vec![order.token.to_vec(), most_ttl(order, now_ms)],
        }
    }
}

/// Compares type, length, bytes and expiry, then deletes. The length is compared first so that a value that grew large
/// is not copied.
const RELEASE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'string' or redis.call('STRLEN', KEYS[1]) ~= #ARGV[1] or redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'changed'}
end
local ttl, most = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
if (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most)) then return {'touched', ttl} end
redis.call('DEL', KEYS[1])
return {'released', -1}
";

/// A value that cannot tell one holder from another.
pub(super) fn names_nobody(value: &[u8]) -> bool {
    matches!(
        value,
        b"" | b"1" | b"0" | b"true" | b"TRUE" | b"True" | b"locked" | b"LOCKED" | b"lock" | b"ok" | b"OK" | b"yes"
    )
}

/// A name by which people call locks.
pub(super) fn has_lock_like_name(key: &[u8]) -> bool {
    const WORDS: [&[u8]; 6] = [b"lock", b"mutex", b"lease", b"semaphore", b"leader", b"singleton"];
    let lower = key.to_ascii_lowercase();
    WORDS.iter().any(|word| memchr::memmem::find(&lower, word).is_some())
}

/// 32 hex digits with the version digit of UUID 1 and a time that can be the time of an acquire (redis-py).
fn is_redis_py(token: &[u8], now_ms: i64) -> bool {
    if token.len() != 32 || !token.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) || token[12] != b'1' {
        return false;
    }
    let Ok(text) = std::str::from_utf8(token) else { return false };
    let part = |range: std::ops::Range<usize>| u64::from_str_radix(&text[range], 16).unwrap_or(0);
    // RFC 9562 §5.1: 60 bits of 100 ns since 1582-10-15.
    let ticks = (part(13..16) << 48) | (part(8..12) << 32) | part(0..8);
    let unix_ms = i64::try_from(ticks / 10_000).unwrap_or(i64::MAX) - 12_219_292_800_000;
    (now_ms - OLDEST_ACQUIRE_MS..=now_ms + CLOCK_SKEW_MS).contains(&unix_ms)
}

/// The token forms of known libraries: hex and dashed UUIDs, base64 of 16 or 18 bytes, 16 to 22 letters and digits, 20
/// or 24 raw bytes, host_pid_hex.
pub(super) fn is_token_shaped(token: &[u8]) -> bool {
    let all = |allowed: fn(&u8) -> bool| token.iter().all(allowed);
    let base64: fn(&u8) -> bool =
        |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    let is_raw = || std::str::from_utf8(token).is_err();
    match token.len() {
        32 | 40 | 64 => all(u8::is_ascii_hexdigit),
        36 => is_dashed_uuid(token),
        16 => all(u8::is_ascii_alphanumeric),
        20 => all(u8::is_ascii_alphanumeric) || is_raw(),
        22 => all(base64),
        24 => all(base64) || is_raw(),
        len if len > 36 && len <= MAX_GUESSED_TOKEN => {
            let (head, tail) = token.split_at(len - 32);
            is_dashed_uuid(&token[..36]) || (head.ends_with(b"_") && tail.iter().all(u8::is_ascii_hexdigit))
        }
        _ => false,
    }
}

fn is_dashed_uuid(token: &[u8]) -> bool {
    token.len() == 36
        && token.iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A value that somebody may have chosen to name a holder: short, one word, no structure.
pub(super) fn could_be_chosen(value: &[u8]) -> bool {
    value.len() <= MAX_GUESSED_TOKEN
        && value.iter().all(|byte| {
            byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'[' | b']' | b'"' | b'<' | b'>' | b',')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(key: &str, value: &[u8], configured: bool) -> Option<&'static str> {
        let stored = StoredKey {
            key: key.as_bytes(),
            value: Value::String(value),
            ttl_ms: Some(1),
            configured,
            now_ms: 1_767_235_900_120,
        };
        Token.recognise(&stored).map(|form| form.recognition.because)
    }

    #[test]
    fn a_bare_key_needs_more_than_its_value_unless_the_value_proves_itself() {
        // Made at 2026-01-01T02:50:10Z.
        let uuid1 = b"cd1cdc00e6bc11f08de90242ac120003";
        assert_eq!(seen("anything", uuid1, false), Some(REDIS_PY_SEEN.because));
        let random = b"0f8e41d2a2c941ef8b0a0242ac120003";
        assert_eq!(seen("anything", random, false), None);
        assert_eq!(seen("order-lock", random, false), Some(SHAPED.because));
        assert_eq!(seen("session:1", b"worker-7", false), None);
        assert_eq!(seen("lock:a", b"worker-7", false), Some(NAMED.because));
        assert_eq!(seen("lock:settings", br#"{"a": 1}"#, false), None);
    }

    #[test]
    fn an_operator_is_taken_at_their_word() {
        assert_eq!(seen("session:1", br#"{"a": 1}"#, true), Some(CONFIGURED.because));
        assert_eq!(seen("job", b"1", true), Some(NOBODY.because));
    }
}
