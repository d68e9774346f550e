//! rueidislock: three strings `rueidislock:<0..2>:<name>` with one random token; two of them make the lock.
//!
//! All three lie in one Redis. They are read together under the name of the first, which may itself be missing. Those who
//! wait are told by Redis, through client tracking, when one of the keys changes: a deletion is all the signal they need.
//!
//! Source: redis/rueidis, `rueidislock/lock.go`, read.

use bytes::Bytes;
use lockkeeper_model::{Certainty, Flag, LockState, Mode};
use smallvec::SmallVec;

use super::{Dialect, Found, Kind, Raw, Script, Stored, Value, most_ttl, none, whole};
use crate::source::{DialectTraits, Entry, Form, Hold, Recognition, ReleaseOrder};

pub(super) struct Rueidislock;

const NAME: &str = "rueidislock";
const FIRST: &[u8] = b"rueidislock:0:";

/// How many keys make the lock. It is the library's default, which one setting changes in all clients together.
const MAJORITY: usize = 2;

/// Raw random bytes.
const TOKEN_BYTES: usize = 24;

static TRAITS: DialectTraits = DialectTraits {
    strip_prefix: "rueidislock:0:",
    told_because: "Redis tells it: the holder's client tracks its keys, looks as soon as one changes, and cancels the \
                   work's context when its renewal fails.",
    release: "Those of its three keys that have exactly this token, and whose expiry was not pushed out since, are \
              deleted in one step. Redis tells those who wait.",
    no_hold: Some(
        "it is a majority of three keys, which its clients write one by one: an operator's token could not be put into all \
         of them and kept there against a client that tries",
    ),
    waiters_because: "those who wait track its keys; Redis does not say which keys a client tracks",
    ..DialectTraits::PLAIN
};

static THREE_KEYS: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "24 raw bytes in the three numbered keys under `rueidislock:`, at least two of which agree",
    traits: &TRAITS,
};

static TOO_FEW: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "24 raw bytes in a numbered key under `rueidislock:`, and no two of the three keys agree on a holder",
    traits: &TRAITS,
};

/// The keys that have one token.
struct Share<'a> {
    token: &'a [u8],
    ttls: SmallVec<[Option<i64>; 3]>,
}

impl Share<'_> {
    /// Until when enough of its keys stand: as long as the second of them, or the only one.
    fn ttl_ms(&self) -> Option<i64> {
        let mut ttls = self.ttls.clone();
        ttls.sort_unstable_by_key(|ttl| std::cmp::Reverse(ttl.unwrap_or(i64::MAX)));
        ttls.get(MAJORITY - 1).or_else(|| ttls.last()).copied().flatten()
    }
}

impl Dialect for Rueidislock {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::String, Kind::Missing]
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        let rest = key.strip_prefix(b"rueidislock:")?;
        let name = rest.strip_prefix(b"1:").or_else(|| rest.strip_prefix(b"2:"))?;
        Some([FIRST, name].concat())
    }

    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        if root.key.starts_with(FIRST) { others(&root.key).to_vec() } else { Vec::new() }
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        if !stored.key().starts_with(FIRST) {
            return none();
        }
        let others = others(stored.key());
        let raws = [Some(stored.root), stored.beside(&others[0]), stored.beside(&others[1])];
        let mut shares: SmallVec<[Share<'_>; 3]> = SmallVec::new();
        let mut keys: Vec<Bytes> = Vec::new();
        let mut entries = Vec::new();
        for raw in raws.into_iter().flatten() {
            let Value::String(token) = &raw.value else { continue };
            if token.len() != TOKEN_BYTES {
                continue;
            }
            let key = (raw.key != stored.root.key).then(|| raw.key.clone());
            entries.push(Entry { key, field: None, value: token.clone() });
            keys.push(raw.key.clone());
            match shares.iter_mut().find(|share| share.token == &token[..]) {
                Some(share) => share.ttls.push(raw.ttl_ms),
                None => shares.push(Share { token, ttls: smallvec::smallvec![raw.ttl_ms] }),
            }
        }
        // The share that is the lock, if one is.
        shares.sort_by_key(|share| std::cmp::Reverse(share.ttls.len()));
        let Some(largest) = shares.first() else { return none() };
        let held = largest.ttls.len() >= MAJORITY;
        let holders = if held { 1 } else { shares.len() };
        let mut form = Form {
            recognition: if held { &THREE_KEYS } else { &TOO_FEW },
            mode: Mode::Exclusive,
            state: if held { LockState::Held } else { LockState::NoQuorum },
            holds: shares[..holders].iter().map(|share| Hold::new(share.token, share.ttl_ms())).collect(),
            extra: None,
        };
        let there = keys.len();
        let extra = form.extra_mut();
        extra.keys = keys;
        extra.entries = entries;
        if !held {
            extra.flags.push(Flag::HalfLock);
            extra.notes.push(format!(
                "{there} of its three keys {}, and two with one token make the lock: nobody holds it, and what stands is \
                 in the way until it ends",
                if there == 1 { "stands" } else { "stand, each with a token of its own" },
            ));
        } else if shares.len() > 1 {
            extra.notes.push("one of its three keys has another token: somebody tries to take the lock".to_owned());
        }
        whole(form)
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        let [second, third] = others(&order.key);
        Script {
            code: RELEASE,
            keys: vec![order.key.to_vec(), second, third],
            arguments: vec![order.token.to_vec(), most_ttl(order, now_ms)],
        }
    }
}

