//! The Redlock recipe: one string whose value is a random token, taken by `SET key token NX PX lease` and given back by
//! comparing and deleting. Those who wait poll.
//!
//! Speaks for the libraries that add nothing to it and are told apart by the token alone, or not at all. Several look the
//! same; the reasons say so. Node's redlock and bsm/redislock may write one token into several keys: that is one lock.
//!
//! Sources: brainix/pottery 3.0.1, SPSCommerce/redlock-py 1.0.8, joanvila/aioredlock 0.7.3, mike-marcacci/node-redlock 4.2.0
//! and 5.0.0-beta.2, swarthy/redis-semaphore 5.8.0 and hexcowboy/rslock 0.7.3, seen running; go-redsync/redsync,
//! bsm/redislock, leandromoreira/redlock-rb and samcook/RedLock.net, read.

use lockkeeper_model::{Certainty, Identity, words};

use super::redis_semaphore::NAME as REDIS_SEMAPHORE;
use super::shape::{
    begins_with_base64url_of_16, has_lock_like_name, is_alphanumeric_22, is_lower_hex, is_padded_base64_of_16, is_uuid4,
};
use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct RedlockRecipe;

const POTTERY: &str = "pottery";
const AIOREDLOCK: &str = "aioredlock";
const NODE_REDLOCK: &str = "node-redlock";
const REDLOCK_PY: &str = "redlock-py";
const BSM_REDISLOCK: &str = "bsm-redislock";
const REDSYNC: &str = "redsync";
const RSLOCK: &str = "rslock";

const UUID_CHARS: usize = 36;

/// The token of bsm/redislock; what follows it is the caller's.
const BSM_TOKEN_CHARS: usize = 22;

static UNDER_REDLOCK: Recognition = Recognition {
    dialect: POTTERY,
    certainty: Certainty::Ambiguous,
    because: "a random UUID under `redlock:`: pottery and RedLock.net store exactly this; only RedLock.net renews by \
              itself, every half of the lease",
    traits: &DialectTraits {
        strip_prefix: "redlock:",
        told_because: "The store does not tell it. pottery raises an error at its next `extend` or `release`; RedLock.net \
                       takes the lock again at its next renewal if nobody else has.",
        comes_back: Some(
            "if it is RedLock.net, its timer takes the lock again within half a lease unless somebody else has it by then",
        ),
        ..DialectTraits::COMPARING
    },
};

static UNDER_MUTEX: Recognition = Recognition {
    dialect: REDIS_SEMAPHORE,
    certainty: Certainty::Likely,
    because: "a random UUID under `mutex:`, as redis-semaphore for Node writes it",
    traits: &DialectTraits {
        strip_prefix: "mutex:",
        told_because: "The store does not tell it. Its next refresh, due every 0.8 of the lease, fails and raises an error; \
                       until then it goes on as if it had the lock.",
        waiters_because: "those who wait for it poll every 10 ms by default, which leaves no trace in Redis",
        identity: suffix,
        ..DialectTraits::COMPARING
    },
};

static UUID: Recognition = Recognition {
    dialect: AIOREDLOCK,
    certainty: Certainty::Ambiguous,
    because: "a random UUID: aioredlock, redlock-rb and locks made by hand look exactly the same, and are released alike",
    traits: &DialectTraits {
        told_because: "The store does not tell it. aioredlock and redlock-rb take the lock again at their next renewal if \
                       nobody else has; others find out when they renew or unlock, and go on until then.",
        comes_back: Some(
            "if it is aioredlock or an extending redlock-rb, its next renewal takes the lock again unless somebody else \
             has it by then",
        ),
        ..DialectTraits::COMPARING
    },
};

static HEX: Recognition = Recognition {
    dialect: NODE_REDLOCK,
    certainty: Certainty::Ambiguous,
    because: "32 random hex digits: redlock for Node writes them, versions 4 and 5 alike, and so do programs that make a \
              UUID without dashes. Several keys with these digits and one deadline are one lock",
    traits: &DialectTraits {
        told_because: "The store does not tell it. redlock for Node raises an error at its next `extend` or `release`, \
                       some seconds late in version 4; until then it goes on as if it had the lock.",
        release: "Every key of the lock is deleted in one step, only if each still has exactly this token and no expiry \
                  was pushed out since; otherwise none is.",
        may_span_keys: true,
        ..DialectTraits::COMPARING
    },
};

