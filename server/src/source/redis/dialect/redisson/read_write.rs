//! `RReadWriteLock`: a hash with `mode`, `read` or `write`, and a field for each holder with its re-entry count:
//! `<client uuid>:<thread id>` for a reader, with `:write` behind it for the writer, who may read as well.
//!
//! Each read hold has a key of its own with its own expiry, its slot; the hash lives as long as the longest. A reader's
//! field does not go when its slots do: one without any is a dead reader, which the library takes for nobody too.

use bytes::Bytes;
use lockkeeper_model::{Certainty, Flag, LockState, Mode};

use super::names::{self, READ_WRITE_CHANNEL};
use super::{TOLD_BECAUSE, UNRECOGNISED_RELEASE, count_of, entry, identity, named, script, thread_of};
use crate::source::redis::dialect::{Dialect, Found, Kind, Raw, Script, Stored, Value, most_ttl, none, whole};
use crate::source::{DialectTraits, Form, Hold, HoldExtra, Recognition, ReleaseOrder};

pub(in super::super) struct ReadWrite;

const NAME: &str = "redisson-rw";

const MODE: &[u8] = b"mode";
const WRITER: &[u8] = b":write";

/// The slots of one reader that are read, the newest first. All are renewed together, so that one who entered more often
/// than this is alive if any of these is.
const SLOTS_EACH: u32 = 4;

/// The slots of one lock that are read, and so the readers that are looked at.
const MAX_SLOTS: usize = 256;

const RW_TRAITS: DialectTraits = DialectTraits {
    stored_as: "hash",
    told_because: TOLD_BECAUSE,
    release: "This holder's field is removed only if it is still there with exactly this count and its expiry was not \
              pushed out since; other holders stay. When nobody is left whose hold has not run out, the hash is deleted \
              and those who wait are woken on the lock's channel, with `1` after a writer and `0` after a reader, as the \
              library does.",
    // The field names a client and a thread, for every lock and every acquire.
    token_is_one_use: false,
    no_hold: Some("readers and writers share one hash, in which an operator would have to be the one or the other"),
    waiters_counted: true,
    waiters_because: "connections that listen on its channel: one for each waiting client, however many of its threads \
                      wait, to read or to write",
    identity,
    ..DialectTraits::PLAIN
};

static TRAITS: DialectTraits = RW_TRAITS;

static UNRECOGNISED_TRAITS: DialectTraits = DialectTraits { no_release: Some(UNRECOGNISED_RELEASE), ..RW_TRAITS };

static READ: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a hash with a mode, `read`, and readers as fields: a client's UUID and a thread number, with a count",
    traits: &TRAITS,
};

static WRITE: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a hash with a mode, `write`, and the writer as a field: a client's UUID, a thread number and `write`, with \
              a count",
    traits: &TRAITS,
};

static FOREIGN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Ambiguous,
    because: "a hash with a mode and a holder as Redisson's read/write locks have, and with something else that no known \
              version of Redisson writes there",
    traits: &UNRECOGNISED_TRAITS,
};

/// What a field of the hash is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Mode,
    Reader(u32),
    Writer(u32),
    Foreign,
}

fn field(name: &[u8], value: &[u8]) -> Field {
    if name == MODE {
        return Field::Mode;
    }
    let (thread, kind): (&[u8], fn(u32) -> Field) = match name.strip_suffix(WRITER) {
        Some(thread) => (thread, Field::Writer),
        None => (name, Field::Reader),
    };
    thread_of(thread).and_then(|_| count_of(value)).map_or(Field::Foreign, kind)
}

/// The hash's mode: whether it is `write`.
fn is_write(fields: &[(Bytes, Bytes)]) -> Option<bool> {
    let (_, mode) = fields.iter().find(|(field, _)| *field == MODE)?;
    match &mode[..] {
        b"write" => Some(true),
        b"read" => Some(false),
        _ => None,
    }
}