/// The second and the third key of a lock, from its first.
fn others(first: &[u8]) -> [Vec<u8>; 2] {
    let name = first.strip_prefix(FIRST).unwrap_or(first);
    [[b"rueidislock:1:", name].concat(), [b"rueidislock:2:", name].concat()]
}

/// Deletes the keys that have the token. The life that counts is that of the second of them, as when it was read.
const RELEASE: &str = r"
local missing, most, ours, left = 0, tonumber(ARGV[2]), {}, {}
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then missing = missing + 1
  elseif kind == 'string' and redis.call('STRLEN', key) == #ARGV[1] and redis.call('GET', key) == ARGV[1] then
    local ttl = redis.call('PTTL', key)
    ours[#ours + 1] = key
    left[#left + 1] = ttl == -1 and math.huge or ttl
  end
end
if missing == #KEYS then return {'gone'} end
if #ours == 0 then return {'changed'} end
table.sort(left, function(a, b) return a > b end)
local ttl = left[math.min(2, #left)]
if (most == -1 and ttl ~= math.huge) or (most ~= -1 and ttl > most) then return {'touched', -1} end
for _, key in ipairs(ours) do redis.call('DEL', key) end
return {'released', -1}
";

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8] = &[0xaa; TOKEN_BYTES];
    const B: &[u8] = &[0xbb; TOKEN_BYTES];

    fn seen(values: [Option<(&[u8], i64)>; 3]) -> Option<Form> {
        let raw = |i: usize| match values[i] {
            Some((value, ttl)) => Raw::string(&format!("rueidislock:{i}:stock"), value, Some(ttl)),
            None => Raw { key: Bytes::from(format!("rueidislock:{i}:stock")), value: Value::Missing, ttl_ms: None },
        };
        let (root, beside) = (raw(0), [raw(1), raw(2)]);
        let stored = Stored { root: &root, beside: &beside, configured: false, now_ms: 0 };
        Rueidislock.recognise(&stored).into_iter().next().map(|found| found.form)
    }

    fn holders(form: &Form) -> Vec<(&[u8], Option<i64>)> {
        form.holds.iter().map(|hold| (&*hold.token, hold.ttl_ms)).collect()
    }

    #[test]
    fn two_of_three_keys_make_the_lock_whichever_they_are() {
        let whole = seen([Some((A, 10)), Some((A, 12)), Some((A, 11))]).unwrap();
        assert_eq!((whole.state, holders(&whole)), (LockState::Held, vec![(A, Some(11))]));
        assert_eq!(whole.extra.as_ref().unwrap().keys.len(), 3);
        let without_first = seen([None, Some((A, 12)), Some((A, 11))]).unwrap();
        assert_eq!((without_first.state, holders(&without_first)), (LockState::Held, vec![(A, Some(11))]));
        let contested = seen([Some((B, 10)), Some((A, 12)), Some((A, 11))]).unwrap();
        assert_eq!(holders(&contested), [(A, Some(11))]);
        assert!(contested.extra.unwrap().flags.is_empty());
    }

    #[test]
    fn fewer_are_in_the_way_and_held_by_nobody() {
        for (values, expected) in [
            ([Some((A, 10)), None, None], vec![(A, Some(10))]),
            ([None, None, Some((B, 10))], vec![(B, Some(10))]),
            ([Some((A, 10)), Some((B, 11)), None], vec![(A, Some(10)), (B, Some(11))]),
        ] {
            let form = seen(values).unwrap();
            assert_eq!((form.state, holders(&form)), (LockState::NoQuorum, expected));
            assert_eq!(form.extra.unwrap().flags[..], [Flag::HalfLock]);
        }
    }

    #[test]
    fn what_is_no_token_is_no_lock() {
        assert!(seen([Some((b"hello", 10)), None, None]).is_none());
        assert!(seen([None, None, None]).is_none());
        assert_eq!(Rueidislock.root_of(b"rueidislock:2:a:b").unwrap(), b"rueidislock:0:a:b");
        assert_eq!(Rueidislock.root_of(b"rueidislock:0:a"), None);
        assert_eq!(Rueidislock.root_of(b"rueidislock:3:a"), None);
    }
}
