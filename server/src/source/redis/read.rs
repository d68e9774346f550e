//! Reading keys of any type, with bounds: what could be a lock is read whole, what could not is never loaded.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface};
use fred::types::{ClusterHash, CustomCommand, Key, Value as Reply};
use lockkeeper_model::words;

use super::dialect::{Raw, Value};
use super::elsewhere::{Here, without};
use super::guess::Guess;
use super::pace::{Pacer, Purpose};
use super::packed::Packed;
use super::status::Status;
use super::topology::slot_of;
use super::trouble::{Trouble, is_elsewhere, is_of_connection, refused_command};

/// The longest value of a string that can be a token, in bytes. Known libraries write at most some hundred; a longer
/// value is said to be no lock without being loaded.
const MAX_TOKEN_BYTES: usize = 1_024;

/// The most fields, members or elements of a key that is read. A lock with more holders or waiters than this is shown
/// with the first of them.
pub(crate) const MAX_ITEMS: i64 = 256;

/// The most memory of a hash, set, list or sorted set that is read, in bytes, as `MEMORY USAGE` counts it:
/// [`MAX_ITEMS`] of the longest known fields and values with room to spare.
const MAX_BYTES: i64 = 128 * 1024;

/// Up to this many bytes, as `MEMORY USAGE` counts them, a hash, set or sorted set that is no list of small things is
/// known to have no more than [`MAX_ITEMS`] entries, each of which takes more than fifty; and a list of small things of
/// this length is quickly read whatever their number.
const SMALL_BYTES: i64 = 8 * 1024;

/// Commands that a key takes beyond two if it is no string: its type, its size, its memory, and all that is in it; and
/// two for a wrong guess.
const MORE_AT_MOST: u64 = 6;

/// What most of those that are no strings take beyond two where they are read one by one.
const MORE_FOR_OTHERS: u64 = 4;

/// Fields of a large hash that are looked through for those that are locks: a few milliseconds of the store's time.
const MAX_SEARCHED_FIELDS: i64 = 4_096;

/// Reads value and remaining life of many keys in one step of the store, at a fraction of the work that a command for
/// each takes on this side. Nothing else comes between the two readings of a key. The answer is packed, because taking
/// a reply of a thousand parts apart is most of that work. A key whose type is guessed and that is small is read without
/// being asked what it is.
///
/// A cluster refuses a script whose `KEYS` are in several slots, and lets it read them all the same if it is not told of
/// them beforehand and they are on the node that runs it (tests/unit/cluster/scripting.tcl of Redis: "Cross slot commands
/// are allowed by default for eval scripts"). So there they follow in `ARGV`, and one that is refused, because it is
/// elsewhere or may not be read, comes as false with the life [`REFUSED`].
const READ: &str = include_str!("read.lua");

/// What [`READ`] says instead of a remaining life; `PTTL` says nothing below -2.
const REFUSED: i64 = -3;

/// Reads keys of one store.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) pacer: Arc<Pacer>,
    pub(crate) status: Arc<Status>,
    /// Whether the credential may run scripts, as far as known.
    pub(crate) may_script: Arc<AtomicBool>,
    pub(crate) guess: Arc<Guess>,
    /// Set for a node of a cluster, where a key can be on another node.
    pub(crate) here: Option<Arc<Here>>,
}

