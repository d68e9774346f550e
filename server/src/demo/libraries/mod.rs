//! What the locking libraries put into Redis, command by command, as far as somebody who watches can tell.

mod lockkeeper;
mod python_redis_lock;
mod redis_py;
mod redisson;

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientInterface as _, ClientLike as _};
use fred::types::Builder;
use fred::types::RespVersion;
use fred::types::config::{Config, ServerConfig};

pub(super) use lockkeeper::{Lockkeeper, failed, reporting};
pub(super) use python_redis_lock::PythonRedisLock;
pub(super) use redis_py::RedisPy;
pub(super) use redisson::Redisson;

/// One process's handle on one lock, with the manners of its library.
pub(super) trait LockClient: Send + 'static {
    /// Waits for the lock, the way the library waits, and takes it.
    fn acquire(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Pushes the lease out. False: the lock is not ours any more.
    fn renew(&mut self) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Lets go. False: the lock was not ours any more.
    fn release(&mut self) -> impl Future<Output = Result<bool, Error>> + Send;

    /// How often the library, or the program that uses it, renews; `None`: never.
    fn renews_every(&self) -> Option<Duration>;
}

/// A connection of a process that calls itself `name`.
pub(super) async fn connect(port: u16, name: &str) -> Result<Client, Error> {
    let config = Config {
        server: ServerConfig::new_centralized("127.0.0.1", port),
        // One connection that can subscribe and command, as these libraries have a pair of.
        version: RespVersion::RESP3,
        ..Config::default()
    };
    let client = Builder::from_config(config).build()?;
    client.init().await?;
    client.client_setname(name).await?;
    Ok(client)
}

/// Whole milliseconds, as Redis takes them.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
