//! `RLock`: a hash with one field `<client uuid>:<thread id>` whose value is the re-entry count. A fair lock has a queue
//! beside it, a fenced one a counter. Spin and non-re-entrant locks and the parts of a multi lock look plain.

use bytes::Bytes;
use lockkeeper_model::{Certainty, Flag, LockState, Mode};

use super::names::{self, DEADLINES, FENCE, LATCH, QUEUE, UNLOCK_CHANNEL};
use super::{TOLD_BECAUSE, UNRECOGNISED_RELEASE, count_of, entry, fair, identity, named, script, thread_of};
use crate::source::operator_hold::OperatorHold;
use crate::source::redis::dialect::{
    Dialect, Found, Heard, Kind, Raw, Script, Stored, Value, keep, most_ttl, none, whole,
};
use crate::source::{Act, DialectTraits, Extra, Form, Hold, HoldExtra, Recognition, ReleaseOrder};

pub(in super::super) struct Lock;

const PLAIN: &str = "redisson";
const FAIR: &str = "redisson-fair";
const FENCED: &str = "redisson-fenced";

/// The most fields of a hash in which one that is a hold makes the others remarkable. A lock has one.
const FEW_FIELDS: usize = 8;

const RLOCK_TRAITS: DialectTraits = DialectTraits {
    stored_as: "hash",
    told_because: TOLD_BECAUSE,
    release: "The hash is deleted only if this field is still in it alone with exactly this count and its expiry was \
              not pushed out since; then `0` is published on its unlock channel, which wakes one thread in each \
              waiting client, as the library does.",
    // The field names a client and a thread, for every lock and every acquire.
    token_is_one_use: false,
    no_hold: None,
    no_put_back: None,
    waiters_counted: true,
    waiters_because: "connections that listen on its unlock channel: one for each waiting client, however many of its \
                      threads wait",
    // A lease of the watchdog, 30 s, is kept above 20 s; one that the caller chose is not renewed. Nothing stored says
    // which it is.
    renewal_keeps_ms: None,
    identity,
    ..DialectTraits::PLAIN
};

static PLAIN_TRAITS: DialectTraits = RLOCK_TRAITS;

static FAIR_TRAITS: DialectTraits = DialectTraits {
    release: "The hash is deleted only if this field is still in it alone with exactly this count and its expiry was \
              not pushed out since; waiters at the head of the queue whose deadlines have passed are dropped, and `0` \
              is published on the channel of the one who is the head then, which wakes it, as the library does. The \
              queue stays.",
    evict_waiter: Some(fair::EVICT_WAITER),
    waiters_because: "the library keeps those who wait in a list",
    waiters_counted: false,
    waiters_listed: true,
    ..RLOCK_TRAITS
};

static FENCED_TRAITS: DialectTraits = DialectTraits {
    release: "The hash is deleted only if this field is still in it alone with exactly this count, its expiry was not \
              pushed out since and the fencing counter is the same; then `0` is published on its unlock channel, which \
              wakes one thread in each waiting client, as the library does. The fencing counter stays: starting again would break the fence.",
    raise_fence: Some("Redisson counts on from there: whoever takes the lock next has a higher number still."),
    ..RLOCK_TRAITS
};

static UNRECOGNISED_TRAITS: DialectTraits = DialectTraits {
    no_release: Some(UNRECOGNISED_RELEASE),
    no_hold: Some(UNRECOGNISED_RELEASE),
    no_put_back: Some(UNRECOGNISED_RELEASE),
    ..RLOCK_TRAITS
};

static RLOCK: Recognition = Recognition {
    dialect: PLAIN,
    certainty: Certainty::Certain,
    because: "a hash whose only field is a client's UUID and a thread number, with a count: a Redisson RLock or one of \
              its kin that look the same: a spin lock, a part of a multi lock, a fair lock for which nobody waits",
    traits: &PLAIN_TRAITS,
};

static FAIR_LOCK: Recognition = Recognition {
    dialect: FAIR,
    certainty: Certainty::Certain,
    because: "a hash as Redisson's locks are, with the queue of a fair lock beside it",
    traits: &FAIR_TRAITS,
};

static FAIR_QUEUE: Recognition = Recognition {
    dialect: FAIR,
    certainty: Certainty::Certain,
    because: "the queue of a Redisson fair lock stands, and the lock itself is free",
    traits: &FAIR_TRAITS,
};

