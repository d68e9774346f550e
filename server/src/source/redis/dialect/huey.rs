//! huey `lock_task`. With its default storage: a field `<app>.lock.<name>` of the hash `huey.results.<app>`, which holds the
//! results of tasks besides. With its expiring storage: a string `huey.r.<app>.<app>.lock.<name>`. Either says that the lock
//! is taken, not by whom.
//!
//! Source: coleifer/huey 3.5.4, `huey/api.py`, `huey/storage.py`; formats seen running.

use lockkeeper_model::{Certainty, LockId, LockState};

use super::{Dialect, Found, FoundLock, Kind, Script, Stored, compare_and_delete, most_ttl, whole};
use crate::source::{DialectTraits, Entry, Extra, Form, Recognition, ReleaseOrder};

pub(super) struct Huey;

const NAME: &str = "huey";
const PREFIX: &[u8] = b"huey.results.";
const LOCK: &[u8] = b".lock.";

/// The value of an expiring lock is a pickle of one character; results are longer and lie elsewhere.
const MAX_VALUE: usize = 64;

static TRAITS: DialectTraits = DialectTraits {
    stored_as: "hash field",
    told_because: "Nothing tells it: its task goes on as if it had the lock, and its own unlock succeeds whoever has the \
                   lock by then.",
    told: lockkeeper_model::Told::Never,
    release: "The field is deleted only if its value is still exactly this. Other locks and results in the hash stay. \
              Nobody waits: a task that finds the lock taken fails, and is tried again if it was told to.",
    unsafe_unlock: Some("huey deletes the field at the task's end without comparing, whoever has it by then"),
    no_hold: Some(DialectTraits::HOLD_IS_DELETED),
    token_is_one_use: false,
    waiters_because: "nobody waits for a lock of huey: a task that finds it taken fails at once",
    never_renews: Some("a lock of huey has no expiry that could be renewed"),
    ..DialectTraits::PLAIN
};

static SEEN: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a field with `.lock.` in its name in a hash `huey.results.…`, where huey keeps the locks of its tasks among \
              their results",
    traits: &TRAITS,
};

static STRING: Recognition = Recognition {
    dialect: NAME,
    certainty: Certainty::Certain,
    because: "a key under `huey.r.` with `.lock.`: a lock of huey's expiring storage",
    traits: &DialectTraits {
        told_because: "Nothing tells it: the task runs to its end and deletes the key then.",
        told: lockkeeper_model::Told::Never,
        unsafe_unlock: Some("huey deletes the key at the task's end without comparing, whoever has it by then"),
        never_renews: Some("huey does not renew"),
        token_is_one_use: false,
        waiters_because: "nobody waits for it: a task that finds it held fails or is tried again later",
        ..DialectTraits::PLAIN
    },
};

impl Dialect for Huey {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Hash, Kind::String]
    }

    fn root_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        // The id of a lock that was there: its hash tells whether it is there again.
        let field = key.strip_prefix(PREFIX).and_then(|rest| memchr::memchr(b'#', rest));
        let at = PREFIX.len() + field?;
        is_lock(&key[at + 1..]).then(|| key[..at].to_vec())
    }

    fn recognise(&self, stored: &Stored<'_>) -> Found {
        if let Some(value) = stored.string() {
            return match is_expiring_lock(stored.key()) && value.len() <= MAX_VALUE {
                true => {
                    whole(Form { state: LockState::UnknownHolder, ..Form::exclusive(&STRING, value, stored.ttl_ms()) })
                }
                false => Found::new(),
            };
        }
        let Some(fields) = stored.hash().filter(|_| is_results(stored.key())) else { return Found::new() };
        fields
            .iter()
            .filter(|(field, _)| is_lock(field))
            .map(|(field, value)| {
                let name = memchr::memmem::find(field, LOCK).map_or(&field[..], |at| &field[at + LOCK.len()..]);
                let extra = Extra {
                    name: Some(LockId::of_key(name).as_str()).filter(|name| !name.is_empty()).map(Into::into),
                    keys: vec![stored.root.key.clone()],
                    entries: vec![Entry {
                        key: Some(stored.root.key.clone()),
                        field: Some(field.clone()),
                        value: value.clone(),
                    }],
                    ..Extra::default()
                };
                let form = Form::exclusive(&SEEN, value, stored.ttl_ms());
                let form = Form { state: LockState::UnknownHolder, extra: Some(Box::new(extra)), ..form };
                FoundLock { part: Some(field.clone()), form }
            })
            .collect()
    }

    fn is_vacant(&self, stored: &Stored<'_>) -> bool {
        is_results(stored.key())
    }

    fn fields(&self, key: &[u8]) -> Option<&'static str> {
        is_results(key).then_some("*.lock.*")
    }

    fn release(&self, order: &ReleaseOrder, now_ms: i64) -> Script {
        let root = order.keys.first().unwrap_or(&order.key);
        if *root == order.key {
            return compare_and_delete(order, now_ms);
        }
        // The lock's id is the hash's key, one byte, and the field.
        let field = order.key.get(root.len() + 1..).unwrap_or_default();
        Script {
            code: RELEASE,
            keys: vec![root.to_vec()],
            arguments: vec![field.to_vec(), order.token.to_vec(), most_ttl(order, now_ms)],
        }
    }
}

