//! `RSemaphore`: a counter of free permits that names nobody. `RPermitExpirableSemaphore`: the same counter, and a sorted
//! set beside it with one member for each permit that is taken: 16 random bytes, and when it is given back by itself.
//!
//! A bare number is nothing to recognise a lock by. It is shown where clients listen on the channel of a semaphore of
//! that name, which they do while they wait for a permit, or where an operator's pattern and its form say so.

use bytes::Bytes;
use lockkeeper_model::{Certainty, Flag, LockState, Mode, Told};

use super::names::{self, SEMAPHORE_CHANNEL};
use super::{UNRECOGNISED_RELEASE, entry, moment, named, score_text, script};
use crate::source::redis::dialect::{Dialect, Found, Heard, Kind, Raw, Script, Stored, Value, latest_end, none, whole};
use crate::source::{DialectTraits, Extra, Form, Hold, Recognition, ReleaseOrder};

pub(in super::super) struct Semaphore;

const COUNTER: &str = "redisson-semaphore";
const PERMITS: &str = "redisson-permits";

/// The bytes of a permit's id.
const PERMIT_BYTES: usize = 16;

/// The end of a permit without lease: the largest long, in milliseconds of the largest nanosecond.
const NO_LEASE_MS: i64 = 922_337_203_685_477;

/// Digits of the counter, an `int` of Java with its sign.
const COUNTER_CHARS: usize = 11;

static COUNTER_TRAITS: DialectTraits = DialectTraits {
    no_release: Some(
        "a semaphore of this kind is a number and records nobody, so there is no hold to compare. A lost permit is given \
         back by raising the number with the library's own `release`",
    ),
    waiters_counted: true,
    waiters_because: "connections that listen on its channel: one for each waiting client, however many of its threads \
                      wait",
    token_is_one_use: false,
    ..DialectTraits::PLAIN
};

const PERMIT_TRAITS: DialectTraits = DialectTraits {
    told: Told::AtRenewal,
    told_because: "The store does not tell it. When it gives the permit back or updates its lease, the library says that \
                   there is no such permit. Until then it goes on as if it had it.",
    release: "This permit is removed only if it is still there and its end was not moved out since; then the counter of \
              free permits goes up by one and its new value is published on the semaphore's channel, which wakes as \
              many as can enter, as the library does. Other permits stay.",
    waiters_counted: true,
    waiters_because: "connections that listen on its channel: one for each waiting client, however many of its threads \
                      wait",
    never_renews: Some("a permit's lease is not renewed by the library itself"),
    ..DialectTraits::PLAIN
};

static PERMITS_TRAITS: DialectTraits = PERMIT_TRAITS;

static UNRECOGNISED_TRAITS: DialectTraits = DialectTraits { no_release: Some(UNRECOGNISED_RELEASE), ..PERMIT_TRAITS };

static LISTENED_FOR: Recognition = Recognition {
    dialect: COUNTER,
    certainty: Certainty::Certain,
    because: "a number, and clients listen on the channel that Redisson's semaphore of this name has: they wait for a \
              permit",
    traits: &COUNTER_TRAITS,
};

static CONFIGURED: Recognition = Recognition {
    dialect: COUNTER,
    certainty: Certainty::Configured,
    because: "a number without expiry under a configured pattern, as Redisson's RSemaphore counts its free permits; \
              anything else that counts looks the same",
    traits: &COUNTER_TRAITS,
};

static TABLE: Recognition = Recognition {
    dialect: PERMITS,
    certainty: Certainty::Certain,
    because: "a number and, beside it, a sorted set of 16-byte permits with their ends: a Redisson \
              RPermitExpirableSemaphore",
    traits: &PERMITS_TRAITS,
};

static FOREIGN: Recognition = Recognition {
    dialect: PERMITS,
    certainty: Certainty::Ambiguous,
    because: "a sorted set of 16-byte permits as Redisson's semaphores have, and something about it or its counter that \
              no known version of Redisson writes",
    traits: &UNRECOGNISED_TRAITS,
};

