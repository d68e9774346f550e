//! Symfony Semaphore: `{<resource>}:time`, a sorted set of holders scored with the end of each in seconds, and
//! `{<resource>}:weight` with the permits of each. The limit is not stored.
//!
//! Source: symfony/semaphore 5.4 to 7, `Store/RedisStore.php`; formats seen running.

use bytes::Bytes;
use lockkeeper_model::{Certainty, LockState, Mode};

use super::members::{entries, left_until, note_dead, note_foreign};
use super::shape::is_base64_of_32_bytes;
use super::{Dialect, Found, Kind, Raw, Script, Stored, Value, none, whole};
use crate::source::{DialectTraits, Extra, Form, Hold, Recognition, ReleaseOrder};

pub(super) struct SymfonySemaphore;

const NAME: &str = "symfony-semaphore";
const TIME: &[u8] = b"}:time";
const WEIGHT: &[u8] = b"}:weight";

static TRAITS: DialectTraits = DialectTraits {
    stored_as: "zset",
    told_because: "The store does not tell it. Its next `refresh()` raises an error; until then it goes on as if it had \
                   its permits.",
    release: "This member is removed from both sorted sets only if it ends no later than was shown and has the same \
              weight. Other holders keep theirs. Those who wait poll and need no waking.",
    token_is_one_use: false,
    never_renews: Some("Symfony Semaphore does not renew by itself: the program calls `refresh()` or does not"),
    ..DialectTraits::PLAIN
};

static SEEN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a pair of sorted sets `{…}:time` and `{…}:weight` whose members are 44 base64 characters, scored with times \
              in seconds and with weights: a Symfony semaphore",
    traits: &TRAITS,
};

static FOREIGN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Ambiguous,
    because: "a pair of sorted sets `{…}:time` and `{…}:weight` as of a Symfony semaphore, whose members do not match",
    traits: &TRAITS,
};

impl Dialect for SymfonySemaphore {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::ZSet]
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        resource(key, WEIGHT).map(|resource| [resource, TIME].concat())
    }

    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        weights_of(&root.key).into_iter().collect()
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some((members, weights)) = own(stored) else { return none() };
        let (mut holds, mut dead, mut foreign) = (smallvec::SmallVec::new(), Vec::<&[u8]>::new(), Vec::<&[u8]>::new());
        for (member, end) in members {
            let weight = weights.iter().find(|(other, _)| other == member).map(|(_, weight)| *weight);
            match (left_until(end * 1_000.0, stored.now_ms), weight) {
                (None, _) => dead.push(member),
                (left, Some(weight)) if weight >= 1.0 && is_base64_of_32_bytes(member) => {
                    holds.push(Hold { count: weight as u32, ..Hold::new(member, left) });
                }
                _ => foreign.push(member),
            }
        }
        if holds.is_empty() && foreign.is_empty() {
            return none();
        }
        let weight = stored.beside.iter().find(|raw| raw.key.ends_with(WEIGHT));
        let mut extra = Extra {
            name: resource(stored.key(), TIME).and_then(|name| std::str::from_utf8(&name[1..]).ok()).map(Into::into),
            keys: [Some(stored.root), weight].into_iter().flatten().map(|raw| raw.key.clone()).collect(),
            entries: [Some(stored.root), weight]
                .into_iter()
                .flatten()
                .flat_map(|raw| entries(raw, stored.key()))
                .collect(),
            ..Extra::default()
        };
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

    fn release(&self, order: &ReleaseOrder, _now_ms: i64) -> Script {
        Script {
            code: RELEASE,
            keys: std::iter::once(order.key.to_vec()).chain(weights_of(&order.key)).collect(),
            arguments: vec![
                order.token.to_vec(),
                order.expires_not_after.map_or(-1, |at| at.0).to_string().into_bytes(),
                order.count.to_string().into_bytes(),
            ],
        }
    }
}

/// Members with their scores.
type Members<'a> = &'a [(Bytes, f64)];

/// The times and weights of a pair that is Symfony's: some member is its token and ends at a time in seconds.
fn own<'a>(stored: &Stored<'a>) -> Option<(Members<'a>, Members<'a>)> {
    let weight_key = weights_of(stored.key())?;
    let members = stored.zset()?;
    let is_own = |(member, end): &(Bytes, f64)| is_base64_of_32_bytes(member) && (1e9..1e10).contains(end);
    match &stored.beside(&weight_key)?.value {
        Value::ZSet(weights) if members.iter().any(is_own) => Some((members, weights)),
        _ => None,
    }
}