fn is_results(key: &[u8]) -> bool {
    key.len() > PREFIX.len() && key.starts_with(PREFIX)
}

/// `huey.r.<app>.<app>.lock.<name>`; results of tasks lie under `huey.r.<app>.`, too.
fn is_expiring_lock(key: &[u8]) -> bool {
    key.strip_prefix(b"huey.r.")
        .and_then(|rest| Some(&rest[memchr::memmem::find(rest, LOCK)?..]))
        .is_some_and(|name| name.len() > LOCK.len())
}

fn is_lock(field: &[u8]) -> bool {
    memchr::memmem::find(field, LOCK).is_some()
}

/// Compares the field's value and the hash's expiry, then deletes the field.
const RELEASE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return {'gone'} end
if kind ~= 'hash' then return {'changed'} end
local value = redis.call('HGET', KEYS[1], ARGV[1])
if not value then return {'gone'} end
if value ~= ARGV[2] then return {'changed'} end
local ttl, most = redis.call('PTTL', KEYS[1]), tonumber(ARGV[3])
if (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most)) then return {'touched', ttl} end
redis.call('HDEL', KEYS[1], ARGV[1])
return {'released', -1}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::dialect::Raw;

    #[test]
    fn a_lock_of_the_expiring_storage_is_told_from_results() {
        let locks = |key: &str| {
            let root = Raw::string(key, b"\x80\x05\x95\x05\0\0\0\0\0\0\0\x8c\x011\x94.", None);
            Huey.recognise(&Stored { root: &root, beside: &[], configured: false, now_ms: 0 }).len()
        };
        assert_eq!((locks("huey.r.orders.orders.lock.nightly"), locks("huey.r.orders.b9f3a2f0-62c1")), (1, 0));
    }

    fn seen(key: &str, fields: &[(&str, &str)]) -> Vec<(String, Option<String>)> {
        let root = Raw::hash(key, fields, None);
        let stored = Stored { root: &root, beside: &[], configured: false, now_ms: 0 };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = Huey.recognise(&stored);
        assert!(found.iter().all(|lock| lock.form.state == LockState::UnknownHolder));
        found
            .into_iter()
            .map(|lock| (text(&lock.part.unwrap()), lock.form.extra.unwrap().name.map(|name| name.to_string())))
            .collect()
    }

    #[test]
    fn each_field_that_names_a_lock_is_one_and_results_are_none() {
        let locks = seen(
            "huey.results.shop",
            &[("shop.lock.report", "1"), ("b9f3a2f0-62c1-4f6f-8c3b-2d1e5b7a9c11", "x"), ("shop.lock.import", "1")],
        );
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(
            locks,
            [("shop.lock.report".to_owned(), name("report")), ("shop.lock.import".to_owned(), name("import"))]
        );
        assert!(seen("huey.results.shop", &[("b9f3", "x")]).is_empty());
        assert!(seen("other.results", &[("shop.lock.report", "1")]).is_empty());
    }

    #[test]
    fn a_locks_id_leads_back_to_its_hash() {
        assert_eq!(Huey.root_of(b"huey.results.shop#shop.lock.a").as_deref(), Some(&b"huey.results.shop"[..]));
        assert_eq!(Huey.root_of(b"huey.results.shop"), None);
        assert_eq!(Huey.root_of(b"huey.results.shop#x"), None);
    }
}
