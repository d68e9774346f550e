//! Spring: the lock registry of Spring Integration, and the lock of Spring Data's cache.
//!
//! A registry writes `<registry>:<key>` with a random UUID of its own, the same in all its locks. Whether those who wait
//! poll or listen cannot be seen, and neither can where the registry's name ends: a release publishes for every place at
//! which it may, which harms nobody who does not listen.
//!
//! Sources: spring-projects/spring-integration 7.2, `RedisLockRegistry`; spring-projects/spring-data-redis,
//! `DefaultRedisCacheWriter`; read.

use lockkeeper_model::{Certainty, LockState};

use super::shape::{has_lock_like_name, is_uuid4};
use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, most_ttl, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct Spring;

const REGISTRY: &str = "spring";
const CACHE: &str = "spring-cache";

/// Places at which the registry's name may end that are tried; names of registries have a part or two.
const MAX_SPLITS: usize = 16;

static IN_REGISTRY: Recognition = Recognition {
    dialect: REGISTRY,
    certainty: Certainty::Ambiguous,
    because: "a random UUID under a name of several parts: Spring's lock registry, aioredlock, redlock-rb and locks made \
              by hand look exactly the same. A release also publishes Spring's message, which harms nobody else",
    traits: &DialectTraits {
        told_because: "The store does not tell it. Spring finds out at its next renewal or unlock, which raises an error; \
                       aioredlock and an extending redlock-rb take the lock again at theirs; until then it goes on as if \
                       it had the lock.",
        release: "The key is deleted only if its value is still exactly this token and its expiry was not pushed out \
                  since; then its name is published on the channel of every registry that its name allows, as Spring does \
                  to wake those who listen.",
        comes_back: Some(
            "if it is aioredlock or an extending redlock-rb, its next renewal takes the lock again unless somebody else \
             has it by then",
        ),
        // The registry's UUID, in all its locks.
        token_is_one_use: false,
        waiters_because: "those who wait poll, or listen to a pattern of channels, which Redis does not count by lock",
        ..DialectTraits::COMPARING
    },
};

static CACHE_LOCK: Recognition = Recognition {
    dialect: CACHE,
    certainty: Certainty::Likely,
    because: "an empty value under `<cache>~lock`, as Spring Data locks a cache",
    traits: &DialectTraits {
        told_because: "Nothing tells it: its unlock deletes the key, whoever has it.",
        unsafe_unlock: Some("Spring Data deletes the key without comparing, whoever has it by then"),
        no_hold: Some(DialectTraits::HOLD_IS_DELETED),
        never_renews: Some("Spring Data does not renew"),
        token_is_one_use: false,
        waiters_because: "those who wait for it poll every 50 ms, which leaves no trace in Redis",
        ..DialectTraits::COMPARING
    },
};

impl Dialect for Spring {
    fn names(&self) -> &'static [&'static str] {
        &[REGISTRY, CACHE]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn holdable(&self) -> Vec<&'static Recognition> {
        vec![&IN_REGISTRY]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(token) = stored.string() else { return none() };
        if token.is_empty() && stored.key().ends_with(b"~lock") {
            let form = Form::exclusive(&CACHE_LOCK, token, stored.ttl_ms());
            return whole(Form { state: LockState::UnknownHolder, ..form });
        }
        let is_registrys = is_uuid4(token)
            && splits(stored.key()).next().is_some()
            && (stored.configured || has_lock_like_name(stored.key()));
        if is_registrys { whole(Form::exclusive(&IN_REGISTRY, token, stored.ttl_ms())) } else { none() }
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        if order.dialect == CACHE {
            return compare_and_delete(order, now_ms);
        }
        let channels = splits(&order.key).map(|registry| [registry, b"-channel:", &order.key].concat());
        Script {
            code: RELEASE,
            keys: std::iter::once(order.key.to_vec()).chain(channels).collect(),
            arguments: vec![order.token.to_vec(), most_ttl(order, now_ms)],
        }
    }
}

/// What the registry's name may be: the key up to each colon that has something on both sides.
fn splits(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let colons = key.iter().enumerate().filter(|(_, byte)| **byte == b':');
    colons.map(|(at, _)| &key[..at]).filter(|name| !name.is_empty() && name.len() + 1 < key.len()).take(MAX_SPLITS)
}

/// The library's own unlock with length and expiry compared as well. Nobody may listen: then nothing is said of waking.
const RELEASE: &str = r"
local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'string' or redis.call('STRLEN', key) ~= #ARGV[1] or redis.call('GET', key) ~= ARGV[1] then
  return {'changed'}
end
local ttl, most = redis.call('PTTL', key), tonumber(ARGV[2])
if (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most)) then return {'touched', ttl} end
redis.call('UNLINK', key)
local woken = 0
for i = 2, #KEYS do woken = woken + redis.call('PUBLISH', KEYS[i], key) end
return {'released', woken > 0 and woken or -1}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    const UUID4: &[u8] = b"0f8e41d2-a2c9-41ef-8b0a-0242ac120003";

    fn seen(key: &str, value: &[u8], configured: bool) -> Option<(&'static str, LockState)> {
        let root = Raw::string(key, value, None);
        let stored = Stored { root: &root, beside: &[], configured, now_ms: 0 };
        Spring.recognise(&stored).first().map(|found| (found.form.recognition.dialect, found.form.state))
    }

    #[test]
    fn a_registry_needs_a_name_in_front_of_a_colon_and_a_cache_its_suffix() {
        assert_eq!(seen("order-locks:17", UUID4, false), Some((REGISTRY, LockState::Held)));
        assert_eq!(seen("orders:17", UUID4, false), None);
        assert_eq!(seen("orders:17", UUID4, true), Some((REGISTRY, LockState::Held)));
        assert_eq!(seen("order-locks", UUID4, true), None);
        assert_eq!(seen("order-locks:17", b"worker-7", true), None);
        assert_eq!(seen("prices~lock", b"", false), Some((CACHE, LockState::UnknownHolder)));
        assert_eq!(seen("prices~lock", b"x", false), None);
        assert_eq!(seen("prices", b"", false), None);
    }

    #[test]
    fn every_name_that_the_registry_may_have_is_told() {
        assert_eq!(splits(b"a:b:c").collect::<Vec<_>>(), [&b"a"[..], b"a:b"]);
        assert_eq!(splits(b":a:").count(), 0);
        assert_eq!(splits(&[b"a:"[..].repeat(100), b"b".to_vec()].concat()).count(), MAX_SPLITS);
    }
}
