//! Symfony Lock: a sorted set under the resource's name whose members are holders and whose scores say when each ends, in
//! milliseconds. `__write__` beside them marks a writer.
//!
//! Source: symfony/lock 5.4 to 7, `Store/RedisStore.php`; formats seen running.

use bytes::Bytes;
use lockkeeper_model::{Certainty, LockState, Mode};

use super::members::{entries, left_until, note_dead, note_foreign};
use super::shape::is_base64_of_32_bytes;
use super::{Dialect, Found, Kind, Script, Stored, none, whole};
use crate::source::{DialectTraits, Extra, Form, Hold, Recognition, ReleaseOrder};

pub(super) struct Symfony;

const NAME: &str = "symfony";

/// Stands beside the token of a writer, with the same score.
const WRITE: &[u8] = b"__write__";

static TRAITS: DialectTraits = DialectTraits {
    stored_as: "zset",
    told_because: "The store does not tell it. Its next `refresh()` raises an error and `isAcquired()` says no; a \
                   program that asks neither goes on as if it had the lock.",
    release: "This member, and the writer's mark if it has one, are removed only if it ends no later than was shown; \
              then the key's expiry is set to the end of the last of the others, as the library does. Those who wait \
              poll and need no waking.",
    // The token belongs to the `Key` object and serves for every acquire with it.
    no_hold: Some(
        "its members are read together with their times and the writer's mark: an operator's token is neither",
    ),
    token_is_one_use: false,
    waiters_because: "those who wait poll every tenth of a second, which leaves no trace in Redis",
    never_renews: Some("Symfony Lock does not renew by itself: the program calls `refresh()` or does not"),
    ..DialectTraits::PLAIN
};

static WRITER: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a sorted set with the member `__write__` and a token of 44 base64 characters, scored with the time at \
              which it ends: a Symfony lock that was taken to write",
    traits: &TRAITS,
};

static READERS: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Likely,
    because: "a sorted set whose members are all 44 base64 characters, scored with times in milliseconds: a Symfony lock \
              that was taken to read",
    traits: &TRAITS,
};

static FOREIGN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Ambiguous,
    because: "a sorted set with the member `__write__` of a Symfony lock, beside members that Symfony does not leave there \
              together",
    traits: &TRAITS,
};

impl Dialect for Symfony {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::ZSet]
    }

    fn is_never_a_lock(&self, key: &[u8]) -> bool {
        key == b"symfony_check_support_time"
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some(members) = own(stored) else { return none() };
        let mut extra = Extra { entries: entries(stored.root, stored.key()), ..Extra::default() };
        let mut form = Form {
            recognition: &READERS,
            mode: Mode::Shared,
            state: LockState::Held,
            holds: smallvec::SmallVec::new(),
            extra: None,
        };
        let (mut dead, mut foreign) = (Vec::<&[u8]>::new(), Vec::<&[u8]>::new());
        for (member, end) in members {
            match left_until(*end, stored.now_ms) {
                Some(_) if **member == *WRITE => (form.mode, form.recognition) = (Mode::Exclusive, &WRITER),
                _ if **member == *WRITE => {}
                _ if !is_base64_of_32_bytes(member) => foreign.push(member),
                None => dead.push(member),
                left => form.holds.push(Hold::new(member, left)),
            }
        }
        if form.mode == Mode::Exclusive && form.holds.len() != 1 {
            foreign.push(WRITE);
        }
        if form.holds.is_empty() && foreign.is_empty() {
            return none();
        }
        note_dead(&mut extra, &dead);
        if !foreign.is_empty() {
            note_foreign(&mut extra, &foreign);
            (form.recognition, form.state) = (&FOREIGN, LockState::UnknownHolder);
        }
        form.extra = Some(Box::new(extra));
        whole(form)
    }

    fn is_vacant(&self, stored: &Stored<'_>) -> bool {
        own(stored).is_some()
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        let mode = if order.mode == Mode::Exclusive { "exclusive" } else { "shared" };
        Script {
            code: RELEASE,
            keys: vec![order.key.to_vec()],
            arguments: vec![
                order.token.to_vec(),
                order.expires_not_after.map_or(-1, |at| at.0).to_string().into_bytes(),
                mode.into(),
                now_ms.to_string().into_bytes(),
            ],
        }
    }
}

