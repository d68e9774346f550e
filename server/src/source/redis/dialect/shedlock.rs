//! ShedLock: `job-lock:<environment>:<name>` with `ADDED:<time>@<host>:<uuid>` keeps a scheduled task from running twice.
//!
//! Source: lukas-krecan/ShedLock 7.9, `InternalRedisLockProvider`, read. Releases before May 2025 write no UUID.

use lockkeeper_model::{Certainty, Flag, Identity, Time, words};

use super::shape::is_dashed_uuid;
use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct ShedLock;

const NAME: &str = "shedlock";
const MARK: &[u8] = b"ADDED:";
const KEY_PREFIX: &[u8] = b"job-lock:";

static TRAITS: DialectTraits = DialectTraits {
    strip_prefix: "job-lock:",
    told_because: "Nothing tells it: the task runs to its end. With `safeUpdate` its unlock compares and does nothing then; \
                   without, it deletes the key whoever has it.",
    unsafe_unlock: Some(
        "unless `safeUpdate` is on, its unlock deletes the key without comparing, and its extension overwrites whoever \
         has it",
    ),
    no_hold: Some(DialectTraits::HOLD_IS_DELETED),
    no_put_back: None,
    never_renews: Some("ShedLock does not renew by itself"),
    waiters_because: "nobody waits for it: a task that finds it held is skipped",
    identity,
    taken_at: |token| parts(token).map(|parts| parts.at),
    ..DialectTraits::PLAIN
};

static UNDER_PREFIX: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "`ADDED:` with a time and a host under `job-lock:`, as ShedLock writes it",
    traits: &TRAITS,
};

static ELSEWHERE: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Likely,
    because: "`ADDED:` with a time and a host, as ShedLock writes it, under a prefix of somebody's own",
    traits: &TRAITS,
};

static UNRECOGNISED: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Ambiguous,
    because: "`ADDED:` under `job-lock:` as ShedLock writes it, but no known version writes what follows",
    traits: &TRAITS,
};

/// What a value says.
struct Parts<'a> {
    at: Time,
    host: &'a str,
}

impl Dialect for ShedLock {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(token) = stored.string().filter(|token| token.starts_with(MARK)) else { return none() };
        let own = stored.key().starts_with(KEY_PREFIX);
        let understood = parts(token).is_some();
        let recognition = match (own, understood) {
            (true, true) => &UNDER_PREFIX,
            (true, false) => &UNRECOGNISED,
            (false, true) => &ELSEWHERE,
            (false, false) => return none(),
        };
        let mut form = Form::exclusive(recognition, token, stored.ttl_ms());
        let extra = form.extra_mut();
        if understood {
            extra.notes.push(
                "with `lockAtLeastFor` the key outlives the work, and nothing tells whether the task still runs"
                    .to_owned(),
            );
        } else {
            extra.flags.push(Flag::Unrecognised);
        }
        whole(form)
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        compare_and_delete(order, now_ms)
    }
}

fn parts(token: &[u8]) -> Option<Parts<'_>> {
    let (time, rest) = std::str::from_utf8(token.strip_prefix(MARK)?).ok()?.split_once('@')?;
    let host = match rest.rsplit_once(':') {
        Some((host, uuid)) if is_dashed_uuid(uuid.as_bytes()) => host,
        _ => rest,
    };
    Some(Parts { at: time.parse().ok()?, host }).filter(|parts| !parts.host.is_empty())
}

fn identity(token: &[u8]) -> Identity {
    match parts(token) {
        Some(Parts { at, host }) => {
            Identity { host: Some(words::shown(host)), token_time: Some(at), ..Identity::NOBODY }
        }
        None => Identity::NOBODY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    const VALUE: &str = "ADDED:2026-11-21T03:28:51.123Z@worker-7.example.internal:549f61c0-86bb-4a2c-984a-06dc4b60de97";

    fn seen(key: &str, value: &str) -> Option<&'static Recognition> {
        let root = Raw::string(key, value.as_bytes(), Some(9));
        let stored = Stored { root: &root, beside: &[], configured: false, now_ms: 0 };
        ShedLock.recognise(&stored).first().map(|found| found.form.recognition)
    }

    #[test]
    fn the_value_says_who_and_when_with_and_without_uuid() {
        let identity = identity(VALUE.as_bytes());
        assert_eq!(identity.host.as_deref(), Some("worker-7.example.internal"));
        assert_eq!((TRAITS.taken_at)(VALUE.as_bytes()).unwrap().to_string(), "2026-11-21T03:28:51.123Z");
        let (old, _) = VALUE.rsplit_once(':').unwrap();
        assert_eq!(super::identity(old.as_bytes()).host, identity.host);
    }

    #[test]
    fn the_value_proves_itself_and_what_is_new_in_it_is_said() {
        assert_eq!(seen("job-lock:default:nightly", VALUE), Some(&UNDER_PREFIX));
        assert_eq!(seen("jobs:nightly", VALUE), Some(&ELSEWHERE));
        assert_eq!(seen("job-lock:default:odd", "ADDED:soon"), Some(&UNRECOGNISED));
        assert_eq!(seen("job-lock:default:odd", "ADDED:2026-11-21T03:28:51.123Z@"), Some(&UNRECOGNISED));
        assert_eq!(seen("notes:1", "ADDED:soon"), None);
    }
}
