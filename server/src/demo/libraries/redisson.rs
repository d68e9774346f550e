//! Redisson's `RLock`: a hash of `<client>:<thread>` and how often it was entered, and a channel that wakes waiters.

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{EventInterface as _, LuaInterface as _, PubsubInterface as _};
use tokio::time::timeout;
use uuid::Uuid;

use super::{LockClient, millis};

/// The lease of a lock that was taken without one. The watchdog renews it at every third of it.
const WATCHDOG_LEASE: Duration = Duration::from_secs(30);

/// Nil: taken. Otherwise what is left of the holder's lease.
const LOCK: &str = "\
if redis.call('exists', KEYS[1]) == 0 or redis.call('hexists', KEYS[1], ARGV[2]) == 1 then
    redis.call('hincrby', KEYS[1], ARGV[2], 1)
    redis.call('pexpire', KEYS[1], ARGV[1])
    return nil
end
return redis.call('pttl', KEYS[1])";

const RENEW: &str = "\
if redis.call('hexists', KEYS[1], ARGV[2]) == 0 then return 0 end
redis.call('pexpire', KEYS[1], ARGV[1])
return 1";

const UNLOCK: &str = "\
if redis.call('hexists', KEYS[1], ARGV[2]) == 0 then return 0 end
if redis.call('hincrby', KEYS[1], ARGV[2], -1) > 0 then
    redis.call('pexpire', KEYS[1], ARGV[1])
else
    redis.call('del', KEYS[1])
    redis.call('publish', KEYS[2], 0)
end
return 1";

/// One thread of one client, and the lock that it wants.
pub(in crate::demo) struct Redisson {
    client: Client,
    name: String,
    channel: String,
    field: String,
    lease: Option<Duration>,
    entries: u32,
}

impl Redisson {
    /// With the watchdog.
    pub(in crate::demo) fn new(client: Client, name: &str) -> Redisson {
        Redisson {
            client,
            name: name.to_owned(),
            channel: format!("redisson_lock__channel:{{{name}}}"),
            field: format!("{}:{}", Uuid::new_v4(), rand::random_range(20..90)),
            lease: None,
            entries: 1,
        }
    }

    /// With a `leaseTime`, which is never renewed.
    pub(in crate::demo) fn with_lease(self, lease: Duration) -> Redisson {
        Redisson { lease: Some(lease), ..self }
    }

    /// Enters so many times each time it takes it.
    pub(in crate::demo) fn entered(self, entries: u32) -> Redisson {
        Redisson { entries, ..self }
    }

    /// Lease and field, the arguments of each script.
    fn args(&self) -> Vec<String> {
        vec![millis(self.lease.unwrap_or(WATCHDOG_LEASE)).to_string(), self.field.clone()]
    }

    /// One try: `None` if it is ours, else what is left of the holder's lease.
    async fn attempt(&self) -> Result<Option<i64>, Error> {
        self.client.eval(LOCK, self.name.as_str(), self.args()).await
    }

    async fn wait_and_take(&self) -> Result<(), Error> {
        let mut messages = self.client.message_rx();
        self.client.subscribe(self.channel.as_str()).await?;
        while let Some(left_ms) = self.attempt().await? {
            match u64::try_from(left_ms) {
                // A message, a missed message or the end of the lease: in each case it tries again.
                Ok(left_ms) => drop(timeout(Duration::from_millis(left_ms), messages.recv()).await),
                // Without expiry only a message helps.
                Err(_) => drop(messages.recv().await),
            }
        }
        self.client.unsubscribe(self.channel.as_str()).await
    }
}

impl LockClient for Redisson {
    async fn acquire(&mut self) -> Result<(), Error> {
        if self.attempt().await?.is_some() {
            self.wait_and_take().await?;
        }
        for _ in 1..self.entries {
            // Lost between two entries: the renewal finds out.
            let _: Option<i64> = self.attempt().await?;
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<bool, Error> {
        self.client.eval(RENEW, self.name.as_str(), self.args()).await
    }

    async fn release(&mut self) -> Result<bool, Error> {
        for _ in 0..self.entries {
            let keys = [self.name.as_str(), self.channel.as_str()].to_vec();
            let ours: bool = self.client.eval(UNLOCK, keys, self.args()).await?;
            if !ours {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn renews_every(&self) -> Option<Duration> {
        self.lease.is_none().then_some(WATCHDOG_LEASE / 3)
    }
}