impl Keys {
    /// What is stored under each key; keys that may not be read are missing. An error means that the connection is lost
    /// and nothing is known.
    pub(crate) async fn read(&self, client: &Client, keys: &[Bytes], purpose: Purpose) -> Result<Vec<Raw>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let commands = keys.len() as u64 * 2;
        self.pacer.take(commands, purpose).await;
        // What is no string takes more commands, and the store counts them all: taken for somebody else's, they would make
        // it look busy.
        let more = keys.len() as u64 * MORE_AT_MOST;
        let running = self.pacer.may_run(commands, more);
        let read = self.read_all(client, keys).await;
        running.ran(read.as_ref().map_or(0, |(_, calls)| *calls));
        let (raws, _) = read?;
        self.guess.learn(&raws);
        Ok(in_order_of(keys, raws))
    }

    /// What was read, and how many commands that took.
    async fn read_all(&self, client: &Client, keys: &[Bytes]) -> Result<(Vec<Raw>, u64), Error> {
        let (mut raws, mut calls) = self.by_script(client, keys).await?.unwrap_or_default();
        if raws.len() == keys.len() {
            return Ok((raws, calls));
        }
        // Commands by themselves say whether it is another node or a permission.
        let refused = without(keys.to_vec(), &raws);
        let single = self.one_by_one(client, &refused).await?;
        let others = single.iter().filter(|raw| !matches!(raw.value, Value::String(_) | Value::Missing)).count();
        calls += refused.len() as u64 * 2 + others as u64 * MORE_FOR_OTHERS;
        raws.extend(single);
        if let Some(here) = &self.here
            && raws.len() < keys.len()
        {
            let missing = without(keys.to_vec(), &raws);
            raws.extend(here.follow(self, client, missing).await?);
        }
        Ok((raws, calls))
    }

    /// How many keys could so far not be read anywhere, and wait again.
    pub(crate) fn unread(&self) -> u64 {
        self.here.as_ref().map_or(0, |here| here.unread())
    }

    /// Whether two keys can belong to one lock: a cluster lets no script see keys of two slots at once.
    pub(crate) fn can_belong_together(&self, one: &[u8], other: &[u8]) -> bool {
        self.here.is_none() || slot_of(one) == slot_of(other)
    }

    /// Fields of a hash whose names match a pattern, and their values; `None` where it is too large to be looked
    /// through.
    pub(crate) async fn fields(
        &self,
        client: &Client,
        key: &Bytes,
        pattern: &str,
        purpose: Purpose,
    ) -> Result<Option<Vec<(Bytes, Bytes)>>, Error> {
        let ask = |name: &'static str, arguments: Vec<Reply>| {
            let command = CustomCommand::new_static(name, ClusterHash::FirstKey, false);
            client.custom::<Reply, _>(command, arguments)
        };
        self.pacer.take(1, purpose).await;
        let size = ask("HLEN", vec![key.clone().into()]).await;
        self.pacer.answered(1);
        match size {
            Ok(size) if size.as_i64().is_some_and(|size| size <= MAX_SEARCHED_FIELDS) => {}
            Ok(_) => return Ok(None),
            Err(error) => {
                self.failed(&error)?;
                return Ok(None);
            }
        }
        let (mut cursor, mut found) = (Bytes::from_static(b"0"), Vec::new());
        // A hash that grows meanwhile is given up, not followed.
        for _ in 0..MAX_SEARCHED_FIELDS {
            self.pacer.take(1, purpose).await;
            let arguments: Vec<Reply> =
                vec![key.clone().into(), cursor.into(), "MATCH".into(), pattern.into(), "COUNT".into(), 500.into()];
            let reply = ask("HSCAN", arguments).await;
            self.pacer.answered(1);
            let mut parts = match reply {
                Ok(Reply::Array(parts)) if parts.len() == 2 => parts,
                Ok(_) => return Ok(None),
                Err(error) => {
                    self.failed(&error)?;
                    return Ok(None);
                }
            };
            found.extend(parts.pop().map(pairs).unwrap_or_default());
            let Some(next) = parts.pop().and_then(Reply::into_bytes) else { return Ok(None) };
            if found.len() as i64 > MAX_ITEMS {
                return Ok(None);
            }
            if next.as_ref() == b"0" {
                return Ok(Some(found));
            }
            cursor = next;
        }
        Ok(None)
    }

    /// One script for all, and how many commands it took; of a cluster, without those keys that this node refuses. `None`
    /// where scripts are.
    async fn by_script(&self, client: &Client, keys: &[Bytes]) -> Result<Option<(Vec<Raw>, u64)>, Error> {
        if !self.may_script.load(Ordering::Relaxed) || self.here.as_ref().is_some_and(|here| !here.crosses_slots()) {
            return Ok(None);
        }
        let mut arguments = self.arguments(keys);
        let mut names: Vec<Key> = Vec::new();
        if self.here.is_some() {
            arguments.extend(keys.iter().cloned().map(Reply::Bytes));
        } else {
            names.extend(keys.iter().cloned().map(Key::from));
        }
        match client.eval::<Reply, _, _, _>(READ, names, arguments).await {
            Ok(reply) => match answered(keys, reply) {
                Some(read) => Ok(Some(read)),
                None => Err(odd()),
            },
            Err(error) if is_of_connection(&error) => Err(error),
            // Refused, or one of its commands was: the commands by themselves find out which.
            Err(error) => {
                let refused = refused_command(&error).filter(|command| command.starts_with("EVAL"));
                match &self.here {
                    // Some proxies want all keys to be declared; a script for each key is fine with them.
                    Some(here) if refused.is_none() => here.cross_no_more(),
                    _ => self.may_script.store(false, Ordering::Relaxed),
                }
                if let Some(command) = refused {
                    self.status.missing(&command, "reading takes more of Lockkeeper's own time; nothing is hidden");
                }
                Ok(None)
            }
        }
    }

    /// What [`READ`] is told beside the keys.
    fn arguments(&self, keys: &[Bytes]) -> Vec<Reply> {
        let [token, items, memory] =
            [MAX_TOKEN_BYTES.to_string(), MAX_ITEMS.to_string(), MAX_BYTES.to_string()].map(Reply::from);
        vec![token, items, memory, self.guess.of(keys).into(), SMALL_BYTES.to_string().into()]
    }

    /// The same by one script for each key, side by side; keys that are elsewhere are missing.
    pub(super) async fn by_script_each(&self, client: &Client, keys: &[Bytes]) -> Result<Vec<Raw>, Error> {
        let pipeline = client.pipeline();
        for key in keys {
            let eval = CustomCommand::new_static("EVAL", ClusterHash::Random, false);
            let mut arguments: Vec<Reply> = vec![READ.into(), 1.into(), key.clone().into()];
            arguments.extend(self.arguments(std::slice::from_ref(key)));
            let _: () = pipeline.custom(eval, arguments).await?;
        }
        let mut raws = Vec::with_capacity(keys.len());
        for (key, reply) in keys.iter().zip(pipeline.try_all::<Reply>().await) {
            match reply {
                Ok(reply) => match answered(std::slice::from_ref(key), reply) {
                    Some((read, _)) => raws.extend(read),
                    None => return Err(odd()),
                },
                Err(error) if is_of_connection(&error) => return Err(error),
                Err(error) if is_elsewhere(&error) => {}
                // As above.
                Err(_) => self.may_script.store(false, Ordering::Relaxed),
            }
        }
        Ok(raws)
    }

    /// The same by single commands: strings first, then what is none.
    pub(super) async fn one_by_one(&self, client: &Client, keys: &[Bytes]) -> Result<Vec<Raw>, Error> {
        let pipeline = client.pipeline();
        for key in keys {
            // In a pipeline these only queue; what can fail is reported by `try_all`.
            let _: () = pipeline.getrange(key.clone(), 0, MAX_TOKEN_BYTES).await?;
            let _: () = pipeline.pttl(key.clone()).await?;
        }
        let mut replies = pipeline.try_all::<Reply>().await.into_iter();
        let (mut raws, mut others) = (Vec::with_capacity(keys.len()), Vec::new());
        for key in keys {
            match (replies.next(), replies.next()) {
                (Some(Ok(value)), Some(Ok(ttl))) => raws.push(raw(key, value, ttl.as_i64().unwrap_or(-2))),
                (Some(Err(error)), _) if *error.kind() == ErrorKind::InvalidArgument => others.push(key),
                (Some(Err(error)), _) | (_, Some(Err(error))) => self.failed(&error)?,
                _ => {}
            }
        }
        if self.here.is_some() && self.may_script.load(Ordering::Relaxed) {
            let names: Vec<Bytes> = others.iter().map(|&key| key.clone()).collect();
            let by_script = self.by_script_each(client, &names).await?;
            others.retain(|&key| !by_script.iter().any(|raw| raw.key == *key));
            raws.extend(by_script);
            if self.may_script.load(Ordering::Relaxed) {
                // The rest is elsewhere.
                others.clear();
            }
        }
        for key in others {
            if let Some(other) = self.one(client, key).await? {
                raws.push(other);
            }
        }
        Ok(raws)
    }

    /// A key that holds no string, by single commands; `None` where one of them is not allowed.
    async fn one(&self, client: &Client, key: &Bytes) -> Result<Option<Raw>, Error> {
        let ask = async |name: &'static str, mut arguments: Vec<Reply>| -> Result<Option<Reply>, Error> {
            let at = usize::from(name == "MEMORY");
            arguments.insert(at, key.clone().into());
            let command = CustomCommand::new_static(name, ClusterHash::FirstKey, false);
            match client.custom::<Reply, _>(command, arguments).await {
                Ok(reply) => Ok(Some(reply)),
                Err(error) => self.failed(&error).map(|()| None),
            }
        };
        let Some(kind) = ask("TYPE", vec![]).await?.and_then(|kind| kind.into_string()) else { return Ok(None) };
        let (size, items): (&'static str, (&'static str, Vec<Reply>)) = match kind.as_str() {
            "hash" => ("HLEN", ("HGETALL", vec![])),
            "zset" => ("ZCARD", ("ZRANGE", vec![0.into(), (-1).into(), "WITHSCORES".into()])),
            "set" => ("SCARD", ("SMEMBERS", vec![])),
            "list" => ("LLEN", ("LRANGE", vec![0.into(), (MAX_ITEMS - 1).into()])),
            other => {
                let not = vec![Reply::String(other.into())];
                return Ok(Some(raw(key, Reply::Array(not), -1)));
            }
        };
        let Some(size) = ask(size, vec![]).await?.and_then(|size| size.as_i64()) else { return Ok(None) };
        let usage = vec!["USAGE".into(), "SAMPLES".into(), MAX_ITEMS.into()];
        let Some(bytes) = ask("MEMORY", usage).await?.map(|bytes| bytes.as_i64().unwrap_or(0)) else {
            return Ok(None);
        };
        let mut parts = vec![Reply::String(kind.as_str().into()), size.into()];
        if (size <= MAX_ITEMS || kind == "list") && bytes <= MAX_BYTES {
            match ask(items.0, items.1).await? {
                // RESP3 gives scores as pairs and maps as maps; the script gives flat lists.
                Some(reply) => parts.push(flat(reply)),
                None => return Ok(None),
            }
        }
        let Some(ttl) = ask("PTTL", vec![]).await? else { return Ok(None) };
        Ok(Some(raw(key, Reply::Array(parts), ttl.as_i64().unwrap_or(-2))))
    }

    /// One command failed: if that is for lack of permission, says so and goes on without.
    fn failed(&self, error: &Error) -> Result<(), Error> {
        if let Some(command) = refused_command(error) {
            let costs = match command.as_str() {
                "GETRANGE" | "PTTL" => "locks that are strings cannot be read",
                "HLEN" | "HGETALL" => "locks that are hashes (Redisson) cannot be read",
                "ZCARD" | "ZRANGE" => "locks that are sorted sets (semaphores, Symfony) cannot be read",
                "MEMORY USAGE" | "TYPE" => "locks that are no strings (Redisson, semaphores) cannot be read",
                "SCARD" | "SMEMBERS" => "locks that are sets (.NET readers) cannot be read",
                "LLEN" | "LRANGE" => "queues of those who wait cannot be read",
                "HSCAN" => "locks that are fields of a large hash (huey) cannot be read",
                _ => "some locks cannot be read",
            };
            self.status.missing(&command, costs);
            self.status.blinded(Trouble::new(
                format!("{costs}: the credential may not run `{command}`"),
                "grant it; the rule is named among the missing permissions",
            ));
            return Ok(());
        }
        // It is on another node, which is for the caller to find out.
        if is_elsewhere(error) {
            return Ok(());
        }
        // It became something else between two commands: that is noticed, and read again.
        if *error.kind() == ErrorKind::InvalidArgument { Ok(()) } else { Err(error.clone()) }
    }
}

