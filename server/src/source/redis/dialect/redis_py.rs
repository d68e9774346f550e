//! redis-py's `Lock` and what is built on it: a string whose value is a UUID of version 1 without dashes.
//!
//! The UUID tells when `acquire` was called and on which network card, so a match is hardly ever an accident and the name
//! need not say that it is a lock, unless the time is long ago. The libraries on top are told apart by how they name keys.
//!
//! Sources: redis/redis-py 8.1.0, `redis/lock.py`; jazzband/django-redis 7.0.0; sibson/redbeat 2.4.2; cameronmaske/celery-once
//! 3.0.1; formats seen running.

use lockkeeper_model::Certainty;

use super::shape::{has_lock_like_name, is_timed_uuid1, uuid1_identity, uuid1_time};
use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct RedisPy;

/// Under a name that says nothing, an acquire this long ago is taken for a random number. One in sixty-four of random 32
/// hex digits is a UUID of version 1, with any time of 3,653 years: within a year that were four in a million, which
/// stores of session ids have; within a week it is one in twelve millions.
const OLDEST_UNNAMED_MS: i64 = 7 * 86_400_000;

const REDIS_PY: &str = "redis-py";
const DJANGO_REDIS: &str = "django-redis";
const REDBEAT: &str = "redbeat";
const CELERY_ONCE: &str = "celery-once";

/// What holds for a lock of redis-py, under whatever name.
const TRAITS: DialectTraits = DialectTraits {
    told_because: "The store does not tell it. Its next `extend`, `reacquire` or `release` raises an error; until then \
                   it goes on as if it had the lock.",
    never_renews: Some("redis-py does not renew by itself"),
    identity: uuid1_identity,
    ..DialectTraits::COMPARING
};

static BARE: Recognition = Recognition {
    dialect: REDIS_PY,
    certainty: Certainty::Likely,
    because: "32 hex digits that are a UUID of version 1 whose time fits the age of the key",
    traits: &DialectTraits { strip_prefix: "lock:", ..TRAITS },
};

static DJANGO: Recognition = Recognition {
    dialect: DJANGO_REDIS,
    certainty: Certainty::Likely,
    because: "a token of redis-py under `:<version>:`, as Django's cache names its keys",
    traits: &TRAITS,
};

static DJANGO_PREFIX: Recognition = Recognition {
    dialect: DJANGO_REDIS,
    certainty: Certainty::Ambiguous,
    because: "a token of redis-py under `<prefix>:<number>:`: Django's cache with a key prefix names its keys so, and \
              so may anybody who uses redis-py alone. Both are released alike",
    traits: &TRAITS,
};

static SCHEDULER: Recognition = Recognition {
    dialect: REDBEAT,
    certainty: Certainty::Certain,
    because: "a token of redis-py under `redbeat:…:lock`: the lock of a Celery beat scheduler",
    traits: &DialectTraits {
        told_because: "The store does not tell it. Its next tick finds the lock gone and the scheduler ends; until then \
                       two may schedule.",
        // It is renewed at each tick, which comes every five minutes by default and can be hours apart.
        never_renews: None,
        ..TRAITS
    },
};

static ONCE: Recognition = Recognition {
    dialect: CELERY_ONCE,
    certainty: Certainty::Certain,
    because: "a token of redis-py under `qo_`: celery-once keeps a task from being queued twice",
    traits: &DialectTraits {
        strip_prefix: "qo_",
        told_because: "Nothing tells it: the task runs to its end and deletes the key then, whoever has it.",
        unsafe_unlock: Some("celery-once deletes the key at the task's end without comparing, whoever has it by then"),
        no_hold: Some(DialectTraits::HOLD_IS_DELETED),
        never_renews: Some("celery-once does not renew"),
        waiters_because: "nobody waits for it: a task that is queued already is refused",
        ..TRAITS
    },
};

