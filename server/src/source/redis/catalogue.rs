//! The recognisers by themselves, without a store: for measuring how fast they are, and for feeding them anything.

use bytes::Bytes;

use super::dialect::{self, Raw, Stored, Value};

/// One key as it could be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredKey {
    /// Its name.
    pub name: Vec<u8>,
    /// What is in it.
    pub content: Content,
    /// What is left of its life, in milliseconds; `None` without expiry.
    pub ttl_ms: Option<i64>,
}

/// What is in a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Nothing: there is no such key.
    Missing,
    /// A string.
    String(Vec<u8>),
    /// Fields and values.
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
    /// Elements in order.
    List(Vec<Vec<u8>>),
    /// Members.
    Set(Vec<Vec<u8>>),
    /// Members with their scores.
    ZSet(Vec<(Vec<u8>, f64)>),
}

/// A key with what stands beside it, ready to be recognised again and again.
#[derive(Clone, Debug)]
pub struct Sample {
    root: Raw,
    beside: Vec<Raw>,
}

impl Sample {
    /// Every lock's root among these keys, each with those of them that its families want to see beside it.
    #[must_use]
    pub fn of_store(keys: &[StoredKey]) -> Vec<Sample> {
        let raws: Vec<Raw> = keys.iter().map(raw).collect();
        let find = |name: &[u8]| raws.iter().find(|raw| *raw.key == *name).cloned();
        let missing = |name: Vec<u8>| Raw { key: name.into(), value: Value::Missing, ttl_ms: None };
        let mut roots: Vec<Vec<u8>> =
            raws.iter().map(|raw| dialect::root_of(&raw.key).unwrap_or_else(|| raw.key.to_vec())).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
            .into_iter()
            .map(|name| {
                let root = find(&name).unwrap_or_else(|| missing(name));
                let beside = dialect::beside(&root).iter().filter_map(|name| find(name)).collect();
                Sample { root, beside }
            })
            .collect()
    }

    /// How many locks are recognised. `configured`: an operator's pattern names the key.
    #[must_use]
    pub fn recognise(&self, configured: bool, now_ms: i64) -> usize {
        let stored = Stored { root: &self.root, beside: &self.beside, configured, now_ms };
        dialect::recognise(&stored).len()
    }
}

fn raw(key: &StoredKey) -> Raw {
    let bytes = |text: &Vec<u8>| Bytes::copy_from_slice(text);
    let value = match &key.content {
        Content::Missing => Value::Missing,
        Content::String(value) => Value::String(bytes(value)),
        Content::Hash(fields) => Value::Hash(fields.iter().map(|(f, v)| (bytes(f), bytes(v))).collect()),
        Content::List(items) => Value::List {
            items: items.iter().map(bytes).collect(),
            total: u32::try_from(items.len()).unwrap_or(u32::MAX),
        },
        Content::Set(members) => Value::Set(members.iter().map(bytes).collect()),
        Content::ZSet(members) => Value::ZSet(members.iter().map(|(m, score)| (bytes(m), *score)).collect()),
    };
    Raw { key: bytes(&key.name), value, ttl_ms: key.ttl_ms }
}
