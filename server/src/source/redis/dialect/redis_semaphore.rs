//! redis-semaphore (Node) `Semaphore` and `MultiSemaphore`: a sorted set under `semaphore:<key>` whose members are holders
//! and whose scores say when each was last refreshed.
//!
//! Neither the limit nor the lease is stored. Each refresh sets the key's expiry to the lease, so that the newest score and
//! the expiry together tell it.
//!
//! Source: swarthy/redis-semaphore 5.8.0, `src/semaphore`, `src/multiSemaphore`; formats seen running.

use std::collections::HashMap;

use bytes::Bytes;
use lockkeeper_model::{Certainty, Identity, LockState, Mode};
use smallvec::SmallVec;

use super::members::{entries, left_until, note_dead, note_foreign};
use super::shape::is_uuid4;
use super::{Dialect, Found, Kind, Script, Stored, compare_and_delete, none, whole};
use crate::source::{DialectTraits, Extra, Form, Hold, Recognition, ReleaseOrder};

pub(super) struct RedisSemaphore;

pub(super) const NAME: &str = "redis-semaphore";
const PREFIX: &[u8] = b"semaphore:";

const UUID_CHARS: usize = 36;

/// Leases are taken to be multiples of this, in milliseconds: what is computed carries the difference between two clocks
/// and the way to Redis, and must not move from one refresh to the next.
const LEASE_STEP_MS: i64 = 500;

/// A computed lease up to this much above a multiple is that multiple. Odd, so that no lease that people choose lies on
/// the edge.
const LEASE_SLACK_MS: i64 = 177;

static TRAITS: DialectTraits = DialectTraits {
    stored_as: "zset",
    strip_prefix: "semaphore:",
    told_because: "The store does not tell it. Its next refresh, after four fifths of the lease, notices the loss and \
                   raises an error; until then it goes on as if it had its permit.",
    release: "Its members are removed only if they are all still there and were not refreshed since. Other holders keep \
              theirs. Those who wait poll and need no waking.",
    // One `Semaphore` object keeps its identifier from one acquire to the next.
    token_is_one_use: false,
    waiters_because: "those who wait poll every few milliseconds, which leaves no trace in Redis",
    identity,
    ..DialectTraits::PLAIN
};

static SEEN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a sorted set under `semaphore:` whose members begin with a random UUID and whose scores are times, as \
              redis-semaphore for Node writes them",
    traits: &TRAITS,
};

static FOREIGN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Ambiguous,
    because: "a sorted set under `semaphore:` with members of redis-semaphore for Node, and with others that it does not \
              write",
    traits: &TRAITS,
};

impl Dialect for RedisSemaphore {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::ZSet]
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(members) = own(stored) else { return none() };
        let newest = members.iter().filter(|(member, _)| is_holder(member)).map(|(_, at)| *at).fold(0.0, f64::max);
        let lease = stored.ttl_ms().map(|ttl| lease_ms(newest, ttl, stored.now_ms));
        let (mut alive, mut dead, mut foreign) = (Vec::new(), Vec::<&[u8]>::new(), Vec::<&[u8]>::new());
        for (member, refreshed) in members {
            let left = lease.map(|lease| left_until(*refreshed + lease as f64, stored.now_ms));
            match left {
                _ if !is_holder(member) => foreign.push(member),
                Some(None) => dead.push(member),
                left => alive.push((member, left.flatten())),
            }
        }
        let holds = holds(&alive);
        if holds.is_empty() && foreign.is_empty() {
            return none();
        }
        let mut extra = Extra { entries: entries(stored.root, stored.key()), ..Extra::default() };
        note_dead(&mut extra, &dead);
        let (mut recognition, mut state) = (&SEEN, LockState::Held);
        if !foreign.is_empty() {
            note_foreign(&mut extra, &foreign);
            (recognition, state) = (&FOREIGN, LockState::UnknownHolder);
        }
        whole(Form { recognition, mode: Mode::Semaphore, state, holds, extra: Some(Box::new(extra)) })
    }

    fn is_vacant(&self, stored: &Stored<'_>) -> bool {
        own(stored).is_some()
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        if order.mode == Mode::Exclusive {
            // Its mutex, a string that the recipe's family recognises.
            return compare_and_delete(order, now_ms);
        }
        let number = |number: i64| number.to_string().into_bytes();
        Script {
            code: RELEASE,
            keys: vec![order.key.to_vec()],
            arguments: vec![
                order.token.to_vec(),
                number(i64::from(order.count)),
                number(order.expires_not_after.map_or(-1, |at| at.0)),
                number(now_ms),
                number(LEASE_STEP_MS),
                number(LEASE_SLACK_MS),
            ],
        }
    }
}