/// Understands an answer of [`READ`]: what was read, and how many commands that took. What was refused is missing.
fn answered(keys: &[Bytes], reply: Reply) -> Option<(Vec<Raw>, u64)> {
    let Reply::Array(parts) = reply else { return None };
    let [calls, packed] = <[Reply; 2]>::try_from(parts).ok()?;
    let mut packed = Packed::list(packed.into_bytes()?)?;
    let mut raws = Vec::with_capacity(keys.len());
    for key in keys {
        let (value, ttl) = (packed.next()?, packed.next()?.as_i64()?);
        if ttl != REFUSED {
            raws.push(raw(key, value, ttl));
        }
    }
    Some((raws, calls.as_u64()?))
}

fn odd() -> Error {
    Error::new(ErrorKind::Protocol, "a script was answered in a way that is not understood")
}

/// What was read, in the order in which it was asked for.
fn in_order_of(keys: &[Bytes], raws: Vec<Raw>) -> Vec<Raw> {
    if raws.iter().zip(keys).all(|(raw, key)| raw.key == *key) {
        return raws;
    }
    let mut by_key: HashMap<Bytes, Raw> = raws.into_iter().map(|raw| (raw.key.clone(), raw)).collect();
    keys.iter().filter_map(|key| by_key.remove(key)).collect()
}