/// The slots of one reader that are looked at.
fn slots(name: &[u8], reader: &[u8], count: u32) -> impl Iterator<Item = Vec<u8>> {
    (count.saturating_sub(SLOTS_EACH) + 1..=count).rev().map(|number| names::slot(name, reader, number))
}

impl Dialect for ReadWrite {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Hash]
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        names::of_slot(key).map(<[u8]>::to_vec)
    }

    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        let Value::Hash(fields) = &root.value else { return Vec::new() };
        if is_write(fields).is_none() {
            return Vec::new();
        }
        let readers = fields.iter().filter_map(|(name, value)| match field(name, value) {
            Field::Reader(count) => Some((name, count)),
            _ => None,
        });
        readers.flat_map(|(reader, count)| slots(&root.key, reader, count)).take(MAX_SLOTS).collect()
    }

    fn channels(&self) -> &'static [&'static str] {
        &["redisson_rwlock:"]
    }

    fn root_of_channel(&self, channel: &[u8]) -> Option<Vec<u8>> {
        names::of_prefixed(READ_WRITE_CHANNEL, channel).map(<[u8]>::to_vec)
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(fields) = stored.hash() else { return none() };
        let Some(is_write) = is_write(fields) else { return none() };
        let mut form = Form {
            recognition: if is_write { &WRITE } else { &READ },
            mode: if is_write { Mode::Exclusive } else { Mode::Shared },
            state: LockState::Held,
            holds: smallvec::SmallVec::new(),
            extra: None,
        };
        let (mut dead, mut foreign, mut holders): (Vec<&[u8]>, Vec<&[u8]>, usize) = (Vec::new(), Vec::new(), 0);
        let mut slot_keys = Vec::new();
        let mut writes = false;
        let mut looked_at = 0;
        for (name, value) in fields {
            match field(name, value) {
                Field::Mode => {}
                Field::Foreign => foreign.push(name),
                Field::Writer(count) => {
                    (holders, writes) = (holders + 1, true);
                    let hold = Hold { count, ..Hold::new(name, stored.ttl_ms()) };
                    form.holds.push(Hold { extra: held_as(Mode::Exclusive), ..hold });
                }
                Field::Reader(count) => {
                    holders += 1;
                    let asked: Vec<Vec<u8>> = slots(stored.key(), name, count).collect();
                    let all_asked = looked_at + asked.len() <= MAX_SLOTS;
                    looked_at += asked.len();
                    let found: Vec<&Raw> = asked.iter().filter_map(|slot| stored.beside(slot)).collect();
                    slot_keys.extend(found.iter().map(|slot| slot.key.clone()));
                    if found.is_empty() && all_asked {
                        dead.push(name);
                        continue;
                    }
                    // A slot without expiry never lapses; of those that do, the longest counts. Without any to look at,
                    // no hold outlives the hash.
                    let ttl = match found.iter().map(|slot| slot.ttl_ms).reduce(|a, b| Some(a?.max(b?))) {
                        Some(ttl) => ttl,
                        None => stored.ttl_ms(),
                    };
                    let hold = Hold { count, ..Hold::new(name, ttl) };
                    form.holds.push(Hold { extra: held_as(Mode::Shared), ..hold });
                }
            }
        }
        if holders == 0 || (form.holds.is_empty() && foreign.is_empty()) {
            return none();
        }
        let odd = !foreign.is_empty() || writes != is_write;
        let extra = form.extra.get_or_insert_default();
        extra.entries = fields.iter().map(|(name, value)| entry(None, Some(name), value.clone())).collect();
        if !slot_keys.is_empty() {
            extra.companions = slot_keys;
        }
        if !dead.is_empty() {
            extra.flags.push(Flag::DeadMember);
            extra.notes.push(format!(
                "listed as readers and none any more, because none of their slots is left: {}",
                named(dead.iter().copied())
            ));
        }
        if odd {
            form.recognition = &FOREIGN;
            form.state = LockState::UnknownHolder;
            extra.flags.push(Flag::Unrecognised);
            extra.notes.push(match (foreign.is_empty(), is_write) {
                (false, _) => format!("fields that are no holders: {}", named(foreign.iter().copied())),
                (true, true) => "its mode is `write` and it has no writer".to_owned(),
                (true, false) => "its mode is `read` and it has a writer".to_owned(),
            });
        }
        whole(form)
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        let is_writer = order.token.ends_with(WRITER);
        let mut keys = vec![order.key.to_vec()];
        if !is_writer {
            let slots = (1..=order.count).rev().take(MAX_SLOTS);
            keys.extend(slots.map(|number| names::slot(&order.key, &order.token, number)));
        }
        // What the names of all slots of this lock begin with, up to the reader.
        let mut all_slots = names::slots(&order.key, b"");
        all_slots.truncate(all_slots.len() - SLOT_SUFFIX.len());
        Script {
            code: if is_writer { RELEASE_WRITER } else { RELEASE_READER },
            keys,
            arguments: vec![
                order.token.to_vec(),
                most_ttl(order, now_ms),
                order.count.to_string().into_bytes(),
                names::prefixed(READ_WRITE_CHANNEL, &order.key),
                all_slots,
            ],
        }
    }
}

