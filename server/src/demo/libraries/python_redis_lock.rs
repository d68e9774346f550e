//! python-redis-lock: `lock:<name>` with 24 base64 characters, and a list that wakes one waiter.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{KeysInterface as _, ListInterface as _, LuaInterface as _};
use fred::types::{Expiration, SetOptions};

use super::LockClient;

const EXTEND: &str = "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
if redis.call('ttl', KEYS[1]) < 0 then return 0 end
redis.call('expire', KEYS[1], ARGV[2])
return 1";

const UNLOCK: &str = "\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('del', KEYS[2])
redis.call('lpush', KEYS[2], 1)
redis.call('pexpire', KEYS[2], 1000)
redis.call('del', KEYS[1])
return 1";

/// One `Lock` object with `auto_renewal`. Waiting blocks its connection, so it needs one of its own.
pub(in crate::demo) struct PythonRedisLock {
    client: Client,
    key: String,
    signal: String,
    lease_s: u32,
    token: String,
}

impl PythonRedisLock {
    pub(in crate::demo) fn new(client: Client, name: &str, lease_s: u32) -> PythonRedisLock {
        PythonRedisLock {
            client,
            key: format!("lock:{name}"),
            signal: format!("lock-signal:{name}"),
            lease_s,
            token: String::new(),
        }
    }
}

impl LockClient for PythonRedisLock {
    async fn acquire(&mut self) -> Result<(), Error> {
        self.token = STANDARD.encode(rand::random::<[u8; 18]>());
        loop {
            let lease = Some(Expiration::EX(i64::from(self.lease_s)));
            let token = self.token.as_str();
            let set: Option<String> = self.client.set(&self.key, token, lease, Some(SetOptions::NX), false).await?;
            if set.is_some() {
                return Ok(());
            }
            // Whether it was woken or the wait ran out, it tries again.
            let _: Option<(String, String)> = self.client.blpop(&self.signal, f64::from(self.lease_s)).await?;
        }
    }

    async fn renew(&mut self) -> Result<bool, Error> {
        let args = [self.token.clone(), self.lease_s.to_string()].to_vec();
        self.client.eval(EXTEND, self.key.as_str(), args).await
    }

    async fn release(&mut self) -> Result<bool, Error> {
        let keys = [self.key.as_str(), self.signal.as_str()].to_vec();
        self.client.eval(UNLOCK, keys, self.token.as_str()).await
    }

    fn renews_every(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.lease_s.into()) * 2 / 3)
    }
}
