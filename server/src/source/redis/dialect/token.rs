//! One string key whose value is the holder's token: `SET key token NX PX lease`.
//!
//! Speaks for what no other family recognises of the Redlock recipe, and for redis-py's `Lock` under a name that no
//! family on top of it claims: the libraries differ in the token's shape, and all of them are freed by comparing the
//! value and deleting the key. Their waiters poll and leave no trace.
//!
//! Source: redis/redis-py 8.1.0, `redis/lock.py`; formats seen running.

use lockkeeper_model::{Certainty, LockState};

use super::shape::uuid1_identity;
use super::shape::{could_be_chosen, has_lock_like_name, is_timed_uuid1, is_token_shaped, names_nobody};
use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct Token;

const TOKEN: &str = "token";
const REDIS_PY: &str = "redis-py";

const TRAITS: DialectTraits = DialectTraits {
    strip_prefix: "lock:",
    told_because: "The store does not tell it. A library that renews or unlocks by comparing finds out then; until then \
                   it goes on as if it had the lock, and some take the lock again.",
    token_is_one_use: false,
    ..DialectTraits::PLAIN
};

/// What holds for a lock of redis-py, under whatever name.
pub(super) const REDIS_PY_TRAITS: DialectTraits = DialectTraits {
    told_because: "The store does not tell it. Its next `extend`, `reacquire` or `release` raises an error; until then \
                   it goes on as if it had the lock.",
    never_renews: Some("redis-py does not renew by itself"),
    identity: uuid1_identity,
    ..DialectTraits::PLAIN
};

static REDIS_PY_LOCK: DialectTraits = DialectTraits { strip_prefix: "lock:", ..REDIS_PY_TRAITS };

static REDIS_PY_SEEN: Recognition = Recognition {
    dialect: REDIS_PY,
    certainty: Certainty::Likely,
    because: "32 hex digits that are a UUID of version 1 whose time fits the age of the key",
    traits: &REDIS_PY_LOCK,
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
    fn names(&self) -> &'static [&'static str] {
        &[TOKEN, REDIS_PY]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(token) = stored.string() else { return none() };
        let no_owner = names_nobody(token);
        let lock_like = has_lock_like_name(stored.key());
        let recognition = if is_timed_uuid1(token, stored.now_ms) {
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
            return none();
        };
        let form = Form::exclusive(recognition, token, stored.ttl_ms());
        whole(if no_owner { Form { state: LockState::UnknownHolder, ..form } } else { form })
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        compare_and_delete(order, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    fn seen(key: &str, value: &[u8], configured: bool) -> Option<&'static str> {
        let root = Raw::string(key, value, Some(1));
        let stored = Stored { root: &root, beside: &[], configured, now_ms: 1_767_235_900_120 };
        Token.recognise(&stored).first().map(|found| found.form.recognition.because)
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