static FENCED_LOCK: Recognition = Recognition {
    dialect: FENCED,
    certainty: Certainty::Certain,
    because: "a hash as Redisson's locks are, with the counter of a fenced lock beside it",
    traits: &FENCED_TRAITS,
};

static FOREIGN_FIELDS: Recognition = Recognition {
    dialect: PLAIN,
    certainty: Certainty::Ambiguous,
    because: "a hash with a field as Redisson's locks have, and with other fields that no known version of Redisson \
              writes there",
    traits: &UNRECOGNISED_TRAITS,
};

static SEVERAL_FIELDS: Recognition = Recognition {
    dialect: PLAIN,
    certainty: Certainty::Ambiguous,
    because: "a hash with several fields as Redisson's locks have one, and without the mode that locks with several \
              holders have",
    traits: &UNRECOGNISED_TRAITS,
};

impl Dialect for Lock {
    fn names(&self) -> &'static [&'static str] {
        &[PLAIN, FAIR, FENCED]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Hash, Kind::Missing]
    }

    fn holdable(&self) -> Vec<&'static Recognition> {
        vec![&RLOCK, &FAIR_LOCK, &FENCED_LOCK]
    }

    fn holder_is_field(&self) -> bool {
        true
    }

    fn fence_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        Some(names::prefixed(FENCE, key))
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        if !key.starts_with(b"redisson_lock_") {
            return None;
        }
        [QUEUE, DEADLINES, FENCE].iter().find_map(|prefix| names::of_prefixed(prefix, key)).map(<[u8]>::to_vec)
    }

    /// A queue keeps everybody out of its lock when that is gone. The deadlines alone keep nobody out.
    fn leads(&self) -> &'static [&'static str] {
        &["redisson_lock_queue:"]
    }

    fn is_never_a_lock(&self, key: &[u8]) -> bool {
        key.starts_with(b"redisson_")
            && [LATCH, QUEUE, DEADLINES, FENCE]
                .iter()
                .any(|prefix| key.strip_prefix(prefix.as_bytes()).is_some_and(|rest| rest.starts_with(b":")))
    }

    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        match &root.value {
            Value::Hash(fields) if fields.iter().any(|(field, _)| is_holder(field)) => {
                if fields.iter().any(|(field, _)| *field == "mode") {
                    return Vec::new();
                }
                let [queue, deadlines] = fair::keys(&root.key);
                vec![queue, deadlines, names::prefixed(FENCE, &root.key)]
            }
            Value::Missing => fair::keys(&root.key).to_vec(),
            _ => Vec::new(),
        }
    }

    fn listeners(&self, root: &Raw, beside: &[Raw]) -> Vec<Vec<u8>> {
        fair::listeners(root, beside)
    }

    fn channels(&self) -> &'static [&'static str] {
        &["redisson_lock__channel:"]
    }

    fn root_of_channel(&self, channel: &[u8]) -> Option<Vec<u8>> {
        names::of_unlock_channel(channel).map(<[u8]>::to_vec)
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        self.recognise_heard(stored, &Heard::default())
    }

    fn recognise_heard(&self, stored: &Stored<'_>, heard: &Heard<'_>) -> Found {
        match &stored.root.value {
            Value::Hash(fields) => held(stored, heard, fields),
            Value::Missing => waited_for(stored, heard),
            _ => none(),
        }
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        if order.act == Act::Evict {
            return fair::evict(order);
        }
        let [queue, deadlines] = fair::keys(&order.key);
        // Not named where it is not compared: the credential may not reach it.
        let fence = order.fencing.as_ref().map(|_| names::prefixed(FENCE, &order.key));
        Script {
            code: RELEASE,
            keys: [order.key.to_vec(), queue, deadlines].into_iter().chain(fence).collect(),
            arguments: vec![
                order.token.to_vec(),
                most_ttl(order, now_ms),
                order.count.to_string().into_bytes(),
                names::prefixed(UNLOCK_CHANNEL, &order.key),
                order.fencing.as_deref().unwrap_or_default().as_bytes().to_vec(),
            ],
        }
    }
}

/// A thread of a client, or an operator.
fn is_holder(field: &[u8]) -> bool {
    thread_of(field).is_some() || OperatorHold::of(field).is_some()
}

