//! The queue of an `RFairLock`: a list of those who wait, in order, and a sorted set with the moments after which each
//! may be dropped from it. Neither ever expires.
//!
//! Each who waits listens on a channel of its own, so that nobody on it for a while means that nobody is there. Such a
//! one at the head keeps everybody out: while the lock is free only the head may take it.

use std::collections::HashMap;

use bytes::Bytes;
use lockkeeper_model::{Flag, Time, words};

use super::names::{self, DEADLINES, QUEUE, UNLOCK_CHANNEL};
use super::{entry, moment, named, score_text, script, thread_of};
use crate::source::redis::dialect::{Heard, Raw, Script, Stored, Value, latest_end};
use crate::source::{Entry, Extra, Queue, Queued, ReleaseOrder};

/// Those at the front of a queue whose channels are looked at: the head decides, and the next are what an engineer wants
/// to know before taking the head out.
const WATCHED: usize = 4;

/// One who waits joins the queue before it listens on its channel, and the head takes a free lock within milliseconds. A
/// second, the pause between two looks at a queue, is no hand-over any more.
const HAND_OVER_MS: i64 = 1_000;

/// What stands beside a lock that may be a fair one.
pub(super) fn keys(name: &[u8]) -> [Vec<u8>; 2] {
    [names::prefixed(QUEUE, name), names::prefixed(DEADLINES, name)]
}

/// The channels of those at the front of the queue.
pub(super) fn listeners(root: &Raw, beside: &[Raw]) -> Vec<Vec<u8>> {
    // A lock of another family has nothing of this name beside it, and a name is made only for what may have.
    if beside.is_empty() || !matches!(root.value, Value::Hash(_) | Value::Missing) {
        return Vec::new();
    }
    let queue = names::prefixed(QUEUE, &root.key);
    let items = beside.iter().find_map(|raw| match &raw.value {
        Value::List { items, .. } if *raw.key == *queue => Some(items),
        _ => None,
    });
    let first = items.into_iter().flatten().take(WATCHED);
    first.map(|waiter| names::waiter_channel(&root.key, waiter)).collect()
}

/// Adds the queue of a lock to what is said of it, if it has one. Says whether it has.
pub(super) fn add(extra: &mut Extra, stored: &Stored<'_>, heard: &Heard<'_>) -> bool {
    let [queue, deadlines] = keys(stored.key());
    let (queue, deadlines) = (stored.beside(&queue), stored.beside(&deadlines));
    let (items, total) = match queue.map(|raw| &raw.value) {
        Some(Value::List { items, total }) => (items.as_slice(), *total),
        _ => (&[][..], 0),
    };
    let scores: &[(Bytes, f64)] = match deadlines.map(|raw| &raw.value) {
        Some(Value::ZSet(members)) => members,
        _ => &[],
    };
    if total == 0 && scores.is_empty() {
        return false;
    }
    for raw in queue.iter().chain(&deadlines) {
        extra.companions.push(raw.key.clone());
    }
    extra.entries.extend(items.iter().filter_map(|item| Some(entry(Some(&queue?.key), None, item.clone()))));
    extra.entries.extend(scores.iter().filter_map(|(member, score)| scored(deadlines?, member, *score)));
    if total == 0 {
        return true;
    }
    let ends: HashMap<&[u8], i64> = scores.iter().map(|(member, score)| (&member[..], moment(*score))).collect();
    let waiters: Vec<Queued> = items
        .iter()
        .enumerate()
        .map(|(place, waiter)| Queued {
            token: waiter[..].into(),
            expires_at_ms: ends.get(&waiter[..]).copied(),
            abandoned: if place < WATCHED { is_abandoned(stored, heard, waiter) } else { None },
        })
        .collect();
    let foreign: Vec<&[u8]> = items.iter().map(|item| &item[..]).filter(|item| thread_of(item).is_none()).collect();
    if !foreign.is_empty() {
        extra.flags.push(Flag::Unrecognised);
        extra.notes.push(format!("its queue has entries that name no thread of a client: {}", named(foreign)));
    }
    let dead = waiters.iter().filter(|waiter| waiter.abandoned == Some(true)).map(|waiter| &waiter.token[..]);
    let dead: Vec<&[u8]> = dead.collect();
    if !dead.is_empty() {
        extra.notes.push(format!(
            "in its queue nobody is behind {} any more: nobody listens on the channel on which it would be woken",
            named(dead)
        ));
    }
    if heard.missing_ms.is_some_and(|ms| ms >= HAND_OVER_MS)
        && let Some(head) = waiters.first()
    {
        extra.flags.push(Flag::QueueWithoutHolder);
        extra.notes.push(stuck(head, stored.now_ms));
    }
    extra.queue = Some(Queue { ordered: true, count: total, waiters });
    true
}