impl Dialect for RedisPy {
    fn names(&self) -> &'static [&'static str] {
        &[REDIS_PY, DJANGO_REDIS, REDBEAT, CELERY_ONCE]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn holdable(&self) -> Vec<&'static Recognition> {
        vec![&BARE, &DJANGO, &SCHEDULER]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(token) = stored.string().filter(|token| is_timed_uuid1(token, stored.now_ms)) else { return none() };
        let asked_at = uuid1_time(token).map_or(i64::MIN, |time| time.0);
        let is_named = stored.configured || has_lock_like_name(stored.key()) || is_of_a_tool(stored.key());
        if !is_named && asked_at < stored.now_ms - OLDEST_UNNAMED_MS {
            return none();
        }
        let recognition = match stored.key() {
            key if is_once(key) => &ONCE,
            key if is_scheduler(key) => &SCHEDULER,
            key => match cache_prefix(key) {
                Some(b"") => &DJANGO,
                Some(_) => &DJANGO_PREFIX,
                None => &BARE,
            },
        };
        whole(Form::exclusive(recognition, token, stored.ttl_ms()))
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        compare_and_delete(order, now_ms)
    }
}

fn is_once(key: &[u8]) -> bool {
    key.starts_with(b"qo_")
}

fn is_scheduler(key: &[u8]) -> bool {
    key.starts_with(b"redbeat:") && key.ends_with(b":lock")
}

/// A name that only a library on top of redis-py gives.
fn is_of_a_tool(key: &[u8]) -> bool {
    is_once(key) || is_scheduler(key)
}

/// The prefix of `<prefix>:<version>:<name>`.
fn cache_prefix(key: &[u8]) -> Option<&[u8]> {
    let mut parts = key.splitn(3, |&byte| byte == b':');
    let (prefix, version, name) = (parts.next()?, parts.next()?, parts.next()?);
    (!version.is_empty() && version.iter().all(u8::is_ascii_digit) && !name.is_empty()).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    /// Made at 2026-01-01T02:51:41.794Z.
    const UUID1: &[u8] = b"cd1cdc00e6bc11f08de90242ac120003";

    fn seen(key: &str, value: &[u8]) -> Option<(&'static str, Certainty)> {
        seen_at(key, value, 1_767_235_900_120)
    }

    fn seen_at(key: &str, value: &[u8], now_ms: i64) -> Option<(&'static str, Certainty)> {
        let root = Raw::string(key, value, Some(1));
        let stored = Stored { root: &root, beside: &[], configured: false, now_ms };
        let found = RedisPy.recognise(&stored);
        found.first().map(|found| (found.form.recognition.dialect, found.form.recognition.certainty))
    }

    #[test]
    fn the_name_tells_who_is_on_top() {
        use Certainty::{Ambiguous, Certain, Likely};
        assert_eq!(seen("anything", UUID1), Some((REDIS_PY, Likely)));
        assert_eq!(seen("lock:stock:4711", UUID1), Some((REDIS_PY, Likely)));
        assert_eq!(seen(":1:stock", UUID1), Some((DJANGO_REDIS, Likely)));
        assert_eq!(seen("shop:2:stock", UUID1), Some((DJANGO_REDIS, Ambiguous)));
        assert_eq!(seen("redbeat::lock", UUID1), Some((REDBEAT, Certain)));
        assert_eq!(seen("qo_orders.import_tenant-9", UUID1), Some((CELERY_ONCE, Certain)));
    }

    #[test]
    fn a_time_that_cannot_be_is_a_random_number() {
        for value in [&b"0f8e41d2a2c941ef8b0a0242ac120003"[..], b"0123456789ab1cdef0123456789abcde", b"", b"worker-7"] {
            assert_eq!(seen(":1:stock", value), None);
        }
    }

    #[test]
    fn a_time_long_ago_is_believed_only_where_the_name_says_more() {
        let in_ten_days = 1_767_235_900_120 + 10 * 86_400_000;
        assert_eq!(seen_at("session:4711", UUID1, in_ten_days), None);
        assert_eq!(seen_at("lock:stock", UUID1, in_ten_days), Some((REDIS_PY, Certainty::Likely)));
        assert_eq!(seen_at("qo_import", UUID1, in_ten_days), Some((CELERY_ONCE, Certainty::Certain)));
    }
}
