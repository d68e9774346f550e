//! Laravel's `Cache::lock`: a string of 16 letters and digits under the prefixes of the connection and of the cache.
//!
//! Cached values lie under the same prefixes, but packed: `s:5:"hello";`, or a bare number.
//!
//! Sources: illuminate/cache 8.83, formats seen running; laravel/framework 13.26, `RedisLock`, `UniqueLock`,
//! `WithoutOverlapping`, `CacheEventMutex`, read.

use lockkeeper_model::Certainty;
use memchr::memmem::find;

use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct Laravel;

const NAME: &str = "laravel";

const OWNER_CHARS: usize = 16;

const TRAITS: DialectTraits = DialectTraits {
    told_because: "The store does not tell it. Its own release compares and answers false; until then it goes on as if it \
                   had the lock.",
    never_renews: Some("Laravel does not renew by itself"),
    waiters_because: "those who wait for it poll every 250 ms, which leaves no trace in Redis",
    ..DialectTraits::COMPARING
};

static CACHE: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Likely,
    because: "16 letters and digits, not packed as cached values are, under a prefix of Laravel's cache",
    traits: &TRAITS,
};

static UNIQUE_JOB: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "16 letters and digits under `laravel_unique_job:`: a job that may be queued only once",
    traits: &DialectTraits {
        told_because: "Nothing tells it: the job runs to its end and lets go then.",
        unsafe_unlock: Some("a job that carries no owner lets go without comparing, whoever has the lock by then"),
        no_hold: Some(DialectTraits::HOLD_IS_DELETED),
        waiters_because: "nobody waits for it: a job that is queued already is not queued again",
        ..TRAITS
    },
};

static OVERLAP: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "16 letters and digits under `laravel-queue-overlap:`: jobs that may not run side by side",
    traits: &TRAITS,
};

static SCHEDULE: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "16 letters and digits under `framework/schedule-`: a scheduled task that may not overlap with itself",
    traits: &DialectTraits {
        told_because: "Nothing tells it: the task runs to its end and deletes the key then.",
        unsafe_unlock: Some(
            "the scheduler deletes the key at the task's end without comparing, whoever has it by then",
        ),
        no_hold: Some(DialectTraits::HOLD_IS_DELETED),
        waiters_because: "nobody waits for it: a task that still runs is skipped",
        ..TRAITS
    },
};

impl Dialect for Laravel {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn holdable(&self) -> Vec<&'static Recognition> {
        vec![&CACHE]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(token) = stored.string().filter(|value| is_owner(unpacked(value))) else { return none() };
        let key = stored.key();
        let has = |part: &[u8]| find(key, part).is_some();
        let recognition = match () {
            () if has(b"laravel_unique_job:") => &UNIQUE_JOB,
            () if has(b"laravel-queue-overlap:") => &OVERLAP,
            () if has(b"framework/schedule-") => &SCHEDULE,
            // A packed value here is a cached text of sixteen letters.
            () if token.len() == OWNER_CHARS && is_under_cache_prefix(key) => &CACHE,
            () => return none(),
        };
        whole(Form::exclusive(recognition, token, stored.ttl_ms()))
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        compare_and_delete(order, now_ms)
    }
}

/// 16 letters and digits; digits alone are a cached number.
fn is_owner(value: &[u8]) -> bool {
    value.len() == OWNER_CHARS
        && value.iter().all(u8::is_ascii_alphanumeric)
        && value.iter().any(u8::is_ascii_alphabetic)
}

/// The text of a value that PHP serialised, for connections that serialise everything.
fn unpacked(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"s:16:\"").and_then(|rest| rest.strip_suffix(b"\";")).unwrap_or(value)
}

/// `<app>-database-<app>-cache-`, or `<app>_database_<app>_cache` in older releases.
fn is_under_cache_prefix(key: &[u8]) -> bool {
    let follows = |connection: &[u8], cache: &[u8]| {
        find(key, connection).is_some_and(|at| find(&key[at + connection.len()..], cache).is_some())
    };
    follows(b"-database-", b"-cache-") || follows(b"_database_", b"_cache")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    fn seen(key: &str, value: &[u8]) -> Option<&'static str> {
        let root = Raw::string(key, value, None);
        let stored = Stored { root: &root, beside: &[], configured: false, now_ms: 0 };
        Laravel.recognise(&stored).first().map(|found| found.form.recognition.because)
    }

    #[test]
    fn prefixes_of_all_releases_and_names_of_the_framework_are_known() {
        let owner = b"SPaceSXo9WpTbbua";
        assert_eq!(seen("shop_database_shop_cache:stock", owner), Some(CACHE.because));
        assert_eq!(seen("shop_database_shop_cache_:stock", owner), Some(CACHE.because));
        assert_eq!(seen("shop-database-shop-cache-stock", owner), Some(CACHE.because));
        let job = r"shop-database-shop-cache-laravel_unique_job:App\Jobs\Import:42";
        assert_eq!(seen(job, owner), Some(UNIQUE_JOB.because));
        assert_eq!(seen(job, br#"s:16:"SPaceSXo9WpTbbua";"#), Some(UNIQUE_JOB.because));
        assert_eq!(seen("x:laravel-queue-overlap:App:7", owner), Some(OVERLAP.because));
        assert_eq!(seen("x:framework/schedule-11f6", owner), Some(SCHEDULE.because));
    }

    #[test]
    fn cached_values_are_no_locks() {
        for value in [&b"5"[..], br#"s:16:"SPaceSXo9WpTbbua";"#, br#"s:5:"hello";"#, b"1234567890123456", b"worker-7"] {
            assert_eq!(seen("shop_database_shop_cache:page", value), None);
        }
        assert_eq!(seen("login:20", b"v5OZJGMU20Ff07RL"), None);
    }
}