fn scored(deadlines: &Raw, member: &Bytes, score: f64) -> Option<Entry> {
    Some(entry(Some(&deadlines.key), Some(member), score_text(score)))
}

fn is_abandoned(stored: &Stored<'_>, heard: &Heard<'_>, waiter: &[u8]) -> Option<bool> {
    let listeners = heard.on(&names::waiter_channel(stored.key(), waiter))?;
    match listeners.count {
        0 => (listeners.silent_ms >= HAND_OVER_MS).then_some(true),
        _ => Some(false),
    }
}

/// Why nobody can take a lock that nobody holds.
fn stuck(head: &Queued, now_ms: i64) -> String {
    let name = words::shown(&head.token.escape_ascii().to_string());
    let who = match head.abandoned {
        Some(true) => "is not there any more",
        Some(false) => "listens and has not taken it",
        None => "has not taken it",
    };
    let until = match head.expires_at_ms {
        Some(at) if at > now_ms => format!("nobody else may before its place lapses at {}", Time(at)),
        Some(_) => "its place has lapsed, so that the next client that tries drops it".to_owned(),
        None => "nobody else may, and its place has no end".to_owned(),
    };
    format!("nobody holds the lock and `{name}`, at the head of its queue, {who}: {until}")
}

/// What an eviction does, for the person who is asked to confirm it.
pub(super) const EVICT_WAITER: &str = "The waiter is taken out of the queue only if it is still at the head, with the \
                                       same deadline, and nobody holds the lock. Those behind it move up by its wait, \
                                       as when the library itself lets a waiter go, and `0` is published on the \
                                       channel of the next head, which wakes it.";

pub(super) fn evict(order: &ReleaseOrder) -> Script {
    let [queue, deadlines] = keys(&order.key);
    Script {
        code: EVICT,
        keys: vec![order.key.to_vec(), queue, deadlines],
        arguments: vec![order.token.to_vec(), latest_end(order), names::prefixed(UNLOCK_CHANNEL, &order.key)],
    }
}

/// Compares that the lock is free and that the waiter is the head with the deadline that was seen; then does what
/// `acquireFailedAsync` does for one who gives up: out of list and set, and everybody behind it earlier by its wait,
/// which is what lies between its deadline and the next one. One whose deadline has passed is dropped without that, as
/// the library drops it. The thousands of later deadlines are bounded; one that is not lowered lapses later.
const EVICT: &str = script!(
    r"
if redis.call('EXISTS', KEYS[1]) == 1 then return {'changed'} end
local head = redis.call('LINDEX', KEYS[2], 0)
if not head then return {'gone'} end
if head ~= ARGV[1] then return {'changed'} end
local deadline = tonumber(redis.call('ZSCORE', KEYS[3], head) or -1)
if is_later(deadline, ARGV[2]) then return {'touched', deadline} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('LPOP', KEYS[2])
redis.call('ZREM', KEYS[3], head)
local later = redis.call('LRANGE', KEYS[2], 0, 9999)
if #later == 0 then return {'released', 0} end
local wait = tonumber(redis.call('ZSCORE', KEYS[3], later[1]) or deadline) - deadline
if deadline > now and wait > 0 then
  for _, waiter in ipairs(later) do
    if redis.call('ZSCORE', KEYS[3], waiter) then redis.call('ZINCRBY', KEYS[3], -wait, waiter) end
  end
end
return {'released', signal(ARGV[3] .. ':' .. later[1], '0')}
"
);

#[cfg(test)]
mod tests {
    use lockkeeper_model::LockState;

    use super::super::lock::Lock;
    use super::super::tests::{A, B, C};
    use super::*;
    use crate::source::Form;
    use crate::source::redis::dialect::{Dialect as _, Listeners};

    const NOW: i64 = 1_767_235_900_000;