/// What stands between a reader and the number of a slot.
const SLOT_SUFFIX: &str = ":rwlock_timeout:";

fn held_as(mode: Mode) -> Option<Box<HoldExtra>> {
    Some(Box::new(HoldExtra { mode: Some(mode), ..HoldExtra::default() }))
}

/// What `RedissonWriteLock` does when a writer leaves for good, after comparing mode, field, count and expiry. One who
/// also reads goes on reading.
const RELEASE_WRITER: &str = script!(
    r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'hash' or redis.call('HGET', KEYS[1], 'mode') ~= 'write' then return {'changed'} end
local count = redis.call('HGET', KEYS[1], ARGV[1])
if not count then return {'changed'} end
local ttl = redis.call('PTTL', KEYS[1])
if count ~= ARGV[3] or is_later(ttl, ARGV[2]) then return {'touched', ttl} end
redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('HLEN', KEYS[1]) > 1 then
  redis.call('HSET', KEYS[1], 'mode', 'read')
  return {'released', 0}
end
redis.call('DEL', KEYS[1])
return {'released', signal(ARGV[4], '1')}
"
);

/// What `RedissonReadLock` does when a reader leaves for good, after comparing field, count and the longest of its
/// slots. The hash then lives as long as the longest slot of those who stay; where none of theirs is left and nobody
/// writes, nobody stays. Of each reader the newest slots are looked at, which are renewed together with the others.
const RELEASE_READER: &str = script!(
    r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'hash' then return {'changed'} end
local mode, count = redis.call('HGET', KEYS[1], 'mode'), redis.call('HGET', KEYS[1], ARGV[1])
if not mode or not count then return {'changed'} end
local longest = -2
for i = 2, #KEYS do
  local left = redis.call('PTTL', KEYS[i])
  if left == -1 then longest = -1 break end
  longest = math.max(longest, left)
end
if count ~= ARGV[3] or is_later(longest, ARGV[2]) then return {'touched', longest} end
redis.call('HDEL', KEYS[1], ARGV[1])
for i = 2, #KEYS do redis.call('DEL', KEYS[i]) end
longest = -2
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local count = fields[i] ~= 'mode' and tonumber(fields[i + 1]) or 0
  for slot = count, math.max(1, count - 63), -1 do
    local left = redis.call('PTTL', ARGV[5] .. fields[i] .. ':rwlock_timeout:' .. slot)
    if left == -1 then longest = math.huge break end
    longest = math.max(longest, left)
  end
end
if longest == math.huge then return {'released', 0} end
if longest > 0 then
  redis.call('PEXPIRE', KEYS[1], longest)
  return {'released', 0}
end
if mode == 'write' then return {'released', 0} end
redis.call('DEL', KEYS[1])
return {'released', signal(ARGV[4], '0')}
"
);

#[cfg(test)]
mod tests {
    use super::super::tests::{A, B, C};
    use super::*;