impl Dialect for Semaphore {
    fn names(&self) -> &'static [&'static str] {
        &[COUNTER, PERMITS]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String, Kind::Missing]
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        names::of_permits(key).map(<[u8]>::to_vec)
    }

    // Most numbers in a store are no semaphores: the table leads to its counter, not the other way round.
    fn beside_led(&self, root: &Raw) -> Vec<Vec<u8>> {
        match &root.value {
            Value::Missing => vec![names::permits(&root.key)],
            Value::String(value) if free(value).is_some() => vec![names::permits(&root.key)],
            _ => Vec::new(),
        }
    }

    fn channels(&self) -> &'static [&'static str] {
        &["redisson_sc:"]
    }

    fn root_of_channel(&self, channel: &[u8]) -> Option<Vec<u8>> {
        names::of_prefixed(SEMAPHORE_CHANNEL, channel).map(<[u8]>::to_vec)
    }

    fn is_proof(&self, channel: &[u8]) -> bool {
        names::of_prefixed(SEMAPHORE_CHANNEL, channel).is_some()
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        self.recognise_heard(stored, &Heard::default())
    }

    fn recognise_heard(&self, stored: &Stored<'_>, heard: &Heard<'_>) -> Found {
        let free = match &stored.root.value {
            Value::String(value) => match free(value) {
                Some(free) => Some((free, value)),
                None => return none(),
            },
            _ => None,
        };
        if !stored.beside.is_empty()
            && let Some(table) = stored.beside(&names::permits(stored.key()))
            && let Value::ZSet(members) = &table.value
        {
            return permits(stored, free, table, members);
        }
        let Some((free, _)) = free else { return none() };
        if heard.is_listened_for {
            counter(&LISTENED_FOR, free)
        } else if stored.configured && stored.ttl_ms().is_none() && counts_by_name(stored.key(), free) {
            counter(&CONFIGURED, free)
        } else {
            none()
        }
    }

    fn release(&self, order: &ReleaseOrder, _now_ms: i64) -> Script {
        Script {
            code: RELEASE,
            keys: vec![order.key.to_vec(), names::permits(&order.key)],
            arguments: vec![
                order.token.to_vec(),
                latest_end(order),
                names::prefixed(SEMAPHORE_CHANNEL, &order.key),
                NO_LEASE_MS.to_string().into_bytes(),
            ],
        }
    }
}

/// The free permits that a counter says; it may be below zero after `reducePermits`.
fn free(value: &[u8]) -> Option<i64> {
    if value.is_empty() || value.len() > COUNTER_CHARS {
        return None;
    }
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let canonical = digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || digits.first() != Some(&b'0'));
    if canonical { std::str::from_utf8(value).ok()?.parse().ok() } else { None }
}

/// Whether a number under a configured pattern rather counts permits than says that somebody is inside: `0` and `1` say
/// that in hand-made locks, and any number may name its owner's process.
fn counts_by_name(key: &[u8], free: i64) -> bool {
    let name = key.to_ascii_lowercase();
    let says = |word: &[u8]| memchr::memmem::find(&name, word).is_some();
    if says(b"semaphore") || says(b"permit") {
        return true;
    }
    /// As many permits as a semaphore may be thought to have; process ids are mostly above.
    const MANY: i64 = 256;
    (2..=MANY).contains(&free) && ![&b"lock"[..], b"mutex", b"lease", b"leader"].iter().any(|word| says(word))
}

fn counter(recognition: &'static Recognition, free: i64) -> Found {
    let mut form = Form {
        recognition,
        mode: Mode::Semaphore,
        state: LockState::UnknownHolder,
        holds: smallvec::SmallVec::new(),
        extra: None,
    };
    let extra = form.extra_mut();
    extra.notes.push(match free {
        1 => "1 permit is free; how many are taken, and by whom, is not recorded".to_owned(),
        free => format!("{free} permits are free; how many are taken, and by whom, is not recorded"),
    });
    extra.entries.push(entry(None, None, Bytes::from(free.to_string())));
    whole(form)
}

fn permits(stored: &Stored<'_>, free: Option<(i64, &Bytes)>, table: &Raw, members: &[(Bytes, f64)]) -> Found {
    let is_permit = |(member, _): &&(Bytes, f64)| member.len() == PERMIT_BYTES;
    let foreign: Vec<&[u8]> =
        members.iter().filter(|member| !is_permit(member)).map(|(member, _)| &member[..]).collect();
    if foreign.len() == members.len() {
        return none();
    }
    let mut form = Form {
        recognition: &TABLE,
        mode: Mode::Semaphore,
        state: LockState::Held,
        holds: smallvec::SmallVec::new(),
        extra: None,
    };
    let mut overdue = Vec::new();
    for (member, end) in members.iter().filter(is_permit) {
        match moment(*end) {
            NO_LEASE_MS.. => form.holds.push(Hold::new(member, None)),
            end if end > stored.now_ms => form.holds.push(Hold::new(member, Some(end - stored.now_ms))),
            _ => overdue.push(&member[..]),
        }
    }
    let mut extra = Extra::default();
    if let Some((free, value)) = free {
        // A permit whose time is over is back in the counter only when the next client looks.
        extra.permits = u32::try_from(free + members.len() as i64).ok();
        extra.keys.push(stored.root.key.clone());
        extra.entries.push(entry(None, None, value.clone()));
    }
    extra.keys.push(table.key.clone());
    let raw = members.iter().map(|(member, end)| entry(Some(&table.key), Some(member), score_text(*end)));
    extra.entries.extend(raw);
    if !overdue.is_empty() {
        extra.flags.push(Flag::DeadMember);
        extra.notes.push(format!(
            "permits whose time is over, which the next client that wants one takes back: {}",
            named(overdue.iter().copied())
        ));
    }
    if !foreign.is_empty() || free.is_none() {
        form.recognition = &FOREIGN;
        form.state = LockState::UnknownHolder;
        extra.flags.push(Flag::Unrecognised);
        extra.notes.push(match foreign.is_empty() {
            false => format!("members that are no permits: {}", named(foreign.iter().copied())),
            true => "its counter of free permits is missing".to_owned(),
        });
    } else if form.holds.is_empty() {
        return none();
    }
    form.extra = Some(Box::new(extra));
    whole(form)
}

