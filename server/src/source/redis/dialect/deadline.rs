//! Locks whose value is a deadline and whose key never expires: redis-mutex and others of the old GETSET recipe, and
//! redis-objects, which today writes an empty value with an expiry.
//!
//! The key stands on after its deadline, and nobody holds it then. The value names no owner, and which client wrote it
//! cannot be told.
//!
//! Sources: kenn/redis-mutex `lib/redis_mutex.rb`, nateware/redis-objects `lib/redis/lock.rb`, read; the recipe in the
//! documentation of SETNX.

use lockkeeper_model::{Certainty, Flag, LockState};

use super::shape::has_lock_like_name;
use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(super) struct Deadline;

const GETSET: &str = "getset";
const REDIS_OBJECTS: &str = "redis-objects";

/// Without a library's name, a number is believed to be a deadline if it is at most this far from now.
const NEAR_MS: i64 = 86_400_000;

const TRAITS: DialectTraits = DialectTraits {
    told_because: "Nothing tells it: its own unlock looks at the deadline in the key, which may be another's by then.",
    release: "The key is deleted only if its value is still exactly this deadline.",
    unsafe_unlock: Some("the library reads, compares and deletes in separate steps, and compares times, not owners"),
    no_hold: Some("its value is a time: an operator's token there would be read as one"),
    never_renews: Some("the library does not renew"),
    ..DialectTraits::PLAIN
};

static REDIS_MUTEX: Recognition = Recognition {
    dialect: GETSET,
    certainty: Certainty::Likely,
    because: "a time under `RedisMutex:`: redis-mutex writes its deadline there, and holds the lock until then",
    traits: &DialectTraits { strip_prefix: "RedisMutex:", ..TRAITS },
};

static BY_VALUE: Recognition = Recognition {
    dialect: GETSET,
    certainty: Certainty::Ambiguous,
    because: "a time soon to come, without expiry, under a name that says lock: a deadline, as the GETSET recipe writes it",
    traits: &TRAITS,
};

static PAST_SECOND: Recognition = Recognition {
    dialect: GETSET,
    certainty: Certainty::Ambiguous,
    because: "a time that lately passed, without expiry, under a name that says lock: a deadline that is over, or the \
              moment at which the lock was taken",
    traits: &TRAITS,
};

static OBJECTS_DEADLINE: Recognition = Recognition {
    dialect: REDIS_OBJECTS,
    certainty: Certainty::Likely,
    because: "a time under `…_lock`: older releases of redis-objects write their deadline there",
    traits: &TRAITS,
};

const EMPTY_TRAITS: DialectTraits = DialectTraits {
    told_because: "Nothing tells it: its own unlock deletes the key until its own deadline, whoever has it.",
    unsafe_unlock: Some("redis-objects deletes the key without comparing, whoever has it by then"),
    never_renews: Some("redis-objects does not renew"),
    token_is_one_use: false,
    ..DialectTraits::PLAIN
};

static OBJECTS: Recognition = Recognition {
    dialect: REDIS_OBJECTS,
    certainty: Certainty::Likely,
    because: "an empty value under `<model>:<id>:<name>_lock`, as redis-objects writes it",
    traits: &EMPTY_TRAITS,
};

static OBJECTS_OR_HAND_MADE: Recognition = Recognition {
    dialect: REDIS_OBJECTS,
    certainty: Certainty::Ambiguous,
    because: "an empty value under `…_lock`: redis-objects writes it, and so do locks made by hand",
    traits: &EMPTY_TRAITS,
};

/// What a time in the value means.
enum Meaning {
    /// Held until then.
    Held(&'static Recognition, i64),
    /// It may be a deadline that is over, or not.
    Unclear,
    /// A deadline that is over: nobody holds it.
    Over,
}

impl Dialect for Deadline {
    fn names(&self) -> &'static [&'static str] {
        &[GETSET, REDIS_OBJECTS]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(value) = stored.string() else { return none() };
        let nobody = |form: Form| whole(Form { state: LockState::UnknownHolder, ..form });
        if value.is_empty() && stored.key().ends_with(b"_lock") {
            let has_model = stored.key().iter().filter(|&&byte| byte == b':').count() >= 2;
            let recognition = if has_model { &OBJECTS } else { &OBJECTS_OR_HAND_MADE };
            return nobody(Form::exclusive(recognition, value, stored.ttl_ms()));
        }
        let (recognition, ttl_ms) = match meaning(stored, value) {
            Some(Meaning::Held(recognition, left_ms)) => {
                (recognition, Some(stored.ttl_ms().map_or(left_ms, |ttl| ttl.min(left_ms))))
            }
            Some(Meaning::Unclear) => (&PAST_SECOND, None),
            Some(Meaning::Over) | None => return none(),
        };
        let mut form = Form::exclusive(recognition, value, ttl_ms);
        form.extra_mut().flags.push(Flag::DeadlineAsValue);
        nobody(form)
    }

    fn is_vacant(&self, stored: &Stored<'_>) -> bool {
        stored.string().is_some_and(|value| matches!(meaning(stored, value), Some(Meaning::Over)))
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        match time_ms(&order.token) {
            // The key has no expiry to compare; a deadline that was pushed out is another value.
            Some(_) => {
                Script { code: COMPARE_VALUE, keys: vec![order.key.to_vec()], arguments: vec![order.token.to_vec()] }
            }
            None => compare_and_delete(order, now_ms),
        }
    }
}