    fn raw_slot(reader: &str, number: u32, ttl_ms: i64) -> Raw {
        let key = String::from_utf8(names::slot(b"catalog", reader.as_bytes(), number)).unwrap();
        Raw::string(&key, b"1", Some(ttl_ms))
    }

    fn seen(fields: &[(&str, &str)], beside: &[Raw]) -> Option<Form> {
        let root = Raw::hash("catalog", fields, Some(25_000));
        let stored = Stored { root: &root, beside, configured: false, now_ms: 0 };
        ReadWrite.recognise(&stored).pop().map(|found| found.form)
    }

    #[test]
    fn readers_have_the_lease_of_their_longest_slot_and_one_without_any_is_dead() {
        let fields = [("mode", "read"), (A, "2"), (B, "1"), (C, "1")];
        let beside = [raw_slot(A, 1, 9_000), raw_slot(A, 2, 25_000), raw_slot(B, 1, 4_000)];
        let form = seen(&fields, &beside).unwrap();
        assert_eq!(
            (form.mode, form.state, form.recognition.certainty),
            (Mode::Shared, LockState::Held, Certainty::Certain)
        );
        let holds: Vec<_> = form.holds.iter().map(|hold| (&hold.token[..], hold.count, hold.ttl_ms)).collect();
        assert_eq!(holds, [(A.as_bytes(), 2, Some(25_000)), (B.as_bytes(), 1, Some(4_000))]);
        let extra = form.extra.unwrap();
        assert_eq!(extra.flags[..], [Flag::DeadMember]);
        assert!(extra.notes[0].contains(C), "{:?}", extra.notes);
        assert_eq!((extra.companions.len(), extra.entries.len()), (3, 4));
    }

    #[test]
    fn the_slots_to_read_follow_from_fields_and_counts_within_bounds() {
        let root = Raw::hash("catalog", &[("mode", "read"), (A, "2"), (B, "4000000000")], None);
        let beside = ReadWrite.beside(&root);
        assert_eq!(beside.len(), 2 + SLOTS_EACH as usize);
        assert!(beside.iter().all(|key| ReadWrite.root_of(key).as_deref() == Some(&b"catalog"[..])));
        assert_eq!(ReadWrite.beside(&Raw::hash("x", &[("mode", "dark")], None)), [] as [Vec<u8>; 0]);
    }

    #[test]
    fn a_writer_excludes_and_may_read_as_well() {
        let writer = format!("{A}:write");
        let form = seen(&[("mode", "write"), (&writer, "1")], &[]).unwrap();
        assert_eq!((form.mode, form.holds.len(), form.holds[0].ttl_ms), (Mode::Exclusive, 1, Some(25_000)));
        let form = seen(&[("mode", "write"), (&writer, "1"), (A, "1")], &[raw_slot(A, 1, 5)]).unwrap();
        let modes: Vec<_> = form.holds.iter().map(|hold| hold.extra.as_ref().unwrap().mode.unwrap()).collect();
        assert_eq!((form.mode, modes), (Mode::Exclusive, vec![Mode::Exclusive, Mode::Shared]));
    }

    #[test]
    fn what_no_version_writes_is_shown_whole_and_not_released() {
        for fields in [&[("mode", "read"), (A, "1"), ("upgraded", "yes")][..], &[("mode", "write"), (A, "1")]] {
            let form = seen(fields, &[raw_slot(A, 1, 5)]).unwrap();
            assert_eq!((form.state, form.recognition.certainty), (LockState::UnknownHolder, Certainty::Ambiguous));
            assert!(form.recognition.traits.no_release.is_some());
            assert_eq!(form.extra.unwrap().entries.len(), fields.len());
        }
    }

    #[test]
    fn hashes_with_a_mode_of_their_own_are_none() {
        for fields in [&[("mode", "read")][..], &[("mode", "read"), ("name", "Ada")], &[("mode", "dark"), (A, "1")]] {
            assert_eq!(seen(fields, &[]), None);
        }
        assert_eq!(seen(&[("mode", "read"), (A, "1")], &[]), None, "only a dead reader is nobody");
    }
}