/// The members of a sorted set that is Symfony's: its tokens with times for scores and nothing else, or a writer's mark
/// beside a token.
fn own<'a>(stored: &Stored<'a>) -> Option<&'a [(Bytes, f64)]> {
    let members = stored.zset()?;
    let is_own = |(member, end): &(Bytes, f64)| {
        (**member == *WRITE || is_base64_of_32_bytes(member)) && (1e12..1e13).contains(end)
    };
    let (first, rest) = members.split_first()?;
    let writer = || members.iter().any(|(member, _)| **member == *WRITE);
    let some = || members.iter().any(|one| is_base64_of_32_bytes(&one.0) && is_own(one));
    // Nearly every sorted set is somebody else's, and its first member says so.
    ((is_own(first) && rest.iter().all(is_own)) || (writer() && some())).then_some(members)
}

/// The library's own unlock, with end and mode compared as well. A writer's mark whose time is over marks nobody.
const RELEASE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'zset' then return {'changed'} end
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score then return {'changed'} end
local write = redis.call('ZSCORE', KEYS[1], '__write__')
local mode = write and tonumber(write) > tonumber(ARGV[4]) and 'exclusive' or 'shared'
if mode ~= ARGV[3] or tonumber(score) > tonumber(ARGV[2]) then return {'touched', redis.call('PTTL', KEYS[1])} end
redis.call('ZREM', KEYS[1], ARGV[1], '__write__')
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if last then redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', tonumber(last))) end
return {'released', -1}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;
    use lockkeeper_model::Flag;

    const NOW: i64 = 1_795_231_716_000;
    const A: &str = "01wAzfSkzFWGE2xVNBS1roevWjVN1jCuWE1CPPv9JU4=";
    const B: &str = "Xg7kIWcsByFVcDXrSl/4eGb9KHFVQ/NU8j9YnvluvQ4=";

    fn seen(members: &[(&str, f64)], configured: bool) -> Option<Form> {
        let root = Raw::zset("stock", members, Some(9));
        let stored = Stored { root: &root, beside: &[], configured, now_ms: NOW };
        Symfony.recognise(&stored).into_iter().next().map(|found| found.form)
    }

    fn end(ms: i64) -> f64 {
        (NOW + ms) as f64
    }

    #[test]
    fn a_writer_is_marked_and_readers_are_not() {
        let form = seen(&[(A, end(5_000)), ("__write__", end(5_000))], false).unwrap();
        assert_eq!((form.mode, form.recognition.certainty), (Mode::Exclusive, Certainty::Certain));
        assert_eq!((form.holds.len(), form.holds[0].ttl_ms), (1, Some(5_000)));
        let form = seen(&[(A, end(5_000)), (B, end(9_000))], false).unwrap();
        assert_eq!((form.mode, form.recognition.certainty), (Mode::Shared, Certainty::Likely));
        assert_eq!(form.holds.iter().map(|hold| hold.ttl_ms).collect::<Vec<_>>(), [Some(5_000), Some(9_000)]);
    }

    #[test]
    fn a_member_past_its_end_holds_nothing() {
        let form = seen(&[(A, end(-1)), (B, end(9_000))], false).unwrap();
        assert_eq!((form.holds.len(), form.extra.unwrap().flags.as_slice()), (1, &[Flag::DeadMember][..]));
        assert!(seen(&[(A, end(-1)), ("__write__", end(-1))], true).is_none());
        // A dead writer's mark does not shut readers out.
        assert_eq!(seen(&[("__write__", end(-1)), (B, end(9))], true).unwrap().mode, Mode::Shared);
    }

    #[test]
    fn other_sorted_sets_are_not_taken_for_it() {
        assert!(seen(&[(A, 12.0)], true).is_none());
        assert!(seen(&[(A, end(9)), ("alice", end(9))], true).is_none());
        assert!(seen(&[("__write__", end(9)), ("alice", end(9))], true).is_none());
        assert!(seen(&[("bob", 12.0), ("ada", 99.0)], true).is_none());
    }

    #[test]
    fn a_writer_among_readers_or_beside_strangers_is_not_explained() {
        for other in [B, "alice"] {
            let form = seen(&[(A, end(9)), (other, end(9)), ("__write__", end(9))], false).unwrap();
            assert_eq!((form.recognition.certainty, form.state), (Certainty::Ambiguous, LockState::UnknownHolder));
            let extra = form.extra.unwrap();
            assert_eq!((extra.flags.as_slice(), extra.entries.len()), (&[Flag::Unrecognised][..], 3));
        }
    }
}