/// Understands a reply of [`READ`] for one key.
fn raw(key: &Bytes, value: Reply, ttl: i64) -> Raw {
    let value = match value {
        _ if ttl == -2 => Value::Missing,
        Reply::Array(parts) => items(parts),
        value => {
            let value = value.into_bytes().unwrap_or_default();
            if value.len() > MAX_TOKEN_BYTES {
                Value::Not(format!("a string longer than {}", words::bytes(MAX_TOKEN_BYTES as u64)))
            } else {
                Value::String(value)
            }
        }
    };
    Raw { key: key.clone(), value, ttl_ms: (ttl >= 0).then_some(ttl) }
}

fn items(parts: Vec<Reply>) -> Value {
    let mut parts = parts.into_iter();
    let kind = parts.next().and_then(|kind| kind.into_string()).unwrap_or_default();
    let Some(size) = parts.next().and_then(|size| size.as_i64()) else {
        return if kind == "none" { Value::Missing } else { Value::Not(format!("a {}", words::shown(&kind))) };
    };
    if size == 0 {
        return Value::Missing;
    }
    let said = match kind.as_str() {
        "hash" => "a hash with",
        "zset" => "a sorted set with",
        "set" => "a set with",
        _ => "a list with",
    };
    let Some(items) = parts.next() else {
        let hash = kind == "hash";
        return Value::TooLarge { because: format!("{said} {} entries", words::count(size.unsigned_abs())), hash };
    };
    match kind.as_str() {
        "hash" => Value::Hash(pairs(items)),
        "zset" => Value::ZSet(pairs(items).into_iter().map(|(member, score)| (member, number(&score))).collect()),
        "set" => Value::Set(list(items)),
        _ => Value::List { items: list(items), total: u32::try_from(size).unwrap_or(u32::MAX) },
    }
}

