//! `RedissonFasterMultiLock`: one hash in which each value is a lock of its own: `<value>` → its holder,
//! `<value>:<holder>:expire_time` → its end, `<value>:<holder>:lock_count` → its re-entry count. A value is the hash of
//! what the application locks, in base64.

use std::collections::HashMap;

use bytes::Bytes;
use lockkeeper_model::{Certainty, Flag};

use super::names::{self, UNLOCK_CHANNEL};
use super::{TOLD_BECAUSE, count_of, entry, identity, named, script, thread_of};
use crate::source::redis::dialect::{Dialect, Found, FoundLock, Kind, Script, Stored, latest_end, none};
use crate::source::{DialectTraits, Form, Recognition, ReleaseOrder};

pub(in super::super) struct MultiValue;

const NAME: &str = "redisson-multi-value";
const END: &[u8] = b":expire_time";
const COUNT: &[u8] = b":lock_count";

static TRAITS: DialectTraits = DialectTraits {
    stored_as: "hash",
    told_because: TOLD_BECAUSE,
    release: "The three fields of this value are removed only if it has still this holder with exactly this count and \
              its end was not moved out since; then `0` is published on the hash's unlock channel, which wakes one \
              thread in each waiting client, as the library does. Other values in the hash stay.",
    // It names a client and a thread, for every lock and every acquire.
    token_is_one_use: false,
    waiters_because: "those who wait listen on a channel that all values of the hash share, so that nobody can say for \
                      which one",
    identity,
    ..DialectTraits::PLAIN
};

static VALUE: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a value in a hash with its holder, a client's UUID and a thread number, its end and its count: one of the \
              locks of a Redisson multi-value lock",
    traits: &TRAITS,
};

static BESIDE_FOREIGN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Ambiguous,
    because: "a value in a hash with holder, end and count as Redisson's multi-value locks have, among fields that no \
              known version of Redisson writes there",
    traits: &TRAITS,
};

impl Dialect for MultiValue {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Hash]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(fields) = stored.hash() else { return none() };
        if !fields.iter().any(|(field, _)| field.ends_with(END)) {
            return none();
        }
        let values: HashMap<&[u8], &Bytes> = fields.iter().map(|(field, value)| (&field[..], value)).collect();
        let mut known = 0;
        let mut found = Found::new();
        for (value, holder) in fields.iter().filter(|(_, holder)| thread_of(holder).is_some()) {
            let [end_field, count_field] = of(value, holder);
            let (Some(end), Some(count)) = (values.get(&end_field[..]), values.get(&count_field[..])) else { continue };
            let (Some(end), Some(count)) = (millis(end), count_of(count)) else { continue };
            known += 3;
            // The library gives a value whose end has passed to the next who asks.
            if end <= stored.now_ms {
                continue;
            }
            let mut form = Form::exclusive(&VALUE, holder, Some(end - stored.now_ms));
            form.holds[0].count = count;
            form.extra_mut().entries = vec![
                entry(None, Some(value), holder.clone()),
                entry(None, Some(&Bytes::from(end_field)), Bytes::from(end.to_string())),
                entry(None, Some(&Bytes::from(count_field)), Bytes::from(count.to_string())),
            ];
            found.push(FoundLock { part: Some(value.clone()), form });
        }
        if known < fields.len() && !found.is_empty() {
            say_foreign(&mut found, fields);
        }
        found
    }

    fn release(&self, order: &ReleaseOrder, _now_ms: i64) -> Script {
        let root = order.keys.first().unwrap_or(&order.key);
        let value = order.key.get(root.len() + 1..).unwrap_or_default();
        let [end, count] = of(value, &order.token);
        Script {
            code: RELEASE,
            keys: vec![root.to_vec()],
            arguments: vec![
                order.token.to_vec(),
                latest_end(order),
                order.count.to_string().into_bytes(),
                names::prefixed(UNLOCK_CHANNEL, root),
                value.to_vec(),
                end,
                count,
            ],
        }
    }
}

/// The fields with a hold's end and count.
fn of(value: &[u8], holder: &[u8]) -> [Vec<u8>; 2] {
    [END, COUNT].map(|suffix| [value, b":", holder, suffix].concat())
}