/// The members of a sorted set that is this family's: some of them are holders, with times for scores.
fn own<'a>(stored: &Stored<'a>) -> Option<&'a [(Bytes, f64)]> {
    let members = stored.zset().filter(|_| stored.key().starts_with(PREFIX) && stored.key().len() > PREFIX.len())?;
    let mut holders = members.iter().filter(|(member, _)| is_holder(member)).peekable();
    holders.peek()?;
    holders.all(|(_, at)| (1e12..1e13).contains(at)).then_some(members)
}

/// A random UUID, perhaps with what the application appended, perhaps with the number of one of several permits.
fn is_holder(member: &[u8]) -> bool {
    member.len() >= UUID_CHARS
        && is_uuid4(&member[..UUID_CHARS])
        && matches!(member.get(UUID_CHARS), None | Some(b'-' | b'_'))
}

/// The lease that was in force when the newest member was refreshed.
fn lease_ms(newest: f64, ttl_ms: i64, now_ms: i64) -> i64 {
    let computed = now_ms.saturating_add(ttl_ms).saturating_sub(newest as i64);
    if computed < LEASE_STEP_MS {
        return computed;
    }
    (computed - LEASE_SLACK_MS + LEASE_STEP_MS - 1).div_euclid(LEASE_STEP_MS) * LEASE_STEP_MS
}

/// `<identifier>_<n>`, as one of several permits of one holder is named.
fn permit(member: &[u8]) -> Option<(&[u8], usize)> {
    let at = memchr::memrchr(b'_', member)?;
    let digits = &member[at + 1..];
    let number = std::str::from_utf8(digits).ok()?.parse().ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?;
    Some((&member[..at], number))
}

/// Members that are numbered from 0 without a gap are the permits of one holder; every other is one by itself.
fn holds(alive: &[(&Bytes, Option<i64>)]) -> SmallVec<[Hold; 1]> {
    let mut numbered: HashMap<&[u8], (usize, usize)> = HashMap::new();
    for (member, _) in alive {
        if let Some((holder, number)) = permit(member) {
            let (count, most) = numbered.entry(holder).or_default();
            *count += 1;
            *most = (*most).max(number);
        }
    }
    let complete = |holder: &[u8]| numbered.get(holder).is_some_and(|(count, most)| *count == most + 1);
    let mut holds: SmallVec<[Hold; 1]> = SmallVec::new();
    for (member, left) in alive {
        match permit(member).filter(|(holder, _)| complete(holder)) {
            None => holds.push(Hold::new(member, *left)),
            Some((holder, _)) => match holds.iter_mut().find(|hold| *hold.token == *holder) {
                Some(hold) => {
                    hold.count += 1;
                    hold.ttl_ms = hold.ttl_ms.min(*left);
                }
                None => holds.push(Hold::new(holder, *left)),
            },
        }
    }
    holds
}

/// What the application appended to its identifier.
fn identity(token: &[u8]) -> Identity {
    let suffix = token.get(UUID_CHARS..).and_then(|rest| rest.strip_prefix(b"-"));
    let metadata =
        suffix.filter(|suffix| !suffix.is_empty()).map(|suffix| String::from_utf8_lossy(suffix).into_owned());
    Identity { metadata, ..Identity::NOBODY }
}

/// Removes the members of one holder, compared by how many there are and by when they were refreshed. The lease is
/// computed as it was when the holder was shown.
const RELEASE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'zset' then return {'changed'} end
local count, most, now = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local step, slack = tonumber(ARGV[5]), tonumber(ARGV[6])
local ttl = redis.call('PTTL', KEYS[1])
local members = {}
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if count ~= 1 then return {'touched', ttl} end
  members[1] = ARGV[1]
else
  for i = 1, count do members[i] = ARGV[1] .. '_' .. (i - 1) end
