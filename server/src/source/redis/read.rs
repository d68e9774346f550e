//! Reading keys, with bounds: what is a lock is read whole, what is none is never loaded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, LuaInterface};
use fred::types::{ClusterHash, CustomCommand, Key, Value as Reply};
use lockkeeper_model::{Time, words};

use super::dialect::{self, StoredKey, Value};
use super::pace::{Pacer, Purpose};
use super::scope::Scope;
use super::status::Status;
use super::trouble::{Trouble, is_of_connection, refused_command};
use crate::clock;
use crate::source::{Hint, Seen, Sight};

/// The longest value of a string that can be a token, in bytes. Known libraries write at most some hundred; a longer
/// value is said to be no lock without being loaded.
const MAX_TOKEN_BYTES: usize = 1_024;

/// The most fields of a hash that can be a lock. A lock with more holders than this is none that a person could act on.
const MAX_HASH_FIELDS: i64 = 64;

/// The most memory of a hash that can be a lock, in bytes, as `MEMORY USAGE` counts it: fields and values of
/// [`MAX_HASH_FIELDS`] holders with room to spare.
const MAX_HASH_BYTES: i64 = 32 * 1024;

/// A key to read, and why.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) key: Bytes,
    pub(crate) noticed_at: Option<Time>,
    /// The last end that the store announced since the last reading.
    pub(crate) ended: Hint,
    /// The store announced that the key is new.
    pub(crate) new: bool,
}

impl Wanted {
    /// A key to read for no particular reason.
    pub(crate) fn of(key: Bytes) -> Wanted {
        Wanted { key, noticed_at: None, ended: Hint::None, new: false }
    }
}

/// Reads value and remaining life of many strings in one step of the store, at a fraction of the work that a command for
/// each takes on this side. Nothing else comes between the two readings of a key. What is no string answers `false`;
/// any other error is the answer. Numbers are passed as text because Lua writes them with seventeen digits.
const READ_STRINGS: &str = r"
local call, try, keys, most, out = redis.call, redis.pcall, KEYS, ARGV[1], {}
for i = 1, #keys do
  local value = try('GETRANGE', keys[i], '0', most)
  if type(value) == 'table' then
    if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
    value = false
  end
  out[2 * i - 1] = value
  out[2 * i] = call('PTTL', keys[i])
end
return out
";

/// Reads keys of one source.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) pacer: Arc<Pacer>,
    pub(crate) status: Arc<Status>,
    pub(crate) scope: Arc<Scope>,
    /// Whether the credential may run scripts, as far as known.
    pub(crate) may_script: Arc<AtomicBool>,
}

enum Stored {
    Form(Loaded),
    Gone,
    Not(String),
}

/// An owned value of a type that a lock can have.
enum Loaded {
    String(Bytes),
    Hash(Vec<(Bytes, Bytes)>),
}

impl Reader {
    /// What is stored under each key. An error means that the connection is lost and nothing is known.
    pub(crate) async fn read(
        &self,
        client: &Client,
        wanted: Vec<Wanted>,
        purpose: Purpose,
    ) -> Result<Vec<Sight>, Error> {
        let commands = wanted.len() as u64 * 2;
        self.pacer.take(commands, purpose).await;
        let asked_at = clock::now();
        let mut replies = self.read_strings(client, &wanted).await?.into_iter();
        self.pacer.answered(commands);
        let read_at = clock::now();

        let mut sights = Vec::with_capacity(wanted.len());
        let mut hashes = Vec::new();
        for one in wanted {
            let (value, ttl) = match (replies.next(), replies.next()) {
                (Some(Ok(Reply::Null | Reply::Boolean(false))), _) => {
                    hashes.push(one);
                    continue;
                }
                (Some(Err(error)), _) if *error.kind() == ErrorKind::InvalidArgument => {
                    hashes.push(one);
                    continue;
                }
                (Some(Err(error)), _) | (_, Some(Err(error))) => {
                    self.failed(&error)?;
                    continue;
                }
                (Some(Ok(value)), Some(Ok(ttl))) => {
                    (value.into_bytes().unwrap_or_default(), ttl.as_i64().unwrap_or(-2))
                }
                _ => continue,
            };
            let stored = match ttl {
                -2 => Stored::Gone,
                _ if value.len() > MAX_TOKEN_BYTES => {
                    Stored::Not(format!("a string longer than {}", words::bytes(MAX_TOKEN_BYTES as u64)))
                }
                _ => Stored::Form(Loaded::String(value)),
            };
            sights.push(self.sight(one, stored, ttl, asked_at, read_at));
        }
        if !hashes.is_empty() {
            self.read_hashes(client, hashes, purpose, &mut sights).await?;
        }
        Ok(sights)
    }

