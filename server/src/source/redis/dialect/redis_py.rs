//! redis-py's `Lock` and what is built on it: a string whose value is a UUID of version 1 without dashes.
//!
//! The UUID tells when `acquire` was called and on which network card, so a match is practically never an accident and the
//! name need not say that it is a lock. The libraries on top are told apart by how they name keys.
//!
//! Sources: redis/redis-py 8.1.0, `redis/lock.py`; jazzband/django-redis 7.0.0; sibson/redbeat 2.4.2; cameronmaske/celery-once
//! 3.0.1; formats seen running.

use lockkeeper_model::Certainty;

use super::shape::{is_timed_uuid1, uuid1_identity};
use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct RedisPy;

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
    ..DialectTraits::PLAIN
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

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(token) = stored.string().filter(|token| is_timed_uuid1(token, stored.now_ms)) else { return none() };
        let recognition = match stored.key() {
            key if key.starts_with(b"qo_") => &ONCE,
            key if key.starts_with(b"redbeat:") && key.ends_with(b":lock") => &SCHEDULER,
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
        let root = Raw::string(key, value, Some(1));
        let stored = Stored { root: &root, beside: &[], configured: false, now_ms: 1_767_235_900_120 };
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
}