static ALPHANUMERIC: Recognition = Recognition {
    dialect: REDLOCK_PY,
    certainty: Certainty::Likely,
    because: "22 random letters and digits, as redlock-py writes them, that no base64 of 16 bytes can be",
    traits: &DialectTraits {
        told_because: "The store does not tell it, and redlock-py does not notice: its unlock finds another token and \
                       says nothing.",
        never_renews: Some("redlock-py does not renew"),
        ..DialectTraits::COMPARING
    },
};

const BSM_TRAITS: DialectTraits = DialectTraits {
    told_because: "The store does not tell it. Its next `Refresh` or `Release` answers that the lock is not held; until \
                   then it goes on as if it had the lock.",
    release: "Every key of the lock is deleted in one step, only if each still has exactly this value, metadata and all, \
              and no expiry was pushed out since; otherwise none is.",
    may_span_keys: true,
    identity: metadata,
    ..DialectTraits::COMPARING
};

static BASE64URL: Recognition = Recognition {
    dialect: BSM_REDISLOCK,
    certainty: Certainty::Likely,
    because: "base64url of 16 bytes, with a dash or an underscore or with text behind it, as bsm/redislock for Go writes it",
    traits: &BSM_TRAITS,
};

static BASE64URL_OR_ALPHANUMERIC: Recognition = Recognition {
    dialect: BSM_REDISLOCK,
    certainty: Certainty::Ambiguous,
    because: "22 letters and digits that are base64url of 16 bytes: bsm/redislock for Go writes them, and one in sixteen \
              tokens of redlock-py looks the same. Both are released alike",
    traits: &BSM_TRAITS,
};

static BASE64: Recognition = Recognition {
    dialect: REDSYNC,
    certainty: Certainty::Likely,
    because: "base64 of 16 bytes with its padding, as redsync for Go writes it",
    traits: &DialectTraits {
        told_because: "The store does not tell it. Its next `Extend` or `Unlock` answers an error, or, with \
                       `WithSetNXOnExtend`, takes the lock again; until then it goes on as if it had the lock.",
        comes_back: Some(
            "with `WithSetNXOnExtend`, which nothing stored shows, its next extension takes the lock again unless somebody \
             else has it by then",
        ),
        ..DialectTraits::COMPARING
    },
};

static RAW: Recognition = Recognition {
    dialect: RSLOCK,
    certainty: Certainty::Likely,
    because: "20 raw bytes, as rslock for Rust writes them",
    traits: &DialectTraits {
        told_because: "The store does not tell it. Its next `extend` answers an error; until then it goes on as if it had \
                       the lock.",
        ..DialectTraits::COMPARING
    },
};

impl Dialect for RedlockRecipe {
    fn names(&self) -> &'static [&'static str] {
        &[POTTERY, AIOREDLOCK, NODE_REDLOCK, REDLOCK_PY, BSM_REDISLOCK, REDSYNC, RSLOCK]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn holdable(&self) -> Vec<&'static Recognition> {
        vec![&UNDER_REDLOCK, &UNDER_MUTEX, &UUID, &HEX, &ALPHANUMERIC, &BASE64URL, &BASE64, &RAW]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(token) = stored.string() else { return none() };
        let Some(recognition) = by_token(stored.key(), token) else { return none() };
        // Sessions, digests and ids of all kinds have these values too: the name has to say that it is a lock.
        if !stored.configured && !has_lock_like_name(stored.key()) {
            return none();
        }
        whole(Form::exclusive(recognition, token, stored.ttl_ms()))
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        compare_and_delete(order, now_ms)
    }
}

fn by_token(key: &[u8], token: &[u8]) -> Option<&'static Recognition> {
    let found = match token.len() {
        20 if std::str::from_utf8(token).is_err() => &RAW,
        24 if is_padded_base64_of_16(token) => &BASE64,
        32 if is_lower_hex(token, 32) => &HEX,
        UUID_CHARS.. if is_uuid4(&token[..UUID_CHARS]) => {
            let suffix = &token[UUID_CHARS..];
            if key.starts_with(b"mutex:") && (suffix.is_empty() || suffix.starts_with(b"-")) {
                &UNDER_MUTEX
            } else if !suffix.is_empty() {
                return None;
            } else if key.starts_with(b"redlock:") {
                &UNDER_REDLOCK
            } else if key.contains(&b':') {
                // Spring's registries are possible.
                return None;
            } else {
                &UUID
            }
        }
        BSM_TOKEN_CHARS if is_alphanumeric_22(token) => {
            if begins_with_base64url_of_16(token) {
                &BASE64URL_OR_ALPHANUMERIC
            } else {
                &ALPHANUMERIC
            }
        }
        BSM_TOKEN_CHARS.. if has_redislock_metadata(token) || begins_with_base64url_of_16(token) => &BASE64URL,
        _ => return None,
    };
    Some(found)
}

