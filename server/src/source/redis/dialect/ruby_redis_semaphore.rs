//! redis-semaphore (Ruby): `SEMAPHORE:<name>:GRABBED`, a hash of the resources that are taken and when, and
//! `SEMAPHORE:<name>:AVAILABLE`, a list of those that are free, on which waiters block. Who took a resource is not stored.
//!
//! Source: dv/redis-semaphore, `lib/redis/semaphore.rb`; read, not run.

use lockkeeper_model::{Certainty, LockState, Mode, Time};

use super::members::entries;
use super::{Dialect, Found, Kind, Raw, Script, Stored, Value, most_ttl, none, whole};
use crate::source::{DialectTraits, Extra, Form, Hold, HoldExtra, Recognition, ReleaseOrder};

pub(super) struct RubyRedisSemaphore;

const NAME: &str = "ruby-redis-semaphore";
const PREFIX: &[u8] = b"SEMAPHORE:";
const GRABBED: &[u8] = b":GRABBED";
const AVAILABLE: &[u8] = b":AVAILABLE";

/// Written once when the semaphore is made, and kept.
const EXISTS: &[u8] = b":EXISTS";
const VERSION: &[u8] = b":VERSION";

static TRAITS: DialectTraits = DialectTraits {
    stored_as: "hash",
    told_because: "Nothing tells it: it goes on as if it had its resource, and its own unlock puts the resource back a \
                   second time.",
    told: lockkeeper_model::Told::Never,
    release: "The resource is taken out of the hash only if it was taken at exactly the time that was shown, and is put \
              on the list of free ones, which wakes one waiter, as the library does.",
    unsafe_unlock: Some(
        "the library puts a resource back without looking whose it is: after a release, the former holder's own unlock \
         puts it back once more, and one more may enter than should",
    ),
    token_is_one_use: false,
    waiters_because: "those who wait block on the list of free resources; Redis does not say on which list a client \
                      blocks",
    never_renews: Some("a resource of this semaphore is kept until it is put back"),
    ..DialectTraits::PLAIN
};

static SEEN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a hash `SEMAPHORE:…:GRABBED` of resources with the times at which they were taken, as redis-semaphore for \
              Ruby writes it",
    traits: &TRAITS,
};

impl Dialect for RubyRedisSemaphore {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Hash]
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        [AVAILABLE, EXISTS, VERSION].iter().find_map(|&ending| name(key, ending)).map(|name| of(name, GRABBED))
    }

    fn beside(&self, root: &Raw) -> Vec<Vec<u8>> {
        let Some(name) = name(&root.key, GRABBED) else { return Vec::new() };
        [AVAILABLE, EXISTS, VERSION].map(|ending| of(name, ending)).into()
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        let Some((name, fields)) = name(stored.key(), GRABBED).zip(stored.hash()) else { return none() };
        if !fields.iter().all(|(_, at)| seconds(at).is_some()) {
            return none();
        }
        let shares_lease = fields.len() > 1;
        let holds = fields
            .iter()
            .map(|(resource, at)| {
                let extra = HoldExtra {
                    taken_at: seconds(at).map(|s| Time((s * 1_000.0) as i64)),
                    stamp: Some(at.clone()),
                    shares_lease,
                    ..HoldExtra::default()
                };
                Hold { extra: Some(Box::new(extra)), ..Hold::new(resource, stored.ttl_ms()) }
            })
            .collect();
        let available = stored.beside(&of(name, AVAILABLE));
        let free = match available.map(|raw| &raw.value) {
            Some(Value::List { total, .. }) => *total,
            _ => 0,
        };
        let there = |ending| stored.beside(&of(name, ending)).map(|raw| raw.key.clone());
        let taken = u32::try_from(fields.len()).unwrap_or(u32::MAX);
        let extra = Extra {
            name: std::str::from_utf8(name).ok().map(Into::into),
            keys: std::iter::once(stored.root.key.clone()).chain(available.map(|raw| raw.key.clone())).collect(),
            companions: [EXISTS, VERSION].into_iter().filter_map(there).collect(),
            permits: Some(taken.saturating_add(free)),
            entries: std::iter::once(stored.root).chain(available).flat_map(|raw| entries(raw, stored.key())).collect(),
            ..Extra::default()
        };
        let state = LockState::UnknownHolder;
        whole(Form { recognition: &SEEN, mode: Mode::Semaphore, state, holds, extra: Some(Box::new(extra)) })
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        let name = name(&order.key, GRABBED).unwrap_or_default();
        Script {
            code: RELEASE,
            keys: vec![order.key.to_vec(), of(name, AVAILABLE), of(name, EXISTS)],
            arguments: vec![
                order.token.to_vec(),
                most_ttl(order, now_ms),
                order.stamp.as_ref().map(|stamp| stamp.to_vec()).unwrap_or_default(),
            ],
        }
    }
}