fn held(stored: &Stored<'_>, heard: &Heard<'_>, fields: &[(Bytes, Bytes)]) -> Found {
    let [(field, count)] = fields else { return unrecognised(stored, fields) };
    let Some(count) = count_of(count).filter(|_| is_holder(field)) else { return none() };
    let mut form = Form::exclusive(&RLOCK, field, stored.ttl_ms());
    form.holds[0].count = count;
    let fence = stored.beside(&names::prefixed(FENCE, stored.key()));
    let fence = fence.and_then(|raw| match &raw.value {
        Value::String(value) => Some((raw, value)),
        _ => None,
    });
    let mut extra = Extra::default();
    if fair::add(&mut extra, stored, heard) {
        form.recognition = &FAIR_LOCK;
    }
    if let Some((raw, value)) = fence {
        if form.recognition == &RLOCK {
            form.recognition = &FENCED_LOCK;
        }
        extra.companions.push(raw.key.clone());
        extra.entries.push(entry(Some(&raw.key), None, value.clone()));
        // What is not a number is no fence, and stays among the entries.
        // An operator never counted it up.
        let is_number = |text: &&str| text.parse::<i64>().is_ok() && OperatorHold::of(field).is_none();
        if let Some(number) = std::str::from_utf8(value).ok().filter(is_number) {
            form.holds[0].extra = Some(Box::new(HoldExtra { fencing: Some(number.into()), ..HoldExtra::default() }));
        }
    }
    if OperatorHold::of(field).is_some() {
        form.recognition = keep::recognition(form.recognition.dialect).unwrap_or(form.recognition);
    }
    if extra != Extra::default() {
        extra.entries.insert(0, entry(None, Some(&fields[0].0), fields[0].1.clone()));
        form.extra = Some(Box::new(extra));
    }
    whole(form)
}

/// The lock's key is missing: then only its queue can be there.
fn waited_for(stored: &Stored<'_>, heard: &Heard<'_>) -> Found {
    let mut extra = Extra::default();
    if stored.beside.is_empty() || !fair::add(&mut extra, stored, heard) || extra.queue.is_none() {
        return none();
    }
    whole(Form {
        recognition: &FAIR_QUEUE,
        mode: Mode::Exclusive,
        state: LockState::WaitingOnly,
        holds: smallvec::SmallVec::new(),
        extra: Some(Box::new(extra)),
    })
}

/// A hash with a hold in it that is not what a lock is. It may come from a version that is newer than this.
fn unrecognised(stored: &Stored<'_>, fields: &[(Bytes, Bytes)]) -> Found {
    if fields.len() > FEW_FIELDS || fields.iter().any(|(field, _)| *field == "mode") {
        return none();
    }
    let hold = |(field, value): &(Bytes, Bytes)| count_of(value).filter(|_| is_holder(field));
    let foreign: Vec<&[u8]> =
        fields.iter().filter(|field| hold(field).is_none()).map(|(field, _)| &field[..]).collect();
    if foreign.len() == fields.len() {
        return none();
    }
    let holds =
        fields.iter().filter_map(|field| Some(Hold { count: hold(field)?, ..Hold::new(&field.0, stored.ttl_ms()) }));
    let mut form = Form {
        recognition: if foreign.is_empty() { &SEVERAL_FIELDS } else { &FOREIGN_FIELDS },
        mode: Mode::Exclusive,
        state: LockState::UnknownHolder,
        holds: holds.collect(),
        extra: None,
    };
    let extra = form.extra_mut();
    extra.flags.push(Flag::Unrecognised);
    if !foreign.is_empty() {
        extra.notes.push(format!("fields that are no holds of Redisson: {}", named(foreign)));
    }
    extra.entries = fields.iter().map(|(field, value)| entry(None, Some(field), value.clone())).collect();
    whole(form)
}

/// Compares field, count, that it is alone, expiry, and the counter of a fenced lock, which counts every acquire and
/// re-entry by the same thread, too; then deletes, and wakes as the library does: the head of the
/// queue of a fair lock, after those whose time is over were dropped from it, and otherwise everybody who listens. Which
/// of both it is now decides what stands there now. The number of those who are dropped is bounded.
const RELEASE: &str = script!(
    r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'hash' then return {'changed'} end
local count = redis.call('HGET', KEYS[1], ARGV[1])
if not count or redis.call('HLEN', KEYS[1]) ~= 1 then return {'changed'} end
local ttl = redis.call('PTTL', KEYS[1])
if count ~= ARGV[3] or is_later(ttl, ARGV[2]) then return {'touched', ttl} end
if ARGV[5] ~= '' and redis.call('GET', KEYS[4]) ~= ARGV[5] then return {'touched', ttl} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local head = redis.call('LINDEX', KEYS[2], 0)
local fair = head
for _ = 1, 10000 do
  local deadline = head and redis.call('ZSCORE', KEYS[3], head)
  if not deadline or tonumber(deadline) > now then break end
  redis.call('ZREM', KEYS[3], head)
  redis.call('LPOP', KEYS[2])
  head = redis.call('LINDEX', KEYS[2], 0)
end
redis.call('DEL', KEYS[1])
if head then return {'released', signal(ARGV[4] .. ':' .. head, '0')} end
if fair then return {'released', 0} end
return {'released', signal(ARGV[4], '0')}
"
);