/// A token of bsm/redislock and text behind it.
pub(super) fn has_redislock_metadata(value: &[u8]) -> bool {
    value.len() > BSM_TOKEN_CHARS
        && begins_with_base64url_of_16(value)
        && std::str::from_utf8(&value[BSM_TOKEN_CHARS..]).is_ok()
}

fn metadata(token: &[u8]) -> Identity {
    let metadata = token.get(BSM_TOKEN_CHARS..).filter(|rest| !rest.is_empty());
    let metadata = metadata.and_then(|rest| std::str::from_utf8(rest).ok()).map(words::shown);
    Identity { metadata, ..Identity::NOBODY }
}

/// What the application appends to its identifier.
fn suffix(token: &[u8]) -> Identity {
    let suffix = token.get(UUID_CHARS + 1..).filter(|rest| !rest.is_empty());
    Identity { metadata: suffix.and_then(|rest| std::str::from_utf8(rest).ok()).map(words::shown), ..Identity::NOBODY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    const UUID4: &str = "0f8e41d2-a2c9-41ef-8b0a-0242ac120003";

    fn seen(key: &str, value: &[u8], configured: bool) -> Option<(&'static str, Certainty)> {
        let root = Raw::string(key, value, Some(9));
        let stored = Stored { root: &root, beside: &[], configured, now_ms: 0 };
        let found = RedlockRecipe.recognise(&stored);
        found.first().map(|found| (found.form.recognition.dialect, found.form.recognition.certainty))
    }

    #[test]
    fn each_token_is_told_from_the_others_as_far_as_it_can_be() {
        use Certainty::{Ambiguous, Likely};
        let suffixed = format!("{UUID4}-worker-7");
        let raw: [u8; 20] = std::array::from_fn(|i| 0xff - i as u8);
        for (key, value, expected) in [
            ("redlock:a", UUID4.as_bytes(), Some((POTTERY, Ambiguous))),
            ("mutex:a", UUID4.as_bytes(), Some((REDIS_SEMAPHORE, Likely))),
            ("mutex:a", suffixed.as_bytes(), Some((REDIS_SEMAPHORE, Likely))),
            ("stock-lock", UUID4.as_bytes(), Some((AIOREDLOCK, Ambiguous))),
            ("order-locks:17", UUID4.as_bytes(), None),
            ("lock:a", b"0f8e41d2a2c941ef8b0a0242ac120003", Some((NODE_REDLOCK, Ambiguous))),
            ("lock:a", b"0F8E41D2A2C941EF8B0A0242AC120003", None),
            ("lock:a", b"Erx5uRY6wbLcvU2bvQGc2j", Some((REDLOCK_PY, Likely))),
            ("lock:a", b"q5a6nOaVMAzzoh0LfdpmeQ", Some((BSM_REDISLOCK, Ambiguous))),
            ("lock:a", b"-7SaOoBYZMXgPLzBR0DBQQ", Some((BSM_REDISLOCK, Likely))),
            ("lock:a", b"-7SaOoBYZMXgPLzBR0DBQQworker-7/pid=4242", Some((BSM_REDISLOCK, Likely))),
            ("lock:a", b"-7SaOoBYZMXgPLzBR0DBQz", None),
            ("lock:a", b"r9C+Nk7jLkUnxp3gr5JUQQ==", Some((REDSYNC, Likely))),
            ("lock:a", &raw, Some((RSLOCK, Likely))),
            ("lock:a", b"twenty characters...", None),
            ("lock:a", b"worker-7", None),
            ("lock:a", b"", None),
        ] {
            assert_eq!(seen(key, value, false), expected, "{key} {}", value.escape_ascii());
        }
    }

    #[test]
    fn a_name_that_says_nothing_needs_an_operators_word() {
        for value in [UUID4.as_bytes(), b"0f8e41d2a2c941ef8b0a0242ac120003", b"r9C+Nk7jLkUnxp3gr5JUQQ=="] {
            assert_eq!(seen("session-1", value, false), None);
            assert!(seen("session-1", value, true).is_some());
        }
    }

    #[test]
    fn what_callers_write_beside_the_token_is_shown_harmless() {
        assert_eq!(metadata(b"-7SaOoBYZMXgPLzBR0DBQQhost\n").metadata.as_deref(), Some("host\\u{a}"));
        assert_eq!(metadata(b"-7SaOoBYZMXgPLzBR0DBQQ").metadata, None);
        assert_eq!(suffix(format!("{UUID4}-worker-7").as_bytes()).metadata.as_deref(), Some("worker-7"));
    }
}
