//! redis-py's `Lock`: a bare string key with a UUID of version 1 in hex.

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{KeysInterface as _, LuaInterface as _};
use fred::types::{Expiration, SetOptions};
use tokio::time::sleep;
use uuid::Uuid;

use super::{LockClient, millis};

/// The library's `sleep` between two tries, by default.
const TRY_EVERY: Duration = Duration::from_millis(100);

const REACQUIRE: &str = "\
local token = redis.call('get', KEYS[1])
if not token or token ~= ARGV[1] then return 0 end
redis.call('pexpire', KEYS[1], ARGV[2])
return 1";

const RELEASE: &str = "\
local token = redis.call('get', KEYS[1])
if not token or token ~= ARGV[1] then return 0 end
redis.call('del', KEYS[1])
return 1";

/// One `Lock` object.
pub(in crate::demo) struct RedisPy {
    client: Client,
    name: String,
    /// The library's `timeout`; `None`, its default, is a lock for ever.
    lease: Option<Duration>,
    renews_every: Option<Duration>,
    node: [u8; 6],
    token: String,
}

impl RedisPy {
    pub(in crate::demo) fn new(client: Client, name: &str, lease: Option<Duration>) -> RedisPy {
        let mut node: [u8; 6] = rand::random();
        // As Python does for a machine whose network card it cannot read.
        node[0] |= 1;
        RedisPy { client, name: name.to_owned(), lease, renews_every: None, node, token: String::new() }
    }

    /// The program calls `reacquire()` this often; the library never does by itself.
    pub(in crate::demo) fn renewed_every(self, period: Duration) -> RedisPy {
        RedisPy { renews_every: Some(period), ..self }
    }
}

impl LockClient for RedisPy {
    async fn acquire(&mut self) -> Result<(), Error> {
        self.token = Uuid::now_v1(&self.node).simple().to_string();
        let lease = self.lease.map(|lease| Expiration::PX(millis(lease)));
        loop {
            let token = self.token.as_str();
            let set: Option<String> =
                self.client.set(&self.name, token, lease.clone(), Some(SetOptions::NX), false).await?;
            if set.is_some() {
                return Ok(());
            }
            sleep(TRY_EVERY).await;
        }
    }

    async fn renew(&mut self) -> Result<bool, Error> {
        let Some(lease) = self.lease else { return Ok(true) };
        let args = [self.token.clone(), millis(lease).to_string()].to_vec();
        self.client.eval(REACQUIRE, self.name.as_str(), args).await
    }

    async fn release(&mut self) -> Result<bool, Error> {
        self.client.eval(RELEASE, self.name.as_str(), self.token.as_str()).await
    }

    fn renews_every(&self) -> Option<Duration> {
        self.renews_every
    }
}