/// The semaphore's name in a key with that ending.
fn name<'a>(key: &'a [u8], ending: &[u8]) -> Option<&'a [u8]> {
    key.strip_prefix(PREFIX)?.strip_suffix(ending).filter(|name| !name.is_empty())
}

fn of(name: &[u8], ending: &[u8]) -> Vec<u8> {
    [PREFIX, name, ending].concat()
}

/// A time in seconds of the epoch.
fn seconds(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|at| (1e9..1e10).contains(at))
}

/// The library's own `signal`, with the time of taking compared. Where the semaphore has an expiry, the list gets the same,
/// as the library sets it.
const RELEASE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'hash' then return {'changed'} end
local at = redis.call('HGET', KEYS[1], ARGV[1])
if at ~= ARGV[3] then return {'changed'} end
local ttl, most = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
if (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most)) then return {'touched', ttl} end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('LPUSH', KEYS[2], ARGV[1])
local left = redis.call('PTTL', KEYS[3])
if left > 0 then redis.call('PEXPIRE', KEYS[2], left) end
return {'released', -1}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_what_is_vacant_make_the_permits() {
        let root = Raw::hash("SEMAPHORE:api:GRABBED", &[("0", "1795231733.85337"), ("1", "1795231733.85345")], None);
        let beside =
            [Raw::list("SEMAPHORE:api:AVAILABLE", &["2"], None), Raw::string("SEMAPHORE:api:EXISTS", b"1", None)];
        let stored = Stored { root: &root, beside: &beside, configured: false, now_ms: 0 };
        let form = RubyRedisSemaphore.recognise(&stored).remove(0).form;
        assert_eq!((form.holds.len(), form.state), (2, LockState::UnknownHolder));
        let hold = form.holds[0].extra.as_ref().unwrap();
        assert_eq!(hold.taken_at, Some(Time(1_795_231_733_853)));
        let extra = form.extra.unwrap();
        assert_eq!((extra.permits, extra.keys.len(), extra.companions.len()), (Some(3), 2, 1));
        assert_eq!((extra.name.as_deref(), extra.entries.len()), (Some("api"), 3));
    }

    #[test]
    fn every_key_of_it_leads_to_what_is_taken() {
        for ending in ["AVAILABLE", "EXISTS", "VERSION"] {
            let root = RubyRedisSemaphore.root_of(format!("SEMAPHORE:a:b:{ending}").as_bytes());
            assert_eq!(root.as_deref(), Some(&b"SEMAPHORE:a:b:GRABBED"[..]));
        }
        assert_eq!(RubyRedisSemaphore.root_of(b"SEMAPHORE:a:b"), None);
    }

    #[test]
    fn a_hash_of_something_else_is_none() {
        let root = Raw::hash("SEMAPHORE:api:GRABBED", &[("0", "yes")], None);
        let stored = Stored { root: &root, beside: &[], configured: true, now_ms: 0 };
        assert!(RubyRedisSemaphore.recognise(&stored).is_empty());
    }
}