fn millis(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// There are fields that belong to none of the values: what is understood is shown, and so is what is not.
fn say_foreign(found: &mut Found, fields: &[(Bytes, Bytes)]) {
    let mut explained: std::collections::HashSet<Vec<u8>> = std::collections::HashSet::new();
    for (value, holder) in fields.iter().filter(|(_, holder)| thread_of(holder).is_some()) {
        explained.extend(of(value, holder));
        explained.insert(value.to_vec());
    }
    let foreign: Vec<&(Bytes, Bytes)> = fields.iter().filter(|(field, _)| !explained.contains(&field[..])).collect();
    if foreign.is_empty() {
        return;
    }
    let note =
        format!("fields of the hash that belong to no value: {}", named(foreign.iter().map(|(field, _)| &field[..])));
    for lock in found {
        lock.form.recognition = &BESIDE_FOREIGN;
        let extra = lock.form.extra_mut();
        extra.flags.push(Flag::Unrecognised);
        extra.notes.push(note.clone());
        extra.entries.extend(foreign.iter().map(|(field, value)| entry(None, Some(field), value.clone())));
    }
}

/// Compares holder, count and end of one value; then removes its fields. Those of others are not touched; a hash that is
/// left empty is gone by itself.
const RELEASE: &str = script!(
    r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'hash' then return {'changed'} end
local holder = redis.call('HGET', KEYS[1], ARGV[5])
if not holder then return {'gone'} end
if holder ~= ARGV[1] then return {'changed'} end
local ends, count = tonumber(redis.call('HGET', KEYS[1], ARGV[6]) or -1), redis.call('HGET', KEYS[1], ARGV[7])
if count ~= ARGV[3] or is_later(ends, ARGV[2]) then return {'touched', ends} end
redis.call('HDEL', KEYS[1], ARGV[5], ARGV[6], ARGV[7])
return {'released', signal(ARGV[4], '0')}
"
);

#[cfg(test)]
mod tests {
    use super::super::tests::{A, B, C};
    use super::*;
    use crate::source::redis::dialect::Raw;

    const NOW: i64 = 1_767_235_900_000;

    fn seen(fields: &[(String, String)]) -> Found {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(field, value)| (&**field, &**value)).collect();
        let root = Raw::hash("multi", &fields, Some(30_000));
        MultiValue.recognise(&Stored { root: &root, beside: &[], configured: false, now_ms: NOW })
    }

    fn value(value: &str, holder: &str, end: i64, count: u32) -> Vec<(String, String)> {
        vec![
            (value.to_owned(), holder.to_owned()),
            (format!("{value}:{holder}:expire_time"), end.to_string()),
            (format!("{value}:{holder}:lock_count"), count.to_string()),
        ]
    }

    #[test]
    fn each_value_is_a_lock_of_its_own_until_its_end() {
        let fields =
            [value("v1==", A, NOW + 9_000, 1), value("v2==", B, NOW + 4_000, 2), value("v3==", C, NOW - 1, 1)].concat();
        let found = seen(&fields);
        let said: Vec<_> = found
            .iter()
            .map(|lock| {
                let hold = &lock.form.holds[0];
                (lock.part.as_deref().unwrap(), &hold.token[..], hold.ttl_ms, hold.count)
            })
            .collect();
        assert_eq!(said, [(&b"v1=="[..], A.as_bytes(), Some(9_000), 1), (&b"v2=="[..], B.as_bytes(), Some(4_000), 2)]);
        assert!(found.iter().all(|lock| lock.form.recognition.certainty == Certainty::Certain));
    }

    #[test]
    fn fields_that_belong_to_no_value_are_shown_with_each() {
        let fields = [value("v1==", A, NOW + 9_000, 1), vec![("owner".to_owned(), "ops".to_owned())]].concat();
        let found = seen(&fields);
        let extra = found[0].form.extra.as_ref().unwrap();
        assert_eq!((extra.flags[..].to_vec(), extra.entries.len()), (vec![Flag::Unrecognised], 4));
        assert!(extra.notes[0].contains("`owner`"));
    }

    #[test]
    fn other_hashes_with_times_are_none() {
        let fields = [("a:expire_time", "5"), ("name", "Ada")];
        let fields: Vec<_> = fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect();
        assert!(seen(&fields).is_empty());
    }
}