end
local newest = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
local lease = now + ttl - newest
if lease >= step then lease = math.ceil((lease - slack) / step) * step end
for i, member in ipairs(members) do
  local score = redis.call('ZSCORE', KEYS[1], member)
  if not score then return {'changed'} end
  if (most == -1) ~= (ttl == -1) then return {'touched', ttl} end
  if most ~= -1 and tonumber(score) + lease > most then return {'touched', ttl} end
end
if redis.call('ZSCORE', KEYS[1], ARGV[1] .. '_' .. count) and members[1] ~= ARGV[1] then return {'touched', ttl} end
redis.call('ZREM', KEYS[1], unpack(members))
return {'released', -1}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;
    use lockkeeper_model::Flag;

    const NOW: i64 = 1_795_231_716_000;
    const A: &str = "3784fea4-8468-421c-904a-79d55c04aa1a";
    const B: &str = "210abde7-720a-4bba-ac69-cbd64c4fddad";

    fn seen(key: &str, members: &[(&str, f64)], ttl_ms: i64) -> Option<Form> {
        let root = Raw::zset(key, members, Some(ttl_ms));
        let stored = Stored { root: &root, beside: &[], configured: true, now_ms: NOW };
        RedisSemaphore.recognise(&stored).into_iter().next().map(|found| found.form)
    }

    fn ago(ms: i64) -> f64 {
        (NOW - ms) as f64
    }

    #[test]
    fn each_member_ends_a_lease_after_its_own_refresh() {
        // The newest was refreshed 1 s ago and 9 s of its lease are left: the lease is 10 s.
        let form = seen("semaphore:pool", &[(A, ago(7_000)), (B, ago(1_000))], 9_012).unwrap();
        let left: Vec<_> = form.holds.iter().map(|hold| hold.ttl_ms).collect();
        assert_eq!((left, form.mode), (vec![Some(3_000), Some(9_000)], Mode::Semaphore));
        assert!(form.extra.unwrap().flags.is_empty());
    }

    #[test]
    fn a_member_older_than_the_lease_holds_nothing() {
        let form = seen("semaphore:pool", &[(A, ago(10_001)), (B, ago(1_000))], 9_012).unwrap();
        assert_eq!(form.holds.iter().map(|hold| &*hold.token).collect::<Vec<_>>(), [B.as_bytes()]);
        let extra = form.extra.unwrap();
        assert_eq!((extra.flags.as_slice(), extra.entries.len()), (&[Flag::DeadMember][..], 2));
        assert!(seen("semaphore:pool", &[(A, ago(10_001))], 0).is_none());
    }

    #[test]
    fn numbered_members_without_a_gap_are_one_holder() {
        let [one, two, four] = [0, 1, 3].map(|n| format!("{A}-web_{n}"));
        let form = seen("semaphore:pool", &[(&one, ago(5)), (&two, ago(5)), (B, ago(5))], 9_995).unwrap();
        assert_eq!(form.holds.iter().map(|hold| hold.count).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(*form.holds[0].token, *format!("{A}-web").as_bytes());
        assert_eq!(identity(&form.holds[0].token).metadata.as_deref(), Some("web"));
        let form = seen("semaphore:pool", &[(&one, ago(5)), (&four, ago(5))], 9_995).unwrap();
        assert_eq!(form.holds.iter().map(|hold| hold.count).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn what_is_foreign_in_it_is_said_and_what_is_not_its_own_is_left_alone() {
        let form = seen("semaphore:pool", &[("alice", ago(5)), (B, ago(5))], 9_995).unwrap();
        assert_eq!((form.recognition.certainty, form.state), (Certainty::Ambiguous, LockState::UnknownHolder));
        assert_eq!((form.holds.len(), form.extra.unwrap().flags.as_slice()), (1, &[Flag::Unrecognised][..]));
        assert!(seen("semaphore:pool", &[("alice", ago(5))], 9_995).is_none());
        assert!(seen("semaphore:pool", &[(A, 12.0)], 9_995).is_none());
        assert!(seen("pool", &[(A, ago(5))], 9_995).is_none());
    }

    #[test]
    fn the_lease_does_not_move_with_the_way_to_redis() {
        let leases: Vec<i64> = [9_700, 9_990, 10_000, 10_170].map(|left| lease_ms(ago(0), left, NOW)).into();
        assert_eq!(leases, [10_000; 4]);
    }
}