fn number(text: &[u8]) -> f64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

fn list(reply: Reply) -> Vec<Bytes> {
    match reply {
        Reply::Array(items) => items.into_iter().map(|item| item.into_bytes().unwrap_or_default()).collect(),
        one => one.into_bytes().into_iter().collect(),
    }
}

/// Pairs and maps as one flat list.
fn flat(reply: Reply) -> Reply {
    match reply {
        Reply::Map(map) => Reply::Array(
            map.inner().into_iter().flat_map(|(field, value)| [Reply::Bytes(field.into_bytes()), value]).collect(),
        ),
        Reply::Array(items) => Reply::Array(
            items
                .into_iter()
                .flat_map(|item| match item {
                    Reply::Array(pair) => pair,
                    one => vec![one],
                })
                .collect(),
        ),
        other => other,
    }
}

/// A map or a flat array of fields and values.
fn pairs(reply: Reply) -> Vec<(Bytes, Bytes)> {
    let bytes = |value: Reply| match value {
        Reply::Double(score) => Bytes::from(score.to_string()),
        other => other.into_bytes().unwrap_or_default(),
    };
    match flat(reply) {
        Reply::Array(items) => {
            let mut items = items.into_iter().map(bytes);
            let mut pairs = Vec::new();
            while let (Some(field), Some(value)) = (items.next(), items.next()) {
                pairs.push((field, value));
            }
            pairs
        }
        _ => Vec::new(),
    }
}