/// Compares the permit and its end; then gives it back as the library does: out of the table, one more free, and the new
/// number published.
const RELEASE: &str = script!(
    r"
local kind = redis.call('TYPE', KEYS[2]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'zset' then return {'changed'} end
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not score then return {'gone'} end
score = tonumber(score)
if score >= tonumber(ARGV[4]) then score = -1 end
if is_later(score, ARGV[2]) then return {'touched', score} end
redis.call('ZREM', KEYS[2], ARGV[1])
local free = redis.call('INCR', KEYS[1])
return {'released', signal(ARGV[3], tostring(free))}
"
);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_235_900_000;
    const P1: &[u8; 16] = b"\x01\xfe23456789abcdef";
    const P2: &[u8; 16] = b"\x02\xfe23456789abcdef";
    const P3: &[u8; 16] = b"\x03\xfe23456789abcdef";

    fn table(members: &[(&[u8], i64)]) -> Raw {
        let members = members.iter().map(|(member, end)| (Bytes::copy_from_slice(member), *end as f64)).collect();
        Raw { key: Bytes::from_static(b"{export}:timeout"), value: Value::ZSet(members), ttl_ms: None }
    }

    fn seen(root: &Raw, beside: &[Raw], configured: bool, is_listened_for: bool) -> Option<Form> {
        let stored = Stored { root, beside, configured, now_ms: NOW };
        let heard = Heard { is_listened_for, ..Heard::default() };
        Semaphore.recognise_heard(&stored, &heard).pop().map(|found| found.form)
    }

    #[test]
    fn each_permit_is_a_hold_with_its_own_end_and_overdue_ones_are_dead() {
        let root = Raw::string("export", b"2", None);
        let members = table(&[(P1, NOW + 5_000), (P2, NO_LEASE_MS), (P3, NOW - 1)]);
        let form = seen(&root, std::slice::from_ref(&members), false, false).unwrap();
        let holds: Vec<_> = form.holds.iter().map(|hold| (&hold.token[..], hold.ttl_ms)).collect();
        assert_eq!(holds, [(&P1[..], Some(5_000)), (&P2[..], None)]);
        assert_eq!((form.mode, form.state), (Mode::Semaphore, LockState::Held));
        let extra = form.extra.unwrap();
        assert_eq!((extra.permits, extra.flags[..].to_vec()), (Some(5), vec![Flag::DeadMember]));
        assert_eq!(extra.keys, ["export", "{export}:timeout"]);
        assert_eq!(extra.entries.len(), 4);
        assert_eq!(Semaphore.beside_led(&root), [members.key.to_vec()]);
        assert_eq!(Semaphore.root_of(&members.key).unwrap(), root.key);
        assert_eq!(Semaphore.beside(&root), [] as [Vec<u8>; 0], "a number by itself costs nothing");
    }

    #[test]
    fn permits_that_are_all_overdue_are_held_by_nobody() {
        let root = Raw::string("export", b"0", None);
        assert_eq!(seen(&root, &[table(&[(P1, NOW - 1)])], false, false), None);
    }

    #[test]
    fn a_table_that_no_version_writes_is_shown_whole_and_not_released() {
        let root = Raw::string("export", b"0", None);
        let missing = Raw { value: Value::Missing, ..root.clone() };
        let foreign = table(&[(P1, NOW + 5), (b"somebody", NOW + 5)]);
        for (root, table) in [(&root, foreign), (&missing, table(&[(P1, NOW + 5)]))] {
            let form = seen(root, &[table], false, false).unwrap();
            assert_eq!((form.state, form.recognition.certainty), (LockState::UnknownHolder, Certainty::Ambiguous));
            assert!(form.recognition.traits.no_release.is_some());
            assert_eq!(form.extra.unwrap().flags[..], [Flag::Unrecognised]);
        }
        assert_eq!(seen(&root, &[table(&[(b"job:1", 5)])], false, false), None);
    }

    #[test]
    fn a_number_is_a_semaphore_only_where_something_says_so() {
        let seen = |key: &str, value: &[u8], ttl, configured, listened| {
            let form = seen(&Raw::string(key, value, ttl), &[], configured, listened)?;
            assert!(form.holds.is_empty() && form.recognition.traits.no_release.is_some());
            Some(form.recognition.certainty)
        };
        assert_eq!(seen("visits", b"7", None, false, false), None);
        assert_eq!(seen("exports", b"0", None, false, true), Some(Certainty::Certain));
        assert_eq!(seen("exports", b"7", None, true, false), Some(Certainty::Configured));
        assert_eq!(seen("export:semaphore", b"0", None, true, false), Some(Certainty::Configured));
        for (key, value, ttl) in [
            ("exports", &b"1"[..], None),
            ("lock:a", b"7", None),
            ("exports", b"7", Some(9)),
            ("exports", b"4711", None),
        ] {
            assert_eq!(seen(key, value, ttl, true, false), None, "{key}");
        }
        for value in [&b"text"[..], b"", b"07", b"1.5", b"99999999999999"] {
            assert_eq!(seen("x", value, None, true, true), None);
        }
    }
}