#[cfg(test)]
mod tests {
    use super::super::tests::{A, B};
    use super::*;

    fn seen(root: &Raw, beside: &[Raw]) -> Option<Form> {
        Lock.recognise(&Stored { root, beside, configured: false, now_ms: 0 }).pop().map(|found| found.form)
    }

    fn hash(fields: &[(&str, &str)]) -> Option<Form> {
        seen(&Raw::hash("orders", fields, Some(9_000)), &[])
    }

    #[test]
    fn a_field_with_uuid_and_thread_is_a_hold_and_anything_else_is_not() {
        let form = hash(&[(A, "2")]).unwrap();
        assert_eq!((form.recognition, form.holds[0].count, form.holds[0].ttl_ms), (&RLOCK, 2, Some(9_000)));
        assert_eq!(form.extra, None);
        for other in [&[(A, "2"), ("mode", "read")][..], &[("name", "Ada")], &[(A, "two")], &[(A, "0")], &[]] {
            assert_eq!(hash(other), None);
        }
    }

    #[test]
    fn a_hold_among_other_fields_is_shown_whole_and_not_released() {
        for (fields, certainty) in
            [(&[(A, "1"), ("version", "9")][..], &FOREIGN_FIELDS), (&[(A, "1"), (B, "1")], &SEVERAL_FIELDS)]
        {
            let form = hash(fields).unwrap();
            assert_eq!((form.recognition, form.state), (certainty, LockState::UnknownHolder));
            assert!(form.recognition.traits.no_release.is_some());
            let extra = form.extra.unwrap();
            assert_eq!((extra.flags[..].to_vec(), extra.entries.len()), (vec![Flag::Unrecognised], 2));
        }
        let many: Vec<(String, &str)> = (0..20).map(|n| (format!("field{n}"), "1")).collect();
        let mut many: Vec<(&str, &str)> = many.iter().map(|(field, value)| (&**field, *value)).collect();
        many.push((A, "1"));
        assert_eq!(hash(&many), None, "a large hash is something else");
    }

    #[test]
    fn a_fencing_counter_is_the_number_of_the_hold_and_stays_with_its_lock() {
        let root = Raw::hash("orders", &[(A, "1")], Some(9_000));
        let counter = |value| Raw::string("redisson_lock_token:{orders}", value, None);
        let form = seen(&root, &[counter(b"33")]).unwrap();
        assert_eq!(form.recognition, &FENCED_LOCK);
        assert_eq!(form.holds[0].extra.as_ref().unwrap().fencing.as_deref(), Some("33"));
        assert_eq!(form.extra.unwrap().companions, ["redisson_lock_token:{orders}"]);
        let odd = seen(&root, &[counter(b"many")]).unwrap();
        assert_eq!((odd.recognition, odd.holds[0].extra.is_none()), (&FENCED_LOCK, true));
    }

    #[test]
    fn companions_lead_to_their_lock_and_are_never_locks() {
        for key in ["redisson_lock_queue:{orders}", "redisson_lock_timeout:{orders}", "redisson_lock_token:{orders}"] {
            assert_eq!(Lock.root_of(key.as_bytes()).as_deref(), Some(&b"orders"[..]));
            assert!(Lock.is_never_a_lock(key.as_bytes()));
        }
        assert!(Lock.is_never_a_lock(b"redisson_unlock_latch:{orders}:0f8e41d2a2c911ef8b0a0242ac120003"));
        assert!(!Lock.is_never_a_lock(b"redisson_lock_queues"));
        let root = Raw::hash("orders", &[(A, "1")], None);
        assert_eq!(Lock.beside(&root).len(), 3);
        assert!(Lock.beside(&Raw::hash("session", &[("name", "Ada")], None)).is_empty());
    }
}
