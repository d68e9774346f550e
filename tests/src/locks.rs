use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fred::clients::Client;
use fred::interfaces::{ClientLike as _, LuaInterface as _};
use fred::types::{ClusterHash, CustomCommand, FromValue, Value};
use uuid::Uuid;

/// The families whose locks are played here, command for command as the libraries do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A bare string.
    RedisPy,
    /// A string with a signal list.
    PythonRedisLock,
    /// A hash with a channel.
    Redisson,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 3] = [Family::RedisPy, Family::PythonRedisLock, Family::Redisson];

    /// The name in the catalogue.
    #[must_use]
    pub fn dialect(self) -> &'static str {
        match self {
            Family::RedisPy => "redis-py",
            Family::PythonRedisLock => "python-redis-lock",
            Family::Redisson => "redisson",
        }
    }

    /// The key under which a lock of this name lies.
    #[must_use]
    pub fn key(self, name: &str) -> String {
        match self {
            Family::RedisPy | Family::PythonRedisLock => format!("lock:{name}"),
            Family::Redisson => name.to_owned(),
        }
    }

    /// A client of this family that wants this lock, with a token of its own.
    #[must_use]
    pub fn client(self, store: &Client, name: &str, lease: Option<Duration>) -> LockClient {
        let token = match self {
            Family::RedisPy => Uuid::now_v1(&[3, 1, 4, 1, 5, 9]).simple().to_string(),
            Family::PythonRedisLock => STANDARD.encode(rand::random::<[u8; 18]>()),
            Family::Redisson => format!("{}:{}", Uuid::new_v4(), rand::random_range(20..90)),
        };
        LockClient { family: self, store: store.clone(), key: self.key(name), name: name.to_owned(), token, lease }
    }
}

/// One client that wants one lock.
#[derive(Clone, Debug)]
pub struct LockClient {
    family: Family,
    store: Client,
    /// The lock's key.
    pub key: String,
    name: String,
    /// What it writes to prove that the lock is its own.
    pub token: String,
    lease: Option<Duration>,
}

const REDISSON_TAKE: &str = "\
if redis.call('exists', KEYS[1]) == 1 and redis.call('hexists', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('hincrby', KEYS[1], ARGV[1], 1)
if ARGV[2] ~= '' then redis.call('pexpire', KEYS[1], ARGV[2]) end
return 1";

const REDISSON_RENEW: &str = "\
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('pexpire', KEYS[1], ARGV[2])
return 1";

const REDISSON_RELEASE: &str = "\
if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then return 0 end
if redis.call('hincrby', KEYS[1], ARGV[1], -1) <= 0 then
    redis.call('del', KEYS[1])
    redis.call('publish', KEYS[2], 0)
end
return 1";

const STRING_RENEW: &str = "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('pexpire', KEYS[1], ARGV[2])
return 1";

const STRING_RELEASE: &str = "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('del', KEYS[1])
return 1";

const SIGNALLED_RELEASE: &str = "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('del', KEYS[2])
redis.call('lpush', KEYS[2], 1)
redis.call('pexpire', KEYS[2], 1000)
redis.call('del', KEYS[1])
return 1";

impl LockClient {
    /// The same client with a token that was never used, as a library that makes one for each acquire.
    #[must_use]
    pub fn fresh(&self) -> LockClient {
        self.family.client(&self.store, &self.name, self.lease)
    }

    /// One try. True: it has the lock.
    pub async fn take(&self) -> bool {
        match (self.family, self.lease_ms()) {
            (Family::Redisson, lease) => {
                let lease = lease.unwrap_or_default();
                self.script(REDISSON_TAKE, &[self.token.clone(), lease]).await
            }
            (_, Some(lease)) => {
                let set: Option<String> =
                    store(&self.store, "SET", [&*self.key, &*self.token, "NX", "PX", &*lease]).await;
                set.is_some()
            }
            (_, None) => {
                let set: Option<String> = store(&self.store, "SET", [&*self.key, &*self.token, "NX"]).await;
                set.is_some()
            }
        }
    }

    /// Pushes the lease out. False: the lock is somebody else's, or free.
    ///
    /// # Panics
    /// When there is no lease.
    pub async fn renew(&self) -> bool {
        let script = if self.family == Family::Redisson { REDISSON_RENEW } else { STRING_RENEW };
        self.script(script, &[self.token.clone(), self.lease_ms().expect("a lease")]).await
    }

    /// Lets go. False: the lock is somebody else's, or free.
    pub async fn release(&self) -> bool {
        let script = match self.family {
            Family::RedisPy => STRING_RELEASE,
            Family::PythonRedisLock => SIGNALLED_RELEASE,
            Family::Redisson => REDISSON_RELEASE,
        };
        self.script(script, std::slice::from_ref(&self.token)).await
    }

    /// What wakes those who sleep: a list or a channel.
    #[must_use]
    pub fn signal(&self) -> String {
        match self.family {
            Family::Redisson => format!("redisson_lock__channel:{{{}}}", self.name),
            _ => format!("lock-signal:{}", self.name),
        }
    }

    fn lease_ms(&self) -> Option<String> {
        self.lease.map(|lease| lease.as_millis().to_string())
    }

    async fn script(&self, script: &str, args: &[String]) -> bool {
        // In a cluster all keys of a script must be in one slot, so none is named that is not used.
        let mut keys = vec![self.key.clone()];
        if self.family != Family::RedisPy {
            keys.push(self.signal());
        }
        self.store.eval(script, keys, args.to_vec()).await.expect("a lock script")
    }
}

/// Any command. Arguments may be any bytes.
///
/// # Panics
/// When the store refuses it.
pub async fn store<T: FromValue>(
    client: &Client,
    command: &'static str,
    args: impl IntoIterator<Item = impl Into<Value>>,
) -> T {
    let command_name = command;
    let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
    let args: Vec<Value> = args.into_iter().map(Into::into).collect();
    client.custom(command, args).await.unwrap_or_else(|error| panic!("{command_name}: {error}"))
}