fn meaning(stored: &Stored<'_>, value: &[u8]) -> Option<Meaning> {
    let (at_ms, whole_seconds) = time_ms(value)?;
    let left_ms = at_ms - stored.now_ms;
    let named = match stored.key() {
        key if key.starts_with(b"RedisMutex:") => Some(&REDIS_MUTEX),
        key if key.ends_with(b"_lock") && left_ms < NEAR_MS => Some(&OBJECTS_DEADLINE),
        _ => None,
    };
    match named {
        Some(recognition) if left_ms > 0 => return Some(Meaning::Held(recognition, left_ms)),
        Some(_) => return Some(Meaning::Over),
        None => {}
    }
    let near = stored.ttl_ms().is_none() && left_ms.abs() <= NEAR_MS;
    if !near || !(stored.configured || has_lock_like_name(stored.key())) {
        return None;
    }
    Some(match left_ms {
        1.. => Meaning::Held(&BY_VALUE, left_ms),
        // With a fraction it is a deadline by a library's hand; whole seconds are also how people note when they began.
        _ if whole_seconds => Meaning::Unclear,
        _ => Meaning::Over,
    })
}

/// Seconds since 1970 with ten digits and perhaps a fraction, as milliseconds, and whether there was none.
fn time_ms(value: &[u8]) -> Option<(i64, bool)> {
    const SECONDS_DIGITS: usize = 10;
    const MAX_FRACTION_DIGITS: usize = 9;
    let (seconds, rest) = value.split_at_checked(SECONDS_DIGITS)?;
    if !value[0].is_ascii_digit() || rest.len() > MAX_FRACTION_DIGITS + 1 {
        return None;
    }
    let number = |digits: &[u8]| {
        digits
            .iter()
            .try_fold(0_i64, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
    };
    let seconds = number(seconds)?;
    match rest.split_first() {
        None => Some((seconds * 1_000, true)),
        Some((b'.', fraction)) if !fraction.is_empty() => {
            let scale = 10_i64.pow(u32::try_from(fraction.len()).ok()?);
            Some((seconds * 1_000 + number(fraction)? * 1_000 / scale, false))
        }
        Some(_) => None,
    }
}

const COMPARE_VALUE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'string' or redis.call('STRLEN', KEYS[1]) ~= #ARGV[1] or redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'changed'}
end
redis.call('DEL', KEYS[1])
return {'released', -1}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    const NOW_MS: i64 = 1_795_231_733_850;

    fn seen(key: &str, value: &str, ttl_ms: Option<i64>) -> (Option<(&'static Recognition, Option<i64>)>, bool) {
        let root = Raw::string(key, value.as_bytes(), ttl_ms);
        let stored = Stored { root: &root, beside: &[], configured: false, now_ms: NOW_MS };
        let found = Deadline.recognise(&stored);
        assert!(found.iter().all(|found| found.form.state == LockState::UnknownHolder));
        let held = found.first().map(|found| (found.form.recognition, found.form.holds[0].ttl_ms));
        (held, Deadline.is_vacant(&stored))
    }

    #[test]
    fn a_deadline_ahead_is_a_lock_and_one_behind_is_a_key_that_waits_for_the_next() {
        assert_eq!(
            seen("RedisMutex:Import:42", "1795231743.850407", None),
            (Some((&REDIS_MUTEX, Some(10_000))), false)
        );
        assert_eq!(seen("RedisMutex:Import:42", "1795231703.850962", None), (None, true));
        assert_eq!(seen("user:17:x_lock", "1795231753.852008", None), (Some((&OBJECTS_DEADLINE, Some(20_002))), false));
        assert_eq!(seen("user:17:x_lock", "1795231713.852584", None), (None, true));
        assert_eq!(seen("lock:import", "1795231753", None), (Some((&BY_VALUE, Some(19_150))), false));
        assert_eq!(seen("lock:import", "1795231713", None), (Some((&PAST_SECOND, None)), false));
        assert_eq!(seen("lock:import", "1795231713.5", None), (None, true));
    }

    #[test]
    fn times_elsewhere_are_times() {
        for (key, value, ttl) in [
            ("import:at", "1795231753", None),
            ("lock:import", "1795231753", Some(5)),
            ("lock:import", "1995231753", None),
            ("lock:import", "1795231753.", None),
            ("lock:import", "1795231753.x", None),
            ("lock:import", "17952317530", None),
            ("lock:import", "worker-7", None),
        ] {
            assert_eq!(seen(key, value, ttl), (None, false), "{key} {value}");
        }
    }

    #[test]
    fn an_empty_value_is_redis_objects_as_far_as_its_name_says() {
        assert_eq!(seen("user:17:transfer_lock", "", Some(9)).0, Some((&OBJECTS, Some(9))));
        assert_eq!(seen("transfer_lock", "", Some(9)).0, Some((&OBJECTS_OR_HAND_MADE, Some(9))));
        assert_eq!(seen("transfer", "", Some(9)).0, None);
    }
}