    fn queue(waiters: &[(&str, i64)]) -> [Raw; 2] {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let items = waiters.iter().map(|(waiter, _)| bytes(waiter)).collect();
        let scores = waiters.iter().map(|(waiter, end)| (bytes(waiter), *end as f64)).collect();
        let total = waiters.len() as u32;
        [
            Raw { key: bytes("redisson_lock_queue:{orders}"), value: Value::List { items, total }, ttl_ms: None },
            Raw { key: bytes("redisson_lock_timeout:{orders}"), value: Value::ZSet(scores), ttl_ms: None },
        ]
    }

    fn free() -> Raw {
        Raw { key: Bytes::from_static(b"orders"), value: Value::Missing, ttl_ms: None }
    }

    fn listeners(waiter: &str, count: u32, silent_ms: i64) -> Listeners {
        let channel = Bytes::from(format!("redisson_lock__channel:{{orders}}:{waiter}"));
        Listeners { channel, count, silent_ms }
    }

    fn seen(root: &Raw, beside: &[Raw], listeners: &[Listeners], missing_ms: Option<i64>) -> Option<Form> {
        let stored = Stored { root, beside, configured: false, now_ms: NOW };
        let heard = Heard { listeners, missing_ms, is_listened_for: false };
        Lock.recognise_heard(&stored, &heard).pop().map(|found| found.form)
    }

    #[test]
    fn those_who_wait_are_listed_in_order_with_their_deadlines() {
        let root = Raw::hash("orders", &[(A, "1")], Some(9_000));
        let beside = queue(&[(C, NOW + 300_000), (B, NOW + 600_000)]);
        let form = seen(&root, &beside, &[listeners(C, 1, 0)], None).unwrap();
        assert_eq!((form.recognition.dialect, form.state), ("redisson-fair", LockState::Held));
        let extra = form.extra.unwrap();
        let queue = extra.queue.unwrap();
        let said: Vec<_> =
            queue.waiters.iter().map(|one| (&one.token[..], one.expires_at_ms.unwrap() - NOW, one.abandoned)).collect();
        assert_eq!(said, [(C.as_bytes(), 300_000, Some(false)), (B.as_bytes(), 600_000, None)]);
        assert!(queue.ordered && queue.count == 2 && extra.flags.is_empty() && extra.notes.is_empty());
        assert_eq!((extra.companions.len(), extra.entries.len()), (2, 5));
    }

    #[test]
    fn a_queue_without_a_lock_is_a_finding_after_more_than_a_hand_over() {
        let beside = queue(&[(A, NOW + 200_000), (B, NOW + 500_000)]);
        let at_once = seen(&free(), &beside, &[listeners(A, 0, 0)], Some(0)).unwrap();
        assert_eq!((at_once.state, at_once.holds.len()), (LockState::WaitingOnly, 0));
        let extra = at_once.extra.unwrap();
        assert!(extra.flags.is_empty() && extra.notes.is_empty(), "it may be a hand-over: {extra:?}");
        assert_eq!(extra.queue.unwrap().waiters[0].abandoned, None);

        let later = seen(&free(), &beside, &[listeners(A, 0, 1_000), listeners(B, 1, 0)], Some(1_000)).unwrap();
        let extra = later.extra.unwrap();
        assert_eq!(extra.flags[..], [Flag::QueueWithoutHolder]);
        assert!(extra.notes.iter().any(|note| note.contains(A) && note.contains("is not there any more")));
        let queue = extra.queue.unwrap();
        assert_eq!([queue.waiters[0].abandoned, queue.waiters[1].abandoned], [Some(true), Some(false)]);
    }

    #[test]
    fn nothing_in_the_queue_is_no_lock() {
        assert_eq!(seen(&free(), &[], &[], None), None);
        let [_, deadlines] = queue(&[(A, NOW)]);
        assert_eq!(seen(&free(), &[deadlines], &[], None), None, "deadlines alone keep nobody out");
    }

    #[test]
    fn entries_that_name_no_thread_are_shown_and_said() {
        let form = seen(&free(), &queue(&[("somebody", NOW)]), &[], Some(0)).unwrap();
        assert_eq!(form.extra.unwrap().flags[..], [Flag::Unrecognised]);
    }

    #[test]
    fn the_first_few_are_asked_for() {
        let beside = queue(&[(A, 1), (B, 2), (C, 3), ("d", 4), ("e", 5), ("f", 6)]);
        let asked = super::listeners(&free(), &beside);
        assert_eq!(asked.len(), WATCHED);
        assert_eq!(asked[0], listeners(A, 0, 0).channel);
        assert!(super::listeners(&Raw::string("orders", b"1", None), &beside).is_empty());
    }
}