    /// Value and remaining life of each key, one after the other.
    async fn read_strings(&self, client: &Client, wanted: &[Wanted]) -> Result<Vec<Result<Reply, Error>>, Error> {
        if self.may_script.load(Ordering::Relaxed) {
            let keys: Vec<Key> = wanted.iter().map(|one| Key::from(one.key.clone())).collect();
            let most = MAX_TOKEN_BYTES.to_string();
            match client.eval::<Reply, _, _, _>(READ_STRINGS, keys, vec![most]).await {
                Ok(Reply::Array(replies)) => return Ok(replies.into_iter().map(Ok).collect()),
                Ok(_) => {
                    return Err(Error::new(
                        ErrorKind::Protocol,
                        "a script was answered in a way that is not understood",
                    ));
                }
                Err(error) if is_of_connection(&error) => return Err(error),
                // Refused, or one of its commands was: the commands by themselves find out which.
                Err(error) => {
                    self.may_script.store(false, Ordering::Relaxed);
                    if let Some(command) = refused_command(&error).filter(|command| command.starts_with("EVAL")) {
                        self.status.missing(&command, "reading takes more of Lockkeeper's own time; nothing is hidden");
                    }
                }
            }
        }
        let pipeline = client.pipeline();
        for one in wanted {
            // In a pipeline these only queue; what can fail is reported by `try_all`.
            let _: () = pipeline.getrange(one.key.clone(), 0, MAX_TOKEN_BYTES).await?;
            let _: () = pipeline.pttl(one.key.clone()).await?;
        }
        Ok(pipeline.try_all::<Reply>().await)
    }

    /// Keys that hold no string: a hash is measured first, and read if it can be a lock.
    async fn read_hashes(
        &self,
        client: &Client,
        wanted: Vec<Wanted>,
        purpose: Purpose,
        sights: &mut Vec<Sight>,
    ) -> Result<(), Error> {
        let commands = wanted.len() as u64 * 2;
        self.pacer.take(commands, purpose).await;
        let asked_at = clock::now();
        let pipeline = client.pipeline();
        for one in &wanted {
            let _: () = pipeline.hlen(one.key.clone()).await?;
            let usage = CustomCommand::new_static("MEMORY", ClusterHash::FirstKey, false);
            let arguments: Vec<Reply> =
                vec!["USAGE".into(), one.key.clone().into(), "SAMPLES".into(), MAX_HASH_FIELDS.into()];
            let _: () = pipeline.custom(usage, arguments).await?;
        }
        let mut replies = pipeline.try_all::<Reply>().await.into_iter();
        self.pacer.answered(commands);
        let measured_at = clock::now();
        let mut small = Vec::new();
        for one in wanted {
            let (fields, bytes) = (replies.next(), replies.next());
            let fields = match fields {
                Some(Ok(fields)) => fields.as_i64().unwrap_or(0),
                Some(Err(error)) if *error.kind() == ErrorKind::InvalidArgument => {
                    let not = Stored::Not("neither a string nor a hash".to_owned());
                    sights.push(self.sight(one, not, -1, asked_at, measured_at));
                    continue;
                }
                Some(Err(error)) => {
                    self.failed(&error)?;
                    continue;
                }
                None => continue,
            };
            let bytes = match bytes {
                Some(Ok(bytes)) => bytes.as_i64().unwrap_or(0),
                Some(Err(error)) => {
                    self.failed(&error)?;
                    continue;
                }
                None => continue,
            };
            let stored = match fields {
                0 => Stored::Gone,
                _ if fields > MAX_HASH_FIELDS => {
                    Stored::Not(format!("a hash with {} fields", words::count(fields.unsigned_abs())))
                }
                _ if bytes > MAX_HASH_BYTES => {
                    Stored::Not(format!("a hash of about {}", words::bytes(bytes.unsigned_abs())))
                }
                _ => {
                    small.push(one);
                    continue;
                }
            };
            sights.push(self.sight(one, stored, -2, asked_at, measured_at));
        }
        if small.is_empty() {
            return Ok(());
        }
        let commands = small.len() as u64 * 2;
        self.pacer.take(commands, purpose).await;
        let asked_at = clock::now();
        let pipeline = client.pipeline();
        for one in &small {
            let _: () = pipeline.hgetall(one.key.clone()).await?;
            let _: () = pipeline.pttl(one.key.clone()).await?;
        }
        let mut replies = pipeline.try_all::<Reply>().await.into_iter();
        self.pacer.answered(commands);
        let read_at = clock::now();
        for one in small {
            let (fields, ttl) = (replies.next(), replies.next());
            let (fields, ttl) = match (fields, ttl) {
                (Some(Ok(fields)), Some(Ok(ttl))) => (fields, ttl.as_i64().unwrap_or(-2)),
                (Some(Err(error)), _) | (_, Some(Err(error))) => {
                    // It may have become something else in between; then it is noticed and read again.
                    self.failed(&error)?;
                    continue;
                }
                _ => continue,
            };
            let stored = if ttl == -2 { Stored::Gone } else { Stored::Form(Loaded::Hash(pairs(fields))) };
            sights.push(self.sight(one, stored, ttl, asked_at, read_at));
        }
        Ok(())
    }