/// `{<resource>` of a key with that ending.
fn resource<'a>(key: &'a [u8], ending: &[u8]) -> Option<&'a [u8]> {
    key.strip_suffix(ending).filter(|resource| resource.len() > 1 && resource.starts_with(b"{"))
}

/// `{<resource>}:time` → `{<resource>}:weight`.
fn weights_of(root: &[u8]) -> Option<Vec<u8>> {
    resource(root, TIME).map(|resource| [resource, WEIGHT].concat())
}

/// The library's own release, with end and weight compared.
const RELEASE: &str = r"
local kind, other = redis.call('TYPE', KEYS[1]).ok, redis.call('TYPE', KEYS[2]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'zset' or (other ~= 'zset' and other ~= 'none') then return {'changed'} end
local ends, weight = redis.call('ZSCORE', KEYS[1], ARGV[1]), redis.call('ZSCORE', KEYS[2], ARGV[1])
if not ends then return {'changed'} end
if tonumber(ends) * 1000 > tonumber(ARGV[2]) or not weight or tonumber(weight) ~= tonumber(ARGV[3]) then
  return {'touched', redis.call('PTTL', KEYS[1])}
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return {'released', -1}
";

#[cfg(test)]
mod tests {
    use super::*;
    use lockkeeper_model::Flag;

    const NOW: i64 = 1_795_231_716_000;
    const A: &str = "01wAzfSkzFWGE2xVNBS1roevWjVN1jCuWE1CPPv9JU4=";
    const B: &str = "Xg7kIWcsByFVcDXrSl/4eGb9KHFVQ/NU8j9YnvluvQ4=";

    fn seen(times: &[(&str, f64)], weights: Option<&[(&str, f64)]>) -> Option<Form> {
        let root = Raw::zset("{pool}:time", times, Some(9));
        let beside: Vec<Raw> =
            weights.map(|weights| Raw::zset("{pool}:weight", weights, Some(9))).into_iter().collect();
        let stored = Stored { root: &root, beside: &beside, configured: true, now_ms: NOW };
        SymfonySemaphore.recognise(&stored).into_iter().next().map(|found| found.form)
    }

    fn end(s: i64) -> f64 {
        (NOW / 1_000 + s) as f64
    }

    #[test]
    fn the_weight_is_the_holders_count_and_both_keys_hold_it() {
        let form = seen(&[(A, end(5)), (B, end(9))], Some(&[(B, 1.0), (A, 2.0)])).unwrap();
        assert_eq!(
            form.holds.iter().map(|hold| (hold.count, hold.ttl_ms)).collect::<Vec<_>>(),
            [(2, Some(5_000)), (1, Some(9_000))]
        );
        let extra = form.extra.unwrap();
        assert_eq!(
            (extra.keys, extra.name.as_deref()),
            (vec!["{pool}:time".into(), "{pool}:weight".into()], Some("pool"))
        );
        assert_eq!(extra.entries.len(), 4);
    }

    #[test]
    fn dead_members_and_halves_are_no_holders() {
        let form = seen(&[(A, end(-1)), (B, end(9))], Some(&[(B, 1.0), (A, 2.0)])).unwrap();
        assert_eq!((form.holds.len(), form.extra.unwrap().flags.as_slice()), (1, &[Flag::DeadMember][..]));
        assert!(seen(&[(A, end(-1))], Some(&[(A, 1.0)])).is_none());
        assert!(seen(&[(A, end(9))], None).is_none());
        assert!(seen(&[("alice", end(9))], Some(&[("alice", 1.0)])).is_none());
        let form = seen(&[(A, end(9)), (B, end(9))], Some(&[(A, 1.0)])).unwrap();
        assert_eq!((form.holds.len(), form.recognition.certainty), (1, Certainty::Ambiguous));
    }

    #[test]
    fn the_weights_lead_to_the_times() {
        assert_eq!(SymfonySemaphore.root_of(b"{pool}:weight").as_deref(), Some(&b"{pool}:time"[..]));
        assert_eq!(SymfonySemaphore.root_of(b"pool:weight"), None);
    }
}