    fn sight(&self, wanted: Wanted, stored: Stored, ttl: i64, asked_at: Time, read_at: Time) -> Sight {
        let form = match &stored {
            Stored::Gone => None,
            Stored::Not(because) => {
                self.note_not_a_lock(&wanted.key, because.clone());
                None
            }
            Stored::Form(value) => {
                let form = dialect::recognise(&StoredKey {
                    key: &wanted.key,
                    value: match value {
                        Loaded::String(value) => Value::String(value),
                        Loaded::Hash(fields) => Value::Hash(fields),
                    },
                    ttl_ms: (ttl >= 0).then_some(ttl),
                    configured: self.scope.is_configured(),
                    now_ms: read_at.0,
                });
                if form.is_none() {
                    let kind = match value {
                        Loaded::String(_) => "a string in a form",
                        Loaded::Hash(_) => "a hash in a form",
                    };
                    self.note_not_a_lock(&wanted.key, format!("{kind} that no known library stores"));
                }
                form
            }
        };
        let hint = match &form {
            None => wanted.ended,
            Some(_) if wanted.new => Hint::New,
            Some(_) => Hint::None,
        };
        Sight {
            key: wanted.key,
            seen: form.map_or(Seen::Gone, Seen::Held),
            asked_at,
            read_at,
            noticed_at: wanted.noticed_at,
            hint,
        }
    }

    /// Where an operator said that it is one, that is news; elsewhere it is what most keys are.
    fn note_not_a_lock(&self, key: &[u8], because: String) {
        if self.scope.is_configured() {
            self.status.not_a_lock(key, because);
        } else {
            self.scope.learn_no_lock(key);
        }
    }

    /// One command failed: if that is for lack of permission, says so and goes on without.
    fn failed(&self, error: &Error) -> Result<(), Error> {
        if let Some(command) = refused_command(error) {
            let costs = match command.as_str() {
                "GETRANGE" | "PTTL" => "locks that are strings cannot be read",
                "HLEN" | "MEMORY USAGE" | "HGETALL" => "locks that are hashes (Redisson) cannot be read",
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
        if super::trouble::is_elsewhere(error) {
            return Ok(());
        }
        // It became something else between two commands: that is noticed, and read again.
        if *error.kind() == ErrorKind::InvalidArgument { Ok(()) } else { Err(error.clone()) }
    }
}

/// A map or a flat array of fields and values.
fn pairs(reply: Reply) -> Vec<(Bytes, Bytes)> {
    match reply {
        Reply::Map(map) => map
            .inner()
            .into_iter()
            .map(|(field, value)| (field.into_bytes(), value.into_bytes().unwrap_or_default()))
            .collect(),
        Reply::Array(items) => {
            let mut items = items.into_iter().map(|item| item.into_bytes().unwrap_or_default());
            let mut pairs = Vec::new();
            while let (Some(field), Some(value)) = (items.next(), items.next()) {
                pairs.push((field, value));
            }
            pairs
        }
        _ => Vec::new(),
    }
}
